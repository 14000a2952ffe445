package counters

// tcpSections tell of TCP.
var tcpSections = []section{
	{Connecting, "Tcp", []row{
		{
			name: "ActiveOpens", netstat: "N active connection openings",
			means: "connections that this side began: their first SYN was sent",
			by:    "tcp_connect",
		},
		{
			name: "PassiveOpens", netstat: "N passive connection openings",
			means: "connections that the other side began and whose handshake completed, accepted or not",
			by:    "tcp_create_openreq_child",
		},
		{
			name: "AttemptFails", netstat: "N failed connection attempts",
			means: "handshakes that failed: connects that ended without a connection, and half-open requests that " +
				"a RST or SYN ended",
			by: "tcp_done, tcp_check_req",
			worry: "when it grows beside ActiveOpens: connects are refused or time out here (tcptrace watch " +
				"--problems)",
		},
		{
			name: "CurrEstab", netstat: "N connections established",
			means: "connections that are in ESTABLISHED or CLOSE_WAIT now",
			by:    "tcp_set_state",
		},
	}},
	{Connecting, "TcpExt", []row{
		{
			name:  "TCPSynRetrans",
			means: "SYNs, and SYN-ACKs too, that were sent again",
			by:    "__tcp_retransmit_skb, tcp_rtx_synack",
			worry: "when it grows: each costs a connection a second or more; something drops SYNs, their answers, " +
				"or final ACKs",
		},
		{
			name: "PAWSActive", netstat: "N active connections rejected because of time stamp",
			means:      "SYN-ACKs that were not taken, as the time stamp in them echoes none of ours",
			by:         "tcp_rcv_synsent_state_process",
			misleading: "no connection is rejected yet: the SYN-ACK is",
			worry:      "when it grows: something on the way rewrites time stamps",
		},
		{
			name:  "TCPFastOpenActive",
			means: "SYNs with data that the peer took (Fast Open)",
			by:    "tcp_rcv_fastopen_synack",
		},
		{
			name:  "TCPFastOpenActiveFail",
			means: "SYNs with data that the peer did not take, or that met silence",
			by:    "tcp_rcv_fastopen_synack, tcp_fastopen_active_detect_blackhole",
			worry: "when it grows: something on the way drops SYNs with data",
		},
		{
			name:  "TCPFastOpenBlackhole",
			means: "times that Fast Open was turned off for a while, as its connections met silence",
			by:    "tcp_fastopen_active_disable",
			worry: "when it grows: something on the way drops SYNs with data",
		},
	}},
	{Listening, "TcpExt", []row{
		{
			name: "ListenOverflows", netstat: "N times the listen queue of a socket overflowed",
			means: "SYNs and final ACKs that a listener refused as its accept queue was full",
			by:    "tcp_conn_request, tcp_v4_syn_recv_sock, tcp_v6_syn_recv_sock",
			worry: "when it grows: an application accepts too slowly, or its backlog is too small (tcptrace " +
				"listeners)",
		},
		{
			name: "ListenDrops", netstat: "N SYNs to LISTEN sockets dropped",
			means: "everything that listeners refused, for a full accept queue (ListenOverflows) or another " +
				"reason: memory, route, policy, an ICMP error",
			by:         "tcp_conn_request, tcp_v4_syn_recv_sock, tcp_v6_syn_recv_sock, tcp_req_err",
			misleading: "final ACKs and half-open requests are among them, not SYNs alone",
			worry:      "when it grows faster than ListenOverflows",
		},
		{
			name:  "TCPReqQFullDoCookies",
			means: "SYNs that met a full SYN queue and were answered with a cookie",
			by:    "tcp_syn_flood_action",
			worry: "when it grows: a SYN flood, or a backlog that is too small; such connections may lose window " +
				"scaling and SACK",
		},
		{
			name:  "TCPReqQFullDrop",
			means: "SYNs that met a full SYN queue and were dropped, as tcp_syncookies is 0",
			by:    "tcp_syn_flood_action",
			worry: "when it grows: a SYN flood, or a backlog that is too small; sysctl -w net.ipv4.tcp_syncookies=1",
		},
		{
			name: "SyncookiesSent", netstat: "N SYN cookies sent",
			means: "SYN-ACKs that were cookies: the server keeps nothing of them and sends none again",
			by:    "tcp_conn_request",
		},
		{
			name: "SyncookiesRecv", netstat: "N SYN cookies received",
			means: "final ACKs whose cookie was right",
			by:    "cookie_v4_check, cookie_v6_check",
		},
		{
			name: "SyncookiesFailed", netstat: "N invalid SYN cookies received",
			means: "ACKs without a connection whose cookie was wrong or too old",
			by:    "cookie_v4_check, cookie_v6_check",
			worry: "when it is many times SyncookiesRecv: a flood of ACKs",
		},
		{
			name: "EmbryonicRsts", netstat: "N resets received for embryonic SYN_RECV sockets",
			means:      "half-open requests that a RST ended, or a SYN, or this host's own reset by tcp_abort_on_overflow",
			by:         "tcp_check_req",
			misleading: "resets that this host sent on overflow are among them",
		},
		{
			name:  "TCPDeferAcceptDrop",
			means: "final ACKs without data that TCP_DEFER_ACCEPT let pass by: the request waits for data",
			by:    "tcp_check_req",
		},
		{
			name:  "TCPMigrateReqSuccess",
			means: "requests of a closed listener that another of its SO_REUSEPORT group took over",
			by:    "inet_csk_listen_stop, reqsk_timer_handler",
		},
		{
			name:  "TCPMigrateReqFailure",
			means: "requests of a closed listener that no other of its SO_REUSEPORT group could take over",
			by:    "inet_csk_listen_stop, reqsk_timer_handler",
			worry: "when it grows while servers restart: clients see resets",
		},
		{name: "TCPFastOpenPassive", means: "SYNs whose data was taken at once (Fast Open)", by: "tcp_try_fastopen"},
		{
			name:  "TCPFastOpenPassiveFail",
			means: "SYNs with data whose Fast Open cookie was wrong",
			by:    "tcp_try_fastopen",
		},
		{
			name:  "TCPFastOpenPassiveAltKey",
			means: "SYNs with data whose cookie was of the old key",
			by:    "tcp_try_fastopen",
		},
		{
			name: "TCPFastOpenListenOverflow",
			means: "SYNs with data that were treated as plain ones: more Fast Opens were pending than the " +
				"listener allows",
			by:    "tcp_fastopen_queue_check",
			worry: "when it grows: raise the number given with TCP_FASTOPEN",
		},
		{name: "TCPFastOpenCookieReqd", means: "SYNs that asked for a Fast Open cookie", by: "tcp_try_fastopen"},
	}},
	{Retransmitting, "Tcp", []row{
		{
			name: "RetransSegs", netstat: "N segments retransmitted",
			means: "segments that were sent again, SYNs, SYN-ACKs and loss probes among them, even if this host " +
				"then failed to send them",
			by:    "__tcp_retransmit_skb, tcp_rtx_synack",
			worry: "when it is more than about 1% of OutSegs",
		},
	}},
	{Retransmitting, "TcpExt", []row{
		{
			name: "TCPFastRetrans", netstat: "N fast retransmits",
			means: "segments sent again as later ones were acknowledged",
			by:    "tcp_xmit_retransmit_queue",
		},
		{
			name: "TCPSlowStartRetrans", netstat: "N retransmits in slow start",
			means:      "segments sent again after a timeout",
			by:         "tcp_xmit_retransmit_queue",
			misleading: "it means the loss state after a timeout, not slow start as such",
		},
		{
			name:  "TCPLostRetransmit",
			means: "segments that were lost a second time, after they had been sent again",
			by:    "tcp_mark_skb_lost",
			worry: "when it grows: loss is heavy, or a policer drops everything above a rate",
		},
		{
			name:  "TCPTimeouts",
			means: "retransmission timers that ran out, of data, SYNs and SYN-ACKs, the last before the end included",
			by:    "tcp_retransmit_timer, reqsk_timer_handler",
			worry: "when it grows: each stalls a connection for 200 ms or more",
		},
		{
			name:  "TCPLossProbes",
			means: "tail loss probes that were sent: the last segment again, or new data, before the timer runs out",
			by:    "tcp_send_loss_probe",
		},
		{name: "TCPLossProbeRecovery", means: "losses that a tail loss probe repaired", by: "tcp_process_tlp_ack"},
		{
			name:  "TCPSackRecovery",
			means: "times that a loss was found by SACK and repair began",
			by:    "tcp_enter_recovery",
		},
		{
			name: "TCPRenoRecovery", netstat: "N times recovered from packet loss due to fast retransmit",
			means:      "times that a loss was found by duplicate ACKs, without SACK, and repair began",
			by:         "tcp_enter_recovery",
			misleading: "it counts the beginning of the repair, successful or not",
			worry:      "when it grows: a peer, or something on the way, turns SACK off",
		},
		{
			name:  "TCPSackRecoveryFail",
			means: "timers that ran out while a loss found by SACK was being repaired",
			by:    "tcp_retransmit_timer",
		},
		{
			name:  "TCPRenoRecoveryFail",
			means: "timers that ran out while a loss found without SACK was being repaired",
			by:    "tcp_retransmit_timer",
		},
		{
			name:  "TCPSackFailures",
			means: "timers that ran out after SACKs that did not yet mean a loss",
			by:    "tcp_retransmit_timer",
		},
		{
			name: "TCPRenoFailures", netstat: "N timeouts after reno fast retransmit",
			means:      "timers that ran out after duplicate ACKs that did not yet mean a loss",
			by:         "tcp_retransmit_timer",
			misleading: "no fast retransmit need have happened",
		},
		{
			name: "TCPLossFailures", netstat: "N timeouts in loss state",
			means: "timers that ran out again before the loss of an earlier timeout was repaired",
			by:    "tcp_retransmit_timer",
		},
		{
			name:  "TCPSpuriousRTOs",
			means: "timeouts that turned out to be needless: the original segments arrived (F-RTO)",
			by:    "tcp_try_undo_loss",
			worry: "when it grows: round trips vary a lot; the timer is too short for them",
		},
		{
			name: "TCPFullUndo", netstat: "N congestion windows fully recovered without slow start",
			means: "repairs that turned out to be needless as they ended",
			by:    "tcp_try_undo_recovery",
		},
		{
			name: "TCPPartialUndo", netstat: "N congestion windows partially recovered using Hoe heuristic",
			means: "repairs that turned out to be needless before they ended",
			by:    "tcp_try_undo_partial",
		},
		{
			name: "TCPDSACKUndo",
			means: "repairs that turned out to be needless, as the peer said that everything sent again arrived " +
				"twice",
			by: "tcp_try_undo_dsack",
		},
		{
			name: "TCPLossUndo", netstat: "N congestion windows recovered without slow start after partial ack",
			means: "timeouts that turned out to be needless, so that the window went back to what it was",
			by:    "tcp_try_undo_loss",
			worry: "when it grows: round trips vary a lot; the timer is too short for them",
		},
		{
			name:  "TCPSACKReneging",
			means: "times that a peer's SACK was taken back: data it had told of was gone",
			by:    "tcp_check_sack_reneging",
			worry: "when it grows: a peer is short of memory, or broken",
		},
		{
			name: "TCPSACKReorder", netstat: "Detected reordering N times using SACK",
			means: "times that SACK showed segments to arrive out of order",
			by:    "tcp_check_sack_reordering",
			worry: "when it grows fast: a path sends one connection's packets different ways",
		},
		{
			name: "TCPRenoReorder", netstat: "Detected reordering N times using reno fast retransmit",
			means: "times that duplicate ACKs showed segments to arrive out of order",
			by:    "tcp_check_reno_reordering",
		},
		{
			name: "TCPTSReorder", netstat: "Detected reordering N times using time stamp",
			means: "times that time stamps showed segments to arrive out of order",
			by:    "tcp_check_sack_reordering",
		},
		{
			name:  "TCPRetransFail",
			means: "segments to be sent again that this host failed to send: its firewall, or a full queue",
			by:    "__tcp_retransmit_skb",
			worry: "when it grows: this host drops its own retransmissions (nft list ruleset, tc -s qdisc)",
		},
		{
			name:  "TCPSpuriousRtxHostQueues",
			means: "retransmissions put off, as the original was still in this host's own queue",
			by:    "skb_still_in_host_queue",
			worry: "when it grows: the device or its queue is too slow (tc -s qdisc)",
		},
		{
			name:  "TCPDSACKRecv",
			means: "peers' words that something arrived twice (DSACK)",
			by:    "tcp_check_dsack",
			worry: "when it is near RetransSegs: retransmissions are needless",
		},
		{
			name:  "TCPDSACKRecvSegs",
			means: "segments of which peers say that they arrived twice",
			by:    "tcp_dsack_seen",
		},
		{
			name:  "TCPDSACKOfoRecv",
			means: "peers' words that something out of order arrived twice",
			by:    "tcp_check_dsack",
		},
		{name: "TCPDSACKOldSent", means: "words to peers that old data came again", by: "tcp_dsack_set"},
		{name: "TCPDSACKOfoSent", means: "words to peers that data out of order came again", by: "tcp_dsack_set"},
		{
			name:  "TCPDSACKIgnoredOld",
			means: "DSACKs that were too old to mean anything",
			by:    "tcp_sacktag_write_queue",
		},
		{
			name:  "TCPDSACKIgnoredNoUndo",
			means: "DSACKs that were not used, as nothing sent again can be undone",
			by:    "tcp_sacktag_write_queue",
		},
		{
			name:  "TCPDSACKIgnoredDubious",
			means: "DSACKs that were not believed: they tell of more than was sent again",
			by:    "tcp_check_dsack, tcp_dsack_seen",
		},
		{
			name:  "TCPSACKDiscard",
			means: "SACK blocks that made no sense",
			by:    "tcp_sacktag_write_queue",
			worry: "when it grows: something on the way changes sequence numbers and not SACKs",
		},
		{
			name:  "TCPSackShifted",
			means: "segments that were merged with their neighbour as a SACK told of them",
			by:    "tcp_shifted_skb",
		},
		{
			name:  "TCPSackMerged",
			means: "segments that were merged whole as a SACK told of them",
			by:    "tcp_shifted_skb",
		},
		{
			name:  "TCPSackShiftFallback",
			means: "segments that could not be merged as a SACK told of them",
			by:    "tcp_shift_skb_data",
		},
		{
			name:  "TcpTimeoutRehash",
			means: "timeouts after which another path was tried, by a new hash of the connection",
			by:    "tcp_write_timeout",
		},
		{
			name:  "TcpDuplicateDataRehash",
			means: "times that a peer sent again what had arrived, so that another way back was tried",
			by:    "tcp_rcv_spurious_retrans",
		},
		{
			name:  "TCPPLBRehash",
			means: "times that congestion made a connection try another path (protective load balancing)",
			by:    "tcp_plb_check_rehash",
		},
		{name: "TCPMTUPFail", means: "probes of a larger segment size that got lost", by: "tcp_mtup_probe_failed"},
		{name: "TCPMTUPSuccess", means: "probes of a larger segment size that arrived", by: "tcp_mtup_probe_success"},
	}},
	{Timers, "TcpExt", []row{
		{name: "TCPKeepAlive", means: "keepalive probes that were sent", by: "tcp_xmit_probe_skb"},
		{
			name:  "TCPWinProbe",
			means: "probes of a window that the peer keeps shut",
			by:    "tcp_write_wakeup, tcp_xmit_probe_skb",
			worry: "when it grows: peers' applications do not read (tcptrace sockets --problems)",
		},
		{
			name: "TCPAbortOnTimeout", netstat: "N connections aborted due to timeout",
			means: "connections that the kernel gave up: SYNs, data or probes that nothing answered, keepalive, " +
				"TCP_USER_TIMEOUT",
			by:    "tcp_write_err",
			worry: "when it grows: peers vanish; applications see ETIMEDOUT (tcptrace watch --problems)",
		},
		{
			name: "TW", netstat: "N TCP sockets finished time wait in fast timer",
			means:      "sockets that entered TIME_WAIT; older kernels count them when they leave it, 60 seconds later",
			by:         "inet_twsk_schedule, tw_timer_handler",
			misleading: "there is no fast timer any more, and they may only begin their time",
		},
		{
			name: "TWRecycled", netstat: "N time wait sockets recycled by time stamp",
			means: "sockets in TIME_WAIT whose ports a connect took before time (tcp_tw_reuse)",
			by:    "__inet_check_established",
		},
		{
			name:  "TWKilled",
			means: "closed connections that were left to a mini-socket for 4 seconds or less",
			by:    "inet_twsk_schedule, tw_timer_handler",
		},
		{
			name:  "TCPTimeWaitOverflow",
			means: "sockets that got no TIME_WAIT, as tcp_max_tw_buckets of them existed, or for lack of memory",
			by:    "tcp_time_wait",
			worry: "when it grows: tcp_max_tw_buckets is reached; old segments may meet new connections",
		},
		{
			name: "DelayedACKs", netstat: "N delayed acks sent",
			means: "ACKs that were sent when the timer of delayed ACKs ran out",
			by:    "tcp_delack_timer_handler",
		},
		{
			name: "DelayedACKLocked", netstat: "N delayed acks further delayed because of locked socket",
			means: "delayed ACKs that had to wait, as the application was using the socket",
			by:    "tcp_delack_timer",
		},
		{
			name: "DelayedACKLost", netstat: "Quick ack mode was activated N times",
			means:      "segments that came again although they had arrived: the ACK was late, or lost",
			by:         "tcp_data_queue, tcp_send_dupack",
			misleading: "it counts data that came twice",
			worry:      "when it grows: ACKs get lost, or peers retransmit needlessly",
		},
	}},
	{Aborts, "Tcp", []row{
		{
			name: "EstabResets", netstat: "N connection resets received",
			means: "connections that ended at once from ESTABLISHED or CLOSE_WAIT, by a reset from either side or " +
				"by a timeout",
			by:         "tcp_set_state",
			misleading: "no reset need have been received: timeouts and this side's own aborts count too",
			worry:      "when it grows: tcptrace watch --problems says which and why",
		},
		{
			name: "OutRsts", netstat: "N resets sent",
			means: "RSTs that were built: for connections that this side aborts, and for segments that belong to " +
				"none",
			by:    "tcp_v4_send_reset, tcp_v6_send_reset, tcp_send_active_reset",
			worry: "when it grows: something connects to closed ports, or applications abort",
		},
	}},
	{Aborts, "TcpExt", []row{
		{
			name: "TCPAbortOnData", netstat: "N connections reset due to unexpected data",
			means:      "connections that were reset as data came after close, or by close with SO_LINGER 0",
			by:         "tcp_rcv_state_process, __tcp_close",
			misleading: "close with SO_LINGER 0 counts too, without any data",
			worry:      "when it grows: this side closes before its peer has finished",
		},
		{
			name: "TCPAbortOnClose", netstat: "N connections reset due to early user close",
			means: "connections that were reset as the application closed with data unread",
			by:    "__tcp_close",
			worry: "when it grows: the peer sees ECONNRESET, and may lose what it has not read",
		},
		{
			name: "TCPAbortOnLinger", netstat: "N connections aborted after user close in linger timeout",
			means: "connections that were reset after close as TCP_LINGER2 is negative",
			by:    "__tcp_close, tcp_rcv_state_process",
		},
		{
			name: "TCPAbortOnMemory", netstat: "N connections aborted due to memory pressure",
			means: "connections that were reset for lack of memory, or as tcp_max_orphans was reached",
			by:    "tcp_out_of_resources, __tcp_close",
			worry: "whenever it grows: tcp_mem or tcp_max_orphans is reached (dmesg says which)",
		},
		{
			name: "TCPAbortFailed", netstat: "N times unable to send RST due to no memory",
			means:      "RSTs that could not be sent",
			by:         "tcp_send_active_reset",
			misleading: "lack of memory is not the only reason: sending may fail",
		},
		{
			name:  "TCPChallengeACK",
			means: "ACKs in answer to RSTs, SYNs or ACKs that did not fit the connection (RFC 5961)",
			by:    "tcp_send_challenge_ack",
			worry: "when it grows: old connections in the way of new ones, or somebody guesses",
		},
		{
			name:  "TCPSYNChallenge",
			means: "SYNs for connections that exist",
			by:    "tcp_validate_incoming",
			worry: "when it grows: a peer restarted, or a NAT reuses ports too soon",
		},
		{
			name:  "TCPACKSkippedSynRecv",
			means: "answers to repeated SYNs that were not sent, as one was sent within tcp_invalid_ratelimit",
			by:    "tcp_check_req",
		},
		{
			name:  "TCPACKSkippedPAWS",
			means: "answers to segments with old time stamps that were not sent, for the same reason",
			by:    "tcp_validate_incoming",
		},
		{
			name:  "TCPACKSkippedSeq",
			means: "answers to segments outside the window that were not sent, for the same reason",
			by:    "tcp_validate_incoming",
		},
		{
			name:  "TCPACKSkippedFinWait2",
			means: "answers in FIN_WAIT2 that were not sent, for the same reason",
			by:    "tcp_timewait_state_process",
		},
		{
			name:  "TCPACKSkippedTimeWait",
			means: "answers in TIME_WAIT that were not sent, for the same reason",
			by:    "tcp_timewait_state_process",
		},
		{
			name:  "TCPACKSkippedChallenge",
			means: "challenge ACKs that were not sent, for the same reason",
			by:    "tcp_send_challenge_ack",
		},
		{
			name: "PAWSEstab", netstat: "N packets rejected in established connections because of timestamp",
			means:      "segments that were refused, as their time stamp is older than the last one",
			by:         "tcp_validate_incoming, tcp_check_req",
			misleading: "half-open requests are among them",
			worry:      "when it grows: several hosts behind one address, or ports reused too soon",
		},
		{
			name:  "PAWSOldAck",
			means: "ACKs with an old time stamp that were passed over quietly",
			by:    "tcp_validate_incoming",
		},
		{
			name:  "PAWSTimewait",
			means: "segments with an old time stamp that met TIME_WAIT",
			by:    "tcp_timewait_state_process",
			worry: "when it grows: a NAT in front of clients reuses ports",
		},
		{name: "TSEcrRejected", means: "final ACKs that echo a time stamp that was never sent", by: "tcp_check_req"},
		{
			name:  "BeyondWindow",
			means: "segments beyond the window that was offered",
			by:    "tcp_validate_incoming",
			worry: "when it grows: a peer ignores the window",
		},
		{
			name: "OutOfWindowIcmps", netstat: "N ICMP packets dropped because they were out-of-window",
			means: "ICMP errors about a connection that quote nothing in flight",
			by:    "tcp_v4_err, tcp_v6_err",
		},
		{
			name: "LockDroppedIcmps", netstat: "N ICMP packets dropped because socket was locked",
			means: "ICMP errors that were only remembered, as the application was using the socket",
			by:    "tcp_v4_err, tcp_v6_err",
		},
		{
			name:  "TCPMinTTLDrop",
			means: "segments that came from further away than IP_MINTTL allows",
			by:    "tcp_v4_rcv, tcp_v6_rcv",
		},
		{
			name:  "TCPMD5NotFound",
			means: "segments without the MD5 signature that is wanted",
			by:    "tcp_inbound_md5_hash, tcp_inbound_hash",
			worry: "whenever it grows: the peer lacks the key",
		},
		{
			name:  "TCPMD5Unexpected",
			means: "segments with an MD5 signature that nobody wanted",
			by:    "tcp_inbound_md5_hash",
			worry: "whenever it grows: this side lacks the key",
		},
		{
			name:  "TCPMD5Failure",
			means: "segments whose MD5 signature is wrong",
			by:    "tcp_inbound_md5_hash",
			worry: "whenever it grows: the keys differ",
		},
		{name: "TCPAOGood", means: "segments whose TCP-AO signature is right", by: "tcp_inbound_ao_hash"},
		{
			name:  "TCPAOBad",
			means: "segments whose TCP-AO signature is wrong",
			by:    "tcp_inbound_ao_hash",
			worry: "whenever it grows: the keys differ",
		},
		{
			name:  "TCPAOKeyNotFound",
			means: "segments signed with a TCP-AO key that is not known here",
			by:    "tcp_inbound_ao_hash",
			worry: "whenever it grows: the keys differ",
		},
		{
			name:  "TCPAORequired",
			means: "segments without the TCP-AO signature that is wanted",
			by:    "tcp_inbound_hash",
			worry: "whenever it grows: the peer lacks the key",
		},
		{
			name:  "TCPAODroppedIcmps",
			means: "ICMP errors that a connection with TCP-AO did not believe",
			by:    "tcp_ao_ignore_icmp",
		},
	}},
	{Memory, "TcpExt", []row{
		{
			name:  "TCPRcvQDrop",
			means: "segments in order that were dropped, as the receive buffer was full",
			by:    "tcp_data_queue",
			worry: "when it grows: an application reads too slowly, or tcp_rmem is too small (tcptrace counters " +
				"--path)",
		},
		{
			name:  "TCPZeroWindowDrop",
			means: "segments that were dropped, as the window was shut",
			by:    "tcp_data_queue",
			worry: "when it grows: an application does not read",
		},
		{
			name:  "TCPBacklogDrop",
			means: "segments that were dropped, as too many waited for the application to let go of the socket",
			by:    "tcp_add_backlog",
			worry: "when it grows: receive and send buffers together are the limit; sysctl -w net.ipv4.tcp_rmem",
		},
		{
			name:  "TCPOFODrop",
			means: "segments out of order that were dropped, as the receive buffer was full",
			by:    "tcp_data_queue_ofo",
			worry: "when it grows: loss, and a small receive buffer",
		},
		{
			name: "PruneCalled", netstat: "N packets pruned from receive queue because of socket buffer overrun",
			means:      "times that a receive buffer was over its limit and had to be made smaller",
			by:         "tcp_prune_queue",
			misleading: "no packet need have been dropped: it counts the attempts",
			worry:      "when it grows: an application reads too slowly, or tcp_rmem is too small",
		},
		{
			name: "TCPRcvCollapsed", netstat: "N packets collapsed in receive queue due to low socket buffer",
			means: "segments whose data was copied together to save memory",
			by:    "tcp_collapse_one",
			worry: "when it grows: it costs CPU time; an application reads too slowly, or tcp_rmem is too small",
		},
		{
			name: "OfoPruned", netstat: "N packets dropped from out-of-order queue because of socket buffer overrun",
			means:      "times that data out of order was thrown away for lack of room; the peer sends it again",
			by:         "tcp_prune_ofo_queue",
			misleading: "it counts the times, not the packets",
			worry:      "when it grows: loss, and a small receive buffer",
		},
		{
			name: "RcvPruned", netstat: "N packets pruned from receive queue",
			means:      "times that a receive buffer stayed over its limit, so that the segment was dropped",
			by:         "tcp_prune_queue",
			misleading: "what is dropped is the new segment; the queue stays",
			worry:      "whenever it grows: an application does not read",
		},
		{
			name: "TCPMemoryPressures", netstat: "TCP ran low on memory N times",
			means: "times that all of TCP used more than the middle value of tcp_mem",
			by:    "tcp_enter_memory_pressure",
			worry: "whenever it grows: sysctl net.ipv4.tcp_mem beside sockstat TCP mem, both in pages",
		},
		{
			name:  "TCPMemoryPressuresChrono",
			means: "milliseconds that TCP was short of memory",
			by:    "tcp_leave_memory_pressure",
			worry: "whenever it grows",
		},
		{
			name:  "TCPWqueueTooBig",
			means: "segments that were not split, as the send buffer was far over its limit",
			by:    "tcp_fragment",
			worry: "when it grows: sending stalls on small SO_SNDBUF",
		},
		{
			name:  "PFMemallocDrop",
			means: "packets dropped, as they came in memory that is kept for emergencies",
			by:    "sk_filter_trim_cap",
			worry: "whenever it grows: the host is out of memory",
		},
		{
			name:  "TCPToZeroWindowAdv",
			means: "times that this side shut its window",
			by:    "tcp_select_window",
			worry: "when it grows: an application here does not read fast enough",
		},
		{
			name:  "TCPFromZeroWindowAdv",
			means: "times that this side opened its window again",
			by:    "tcp_select_window",
		},
		{
			name:  "TCPWantZeroWindowAdv",
			means: "times that this side would have shut its window, had it not promised more",
			by:    "tcp_select_window",
		},
	}},
	{Segments, "Tcp", []row{
		{
			name: "InSegs", netstat: "N segments received",
			means: "segments that arrived, those with errors included; what GRO merged counts once",
			by:    "tcp_v4_rcv, tcp_v6_rcv",
		},
		{
			name: "OutSegs", netstat: "N segments sent out",
			means: "segments that were sent, ACKs and RSTs included, retransmitted data not",
			by:    "__tcp_transmit_skb, tcp_make_synack",
		},
		{
			name: "InErrs", netstat: "N bad segments received",
			means: "segments with a wrong checksum or length, and SYNs within a connection",
			by:    "tcp_v4_rcv, tcp_v6_rcv, tcp_validate_incoming",
			worry: "when it grows: tell wrong checksums by InCsumErrors",
		},
		{
			name:  "InCsumErrors",
			means: "segments with a wrong checksum",
			by:    "tcp_v4_rcv, tcp_v6_rcv",
			worry: "whenever it grows: memory, a cable or a device on the way damages data",
		},
		{name: "RtoAlgorithm", means: "1 for ever, which is none of the algorithms of RFC 1213"},
		{name: "RtoMin", means: "200 for ever, whatever tcp_rto_min_us says"},
		{name: "RtoMax", means: "120000 for ever, whatever tcp_rto_max_ms says"},
		{name: "MaxConn", means: "-1 for ever: no limit"},
	}},
	{Segments, "TcpExt", []row{
		{
			name: "TCPHPHits", netstat: "N packet headers predicted",
			means: "segments of data that took the fast path: just what was expected next",
			by:    "tcp_rcv_established",
		},
		{
			name: "TCPHPAcks", netstat: "N predicted acknowledgments",
			means: "ACKs that took the fast path",
			by:    "tcp_ack",
		},
		{
			name: "TCPPureAcks", netstat: "N acknowledgments not containing data payload received",
			means:      "ACKs without data that took the slow path",
			by:         "tcp_ack",
			misleading: "those on the fast path (TCPHPAcks) are not among them",
		},
		{
			name:  "TCPOrigDataSent",
			means: "segments of data that were sent for the first time",
			by:    "tcp_event_new_data_sent",
		},
		{name: "TCPDelivered", means: "segments that peers have acknowledged", by: "tcp_newly_delivered"},
		{
			name:  "TCPDeliveredCE",
			means: "segments that met congestion on the way and say so (ECN)",
			by:    "tcp_newly_delivered",
		},
		{name: "TCPRcvCoalesce", means: "segments that were merged in a receive queue", by: "tcp_try_coalesce"},
		{
			name:  "TCPBacklogCoalesce",
			means: "segments that were merged while they waited for the application to let go of the socket",
			by:    "tcp_add_backlog",
		},
		{
			name:  "TCPOFOQueue",
			means: "segments that arrived out of order and were kept",
			by:    "tcp_data_queue_ofo",
			worry: "when it grows: segments before them are lost, or late",
		},
		{name: "TCPOFOMerge", means: "segments out of order that overlap with others", by: "tcp_data_queue_ofo"},
		{
			name:  "TCPAckCompressed",
			means: "ACKs of data out of order that were left out, as one stands for several",
			by:    "tcp_event_ack_sent",
		},
		{
			name:  "TCPAutoCorking",
			means: "small writes that were held back to be merged with the next",
			by:    "tcp_push",
		},
		{
			name:  "TCPHystartTrainDetect",
			means: "times that slow start ended early, as ACKs came spread out",
			by:    "hystart_update",
		},
		{name: "TCPHystartTrainCwnd", means: "the windows at those times, added up", by: "hystart_update"},
		{
			name:  "TCPHystartDelayDetect",
			means: "times that slow start ended early, as the round trip grew",
			by:    "hystart_update",
		},
		{name: "TCPHystartDelayCwnd", means: "the windows at those times, added up", by: "hystart_update"},
		{
			name:  "BusyPollRxPackets",
			means: "packets that applications fetched from the device by polling",
			by:    "busy_poll_stop, napi_busy_loop",
		},
	}},
}
