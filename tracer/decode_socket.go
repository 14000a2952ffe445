package tracer

import (
	"time"

	"tcptrace/tracer/event"
	"tcptrace/tracer/sockets"
)

// socket makes a socket of one record, but for its settings.
func (d *decoder) socket(r *bpfSocketRecord) (*sockets.Socket, error) {
	local, remote, err := endpoints(r.Family, r.Local, r.LocalPort, r.Remote, r.RemotePort)
	if err != nil {
		return nil, err
	}
	flags := bpfSocketFlags(r.Flags)
	s := &sockets.Socket{
		ID:          sockets.ID(r.Sock),
		Listener:    sockets.ID(r.Listener),
		Mono:        time.Duration(r.TimeNs),
		Cookie:      r.Cookie,
		Inode:       r.Inode,
		NetNS:       r.Netns,
		Local:       local,
		Remote:      remote,
		State:       event.State(r.State),
		Substate:    event.State(r.Substate),
		Held:        flags&bpfSocketFlagsSOCKET_HELD != 0,
		Orphan:      flags&bpfSocketFlagsSOCKET_ORPHAN != 0,
		Retransmits: int(r.Retransmits),
		Backoff:     int(r.Backoff),
	}
	if r.Owner.Pid != 0 {
		s.FD = int(r.Fd)
		s.Owner = d.owner(r.Owner.Pid, r.Owner.Uid, r.Owner.Comm, r.Owner.Cgroup)
	}
	if flags&bpfSocketFlagsSOCKET_HAS_LIFETIME != 0 {
		s.Lifetime = sockets.Timer{Name: lifetimeNames[s.State], Left: d.left(r.LifetimeLeftJiffies)}
		return s, nil
	}
	d.timers(r, s)
	d.progress(r, s)
	d.buffers(r, s)
	d.listening(r, s)
	return s, nil
}

// lifetimeNames are those of a mini-socket's only timer.
var lifetimeNames = map[event.State]string{
	event.StateTimeWait:   sockets.TimerTimeWait,
	event.StateNewSYNRecv: sockets.TimerRetransmit,
}

// retransmitNames are those of what icsk_pending says (include/net/inet_connection_sock.h).
var retransmitNames = map[uint8]string{
	1: sockets.TimerRetransmit, // ICSK_TIME_RETRANS
	3: sockets.TimerPersist,    // ICSK_TIME_PROBE0
	5: sockets.TimerTLP,        // ICSK_TIME_LOSS_PROBE
	6: sockets.TimerReorder,    // ICSK_TIME_REO_TIMEOUT
}

// left is what is left of a timer, negative when it is overdue.
func (d *decoder) left(jiffies int32) time.Duration { return time.Duration(jiffies) * d.jiffy }

func (d *decoder) timers(r *bpfSocketRecord, s *sockets.Socket) {
	flags := bpfSocketFlags(r.Flags)
	if flags&bpfSocketFlagsSOCKET_HAS_RETRANSMIT_TIMER != 0 {
		s.Retransmit = sockets.Timer{Name: retransmitNames[r.Pending], Left: d.left(r.RetransmitLeftJiffies)}
	}
	if flags&bpfSocketFlagsSOCKET_HAS_KEEPALIVE_TIMER != 0 {
		s.Keepalive = sockets.Timer{Name: sockets.TimerKeepalive, Left: d.left(r.KeepaliveLeftJiffies)}
		if s.State == event.StateFinWait2 && s.Orphan {
			s.Keepalive.Name = sockets.TimerFinWait2
		}
	}
	s.RTO = d.jiffies(r.RtoJiffies)
	s.RTT = time.Duration(r.SrttUs) * time.Microsecond
	s.Probes = int(r.ProbesOut)
	s.Retransmitted = flags&bpfSocketFlagsSOCKET_RETRANSMITTED != 0
	s.Retransmitting = time.Duration(r.RetransmittingMs) * time.Millisecond
	s.Probed = flags&bpfSocketFlagsSOCKET_PROBED != 0
	s.Probing = d.jiffies(r.ProbingJiffies)
	s.LastSent = d.jiffies(r.LastSentJiffies)
	s.LastReceived = d.jiffies(r.LastDataJiffies)
	s.LastACK = d.jiffies(r.LastAckJiffies)
	s.SoftError = event.Errno(r.ErrorSoft)
	s.Linger2 = d.left(r.Linger2Jiffies)
	s.ThinLinear = flags&bpfSocketFlagsSOCKET_THIN_LINEAR != 0
}

