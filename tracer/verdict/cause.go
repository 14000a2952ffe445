package verdict

import "slices"

// The causes. Their names are the contract's.
const (
	Connected                 Cause = "connected"
	ConnectedAfterRetries     Cause = "connected_after_retries"
	NoAnswer                  Cause = "no_answer"
	DroppedByLocalOutput      Cause = "dropped_by_local_output"
	DroppedByLocalInput       Cause = "dropped_by_local_input"
	Refused                   Cause = "refused"
	RejectedByICMP            Cause = "rejected_by_icmp"
	NoRoute                   Cause = "no_route"
	NeighbourUnresolved       Cause = "neighbour_unresolved"
	PortsExhausted            Cause = "ports_exhausted"
	DeniedByPolicy            Cause = "denied_by_policy"
	ConntrackFull             Cause = "conntrack_full"
	MD5OrAOMismatch           Cause = "md5_or_ao_mismatch"
	NameNotResolved           Cause = "name_not_resolved"
	Superseded                Cause = "superseded"
	AbandonedByApplication    Cause = "abandoned_by_application"
	AcceptQueueFull           Cause = "accept_queue_full"
	AcceptQueueFullAtACK      Cause = "accept_queue_full_at_ack"
	ResetByOverflow           Cause = "reset_by_overflow"
	SYNQueueFull              Cause = "syn_queue_full"
	SYNCookieSent             Cause = "syn_cookie_sent"
	OldConnectionInTheWay     Cause = "old_connection_in_the_way"
	WrongAcknowledgement      Cause = "wrong_acknowledgement"
	HandshakeIncomplete       Cause = "handshake_incomplete"
	KeepaliveTimeout          Cause = "keepalive_timeout"
	UserTimeout               Cause = "user_timeout"
	RetransmissionTimeout     Cause = "retransmission_timeout"
	ZeroWindowTimeout         Cause = "zero_window_timeout"
	DroppedWhileIdle          Cause = "dropped_while_idle"
	LargeSegmentsLost         Cause = "large_segments_lost"
	UnreachableWhileConnected Cause = "unreachable_while_connected"
	ResetByPeer               Cause = "reset_by_peer"
	ResetLocally              Cause = "reset_locally"
	BrokenPipe                Cause = "broken_pipe"
	ClosedAwaitingReply       Cause = "closed_awaiting_reply"
	ClosedByPeer              Cause = "closed_by_peer"
	ClosedLocally             Cause = "closed_locally"
	StillOpen                 Cause = "still_open"
	// Unexplained is the honest end of the table: it failed, and no rule knows why.
	Unexplained Cause = "unexplained"
)

// Meaning is a cause with what it says happened.
type Meaning struct {
	Cause   Cause
	Meaning string
}

var causes = []Meaning{
	{Connected, "the first SYN was answered"},
	{ConnectedAfterRetries, "it took several SYNs, or the SYN-ACK was sent several times; the schedule explains the delay"},
	{NoAnswer, "every SYN left this host, nothing at all came back"},
	{DroppedByLocalOutput, "this host's own firewall, or queue, dropped the SYN: it never left"},
	{DroppedByLocalInput, "the peer answered; this host dropped the answer"},
	{Refused, "a reset answered the SYN: nothing listens there, or a firewall rejects with a reset"},
	{RejectedByICMP, "an ICMP error ended it"},
	{NoRoute, "no route, or a prohibit, blackhole or unreachable one; nothing was sent"},
	{NeighbourUnresolved, "ARP or neighbour discovery got no answer on the last link"},
	{PortsExhausted, "no free source port towards that destination"},
	{DeniedByPolicy, "cgroup BPF or a security module forbade the connect"},
	{ConntrackFull, "this host's connection tracking table was full and dropped it"},
	{MD5OrAOMismatch, "TCP MD5 or AO keys did not match"},
	{NameNotResolved, "the target's name gave no address"},
	{Superseded, "a sibling connect of the same owner won"},
	{AbandonedByApplication, "the application closed it before the first retry was even due"},
	{AcceptQueueFull, "the listener on this host dropped the SYN: its accept queue was full"},
	{AcceptQueueFullAtACK, "the client believes it is connected, the server's full accept queue refuses the final ACK"},
	{ResetByOverflow, "the accept queue was full and tcp_abort_on_overflow=1 answered with a reset"},
	{SYNQueueFull, "the listener's SYN queue was full and SYN cookies were off"},
	{SYNCookieSent, "the SYN queue was full and the handshake went on by cookie, losing options"},
	{OldConnectionInTheWay, "the SYN met the peer's old connection on the same ports"},
	{WrongAcknowledgement, "the SYN-ACK acknowledged what was never sent, and was refused"},
	{HandshakeIncomplete, "a server's SYN-ACK was never acknowledged"},
	{KeepaliveTimeout, "idle, every keepalive probe unanswered"},
	{UserTimeout, "TCP_USER_TIMEOUT killed an established connection"},
	{RetransmissionTimeout, "data was never acknowledged; killed by tcp_retries2"},
	{ZeroWindowTimeout, "the peer's window stayed shut and it stopped answering"},
	{DroppedWhileIdle, "it worked, was idle, and the next data met silence or a reset"},
	{LargeSegmentsLost, "small segments are acknowledged, full-size ones never: a path MTU black hole"},
	{UnreachableWhileConnected, "ICMP errors explain the final errno of an established connection"},
	{ResetByPeer, "the peer reset an established connection"},
	{ResetLocally, "this side reset it, or somebody on this host destroyed the socket"},
	{BrokenPipe, "the application wrote after the peer had closed or reset"},
	{ClosedAwaitingReply, "this side closed while the peer owed it an answer"},
	{ClosedByPeer, "an orderly end, begun by the peer"},
	{ClosedLocally, "an orderly end, begun by this side"},
	{StillOpen, "tracing ended first"},
	{Unexplained, "it failed in a way that no rule knows"},
}

// Causes lists every cause there is, in the contract's order.
func Causes() []Meaning { return slices.Clone(causes) }

// Known says whether there is such a cause.
func (c Cause) Known() bool {
	return slices.ContainsFunc(causes, func(m Meaning) bool { return m.Cause == c })
}