func (d *decoder) progress(r *bpfSocketRecord, s *sockets.Socket) {
	s.UID, s.HasUID = r.Uid, true
	if s.State == event.StateListen {
		return
	}
	s.InFlight = int(r.PacketsOut)
	// As tcp_diag_get_info has it. A reader may be ahead for a moment: that is nothing to read, not 4 GiB.
	s.RecvQueue = max(0, int(int32(r.RcvNxt-r.CopiedSeq)))
	s.SendQueue = int(int32(r.WriteSeq - r.SndUna))
	s.Traffic = &event.Traffic{
		BytesSent:     int64(r.BytesSent),
		BytesAcked:    int64(r.BytesAcked),
		BytesReceived: int64(r.BytesReceived),
		Retransmits:   int(r.TotalRetrans),
		Unacked:       int(r.SndNxt - r.SndUna),
		Unsent:        int(r.WriteSeq - r.SndNxt),
		Unread:        s.RecvQueue,
		SendWindow:    int(r.SndWnd),
	}
}

func (d *decoder) buffers(r *bpfSocketRecord, s *sockets.Socket) {
	flags := bpfSocketFlags(r.Flags)
	receiveLocked := flags&bpfSocketFlagsSOCKET_RCVBUF_LOCKED != 0
	sendLocked := flags&bpfSocketFlagsSOCKET_SNDBUF_LOCKED != 0
	s.Receive = buffer(r.Rcvbuf, r.Rmem, receiveLocked, r.SysctlRmem)
	s.Receive.Tuned = !receiveLocked && flags&bpfSocketFlagsSOCKET_AUTOTUNED != 0
	s.Send = buffer(r.Sndbuf, r.WmemQueued, sendLocked, r.SysctlWmem)
	s.Send.Tuned = !sendLocked
}

func (d *decoder) listening(r *bpfSocketRecord, s *sockets.Socket) {
	flags, raw := bpfSocketFlags(r.Flags), &r.Listening
	if flags&bpfSocketFlagsSOCKET_HAS_LISTENING == 0 {
		return
	}
	s.Drops = int(raw.Drops)
	s.Listening = &sockets.Listening{
		Accept:    event.Queue{Len: int(raw.AcceptLen), Max: int(raw.AcceptMax)},
		IPv6Only:  flags&bpfSocketFlagsSOCKET_IPV6ONLY != 0,
		Device:    int(raw.Device),
		Whole:     true,
		SYNs:      int(raw.SynLen),
		Young:     int(raw.SynYoung),
		FastOpen:  event.Queue{Len: int(raw.FastopenLen), Max: int(raw.FastopenMax)},
		Deferred:  int(raw.DeferAccept),
		ReusePort: flags&bpfSocketFlagsSOCKET_REUSEPORT != 0,
		Group:     int(raw.Group),
	}
	s.HasWaiting = flags&bpfSocketFlagsSOCKET_HAS_WAITING != 0
	s.Waiting = d.jiffies(raw.OldestJiffies)
}

// buffer undoes the doubling of setsockopt where somebody asked (sk_setsockopt: what is asked for is taken twice, since
// it has to hold the kernel's own overhead too).
func buffer(size, used int32, asked bool, sysctl [3]int32) *sockets.Buffer {
	b := &sockets.Buffer{Size: int(size), Used: int(used), Default: int(sysctl[1]), Max: int(sysctl[2])}
	if asked {
		b.Asked = b.Size / 2
	}
	return b
}
