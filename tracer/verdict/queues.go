package verdict

import (
	"fmt"
	"slices"
	"time"

	"tcptrace/tracer/event"
	"tcptrace/tracer/timeline"
)

// The stages and actions of a listener's full queues.
const (
	stageSYN     = "syn"
	stageACK     = "ack"
	actionCookie = "cookie"
	actionDrop   = "drop"
)

var queueKinds = []event.Kind{
	event.AcceptQueueFull, event.SYNQueueFull, event.SYNACKTimeout, event.SYNACKDuplicate, event.ResetSent,
	event.ResetReceived, event.Close,
}

// finalACKRules are about handshakes that were complete for the client alone: the server's accept queue was full when
// the final ACK came, or it never came. What a probe was told, that it is connected, is not the truth.
var finalACKRules = []rule{
	{
		cause:   ResetByOverflow,
		match:   func(s *story) bool { return s.resetForOverflow() != nil && s.neverTaken() },
		outcome: OutcomeFailed,
		endedBy: func(s *story) EndedBy {
			if s.client() {
				return EndedByPeer
			}
			return EndedByKernel
		},
		shows: handshakeAnd(queueKinds...),
		summary: func(s *story) string {
			return fmt.Sprintf("reset by overflow: %s was full when the final ACK came, and with tcp_abort_on_overflow=1 "+
				"the kernel answered with a reset", s.acceptQueue(stageACK))
		},
		advice: func(s *story) []string {
			return append(s.acceptQueueAdvice(stageACK),
				"net.ipv4.tcp_abort_on_overflow is 1: with 0 the client's data would be taken once there is room")
		},
	},
	{
		cause:   AcceptQueueFullAtACK,
		match:   func(s *story) bool { return len(s.acceptQueueFull(stageACK)) > 0 && s.neverTaken() },
		outcome: OutcomeFailed,
		endedBy: (*story).whoLeft,
		shows:   handshakeAnd(append(queueKinds, event.Retransmit)...),
		summary: func(s *story) string {
			text := fmt.Sprintf("%s was full when the final ACK came, %s: the client believes it is connected, the server has no connection",
				s.acceptQueue(stageACK), count(packets(s.acceptQueueFull(stageACK)), "time"))
			if s.serverLast(event.SYNACKTimeout) != nil {
				text += ", and its request has expired"
			}
			return text
		},
		advice: func(s *story) []string { return s.acceptQueueAdvice(stageACK) },
	},
	{
		cause:   HandshakeIncomplete,
		match:   func(s *story) bool { return s.client() && s.established && s.finalACKLost() && s.neverTaken() },
		outcome: OutcomeFailed,
		endedBy: (*story).whoLeft,
		shows:   handshakeAnd(append(queueKinds, event.Drop)...),
		doubts:  (*story).incompleteDoubts,
		summary: func(s *story) string {
			return fmt.Sprintf("handshake incomplete: this side is connected, but its final ACK never reached the server, on this host, "+
				"which sent its SYN-ACK %s%s%s", count(1+s.synACKs(), "time"), s.expiredOnce(), s.droppedBeyond())
		},
		advice: func(s *story) []string {
			if look := s.lookBeyond(); look != nil {
				return look
			}
			return []string{"what goes from the client to the server after the SYN is lost or dropped: tcpdump on the server's side, and nft list ruleset"}
		},
	},
}

// queueRules are about SYNs that a listener on this host did not take, from its own view and from the client's.
var queueRules = []rule{
	{
		cause:   AcceptQueueFull,
		match:   func(s *story) bool { return s.untaken() && len(s.acceptQueueFull(stageSYN)) > 0 },
		outcome: OutcomeFailed,
		endedBy: (*story).whoGaveUpSYNs,
		shows:   handshakeAnd(queueKinds...),
		doubts: func(s *story) []string {
			return append(s.otherSYNsDoubt(s.acceptQueueFull(stageSYN)), s.ambiguousDoubt()...)
		},
		summary: func(s *story) string {
			return fmt.Sprintf("%s was full and dropped %s%s%s", s.acceptQueue(stageSYN),
				count(packets(s.acceptQueueFull(stageSYN)), "SYN"), s.ofClient(), s.clientsEnd())
		},
		advice: func(s *story) []string { return s.acceptQueueAdvice(stageSYN) },
	},
	{
		cause:   SYNQueueFull,
		match:   func(s *story) bool { return s.untaken() && len(s.synQueueFull(actionDrop)) > 0 },
		outcome: OutcomeFailed,
		endedBy: (*story).whoGaveUpSYNs,
		shows:   handshakeAnd(queueKinds...),
		doubts: func(s *story) []string {
			return append(s.otherSYNsDoubt(s.synQueueFull(actionDrop)), s.ambiguousDoubt()...)
		},
		summary: func(s *story) string {
			full := s.synQueueFull(actionDrop)
			return fmt.Sprintf("%s was full, SYN cookies are off, and it dropped %s%s%s", queueOf(full[len(full)-1], "SYN queue"),
				count(packets(full), "SYN"), s.ofClient(), s.clientsEnd())
		},
		advice: func(s *story) []string {
			full := s.synQueueFull(actionDrop)
			return []string{
				"set sysctl net.ipv4.tcp_syncookies=1 (it is 0 there); if there are so many honest handshakes, raise " +
					s.limit(full[len(full)-1]),
				"see who holds the queue: ss -tan state syn-recv",
			}
		},
	},
	{
		cause:   SYNCookieSent,
		match:   func(s *story) bool { return s.untaken() && len(s.synQueueFull(actionCookie)) > 0 },
		outcome: OutcomeFailed,
		endedBy: (*story).whoGaveUpSYNs,
		shows:   handshakeAnd(queueKinds...),
		summary: func(s *story) string {
			return s.cookieSummary() + ", and nothing came back for it" + s.clientsEnd()
		},
		advice: (*story).cookieAdvice,
	},
}

// serverSide are the parts of the story that a server tells: its end of the connection, and its listener.
func (s *story) serverSide() []*timeline.Connection {
	if s.conn == nil {
		return nil
	}
	ends := append(s.others(), s.conn)
	return slices.DeleteFunc(ends, func(c *timeline.Connection) bool { return c.Role == event.RoleClient })
}

// serverLast is the last event of a kind at the server's end, which may be this one.
func (s *story) serverLast(kind event.Kind) *event.Event {
	var found *event.Event
	for _, c := range s.serverSide() {
		if ev := (&story{conn: c}).last(kind); ev != nil && (found == nil || ev.Mono > found.Mono) {
			found = ev
		}
	}
	return found
}

// serverEventsOf are the events of a kind at the server's end for which match holds.
func (s *story) serverEventsOf(kind event.Kind, match func(*event.Event) bool) []*event.Event {
	seen := func(c *timeline.Connection) bool { return c != nil && c.Saw(kind) }
	if !s.saw(kind) && !slices.ContainsFunc(s.others(), seen) {
		return nil
	}
	return s.serverEvents(func(ev *event.Event) bool { return ev.Kind == kind && match(ev) })
}

// serverEvents are the events at the server's end for which match holds.
func (s *story) serverEvents(match func(*event.Event) bool) []*event.Event {
	var events []*event.Event
	for _, c := range s.serverSide() {
		for i := range c.Events {
			if ev := &c.Events[i]; match(ev) {
				events = append(events, ev)
			}
		}
	}
	return events
}

// acceptQueueFull are the packets of a stage that a full accept queue on this host refused.
func (s *story) acceptQueueFull(stage string) []*event.Event {
	return s.serverEventsOf(event.AcceptQueueFull, func(ev *event.Event) bool { return ev.Stage == stage })
}

// synQueueFull are the SYNs that met a full SYN queue on this host, with what it did.
func (s *story) synQueueFull(action string) []*event.Event {
	return s.serverEventsOf(event.SYNQueueFull, func(ev *event.Event) bool { return ev.Action == action })
}

// cookied says that a SYN cookie went in place of a request.
func (s *story) cookied() bool {
	return len(s.synQueueFull(actionCookie)) > 0 ||
		len(s.serverEventsOf(event.Established, func(ev *event.Event) bool { return ev.ByCookie })) > 0
}

// ambiguousDoubt is about listeners that share a port.
func (s *story) ambiguousDoubt() []string {
	if len(s.serverEvents(func(ev *event.Event) bool { return ev.Ambiguous })) == 0 {
		return nil
	}
	return []string{"several listeners share the port, and which of them refused was not seen"}
}

// neverTaken says that the server's end is on this host and never was established.
func (s *story) neverTaken() bool {
	if s.conn == nil || s.inProgress && s.client() {
		return false
	}
	server := s.conn
	if s.client() {
		server = s.conn.Peer
	}
	if server == nil || server.Role != event.RoleServer || server.PreExisting || server.Socketless() {
		return false
	}
	return (&story{conn: server}).firstWhere(func(ev *event.Event) bool {
		return ev.Kind == event.Established || ev.Kind == event.Accept || synchronized(ev.State) || synchronized(ev.OldState)
	}) == nil
}

// resetForOverflow is the reset with which a server answered the final ACK that its full queue refused. Without
// tcp_abort_on_overflow one comes only after the request has expired, when the queue is not asked any more.
func (s *story) resetForOverflow() *event.Event {
	const atOnce = 5 * time.Millisecond
	for _, full := range s.acceptQueueFull(stageACK) {
		for _, sent := range s.serverEvents(func(ev *event.Event) bool { return ev.Kind == event.ResetSent }) {
			if since := sent.Mono - full.Mono; since >= -atOnce && since <= atOnce {
				return sent
			}
		}
	}
	received := s.last(event.ResetReceived)
	if s.client() && received != nil && len(s.acceptQueueFull(stageACK)) > 0 && !s.mayHaveExpired(received.Mono) {
		return received
	}
	return nil
}

// mayHaveExpired says that a request of the server may have expired at that time: its first timer is that of its SYN-ACK
// (reqsk_timer_handler), after TCP_TIMEOUT_INIT.
func (s *story) mayHaveExpired(at time.Duration) bool {
	const initial = time.Second
	requests := s.serverEvents(func(ev *event.Event) bool { return ev.Kind == event.SYNReceived })
	return len(requests) == 0 || at-requests[0].Mono >= initial
}

// finalACKLost says that the server sent its SYN-ACK again after this client had answered it, or gave up waiting.
func (s *story) finalACKLost() bool {
	done := s.first(event.Established)
	if s.peerLast(event.SYNACKTimeout) != nil {
		return true
	}
	again := s.peerLast(event.SYNACKRetransmit)
	return done != nil && again != nil && again.Mono > done.Mono
}

func (s *story) incompleteDoubts() []string {
	if s.serverLast(event.SYNACKTimeout) != nil {
		return nil
	}
	return []string{"the server's request had not expired yet: a later packet may still complete it"}
}

func (s *story) expiredOnce() string {
	if s.serverLast(event.SYNACKTimeout) != nil {
		return " and then forgot the request"
	}
	return ""
}

// whoLeft is who ended a connection that only its client had.
func (s *story) whoLeft() EndedBy {
	switch {
	case !s.client() || s.deathErrno() == event.ETIMEDOUT:
		return EndedByKernel
	case s.deathErrno() != 0:
		return EndedByPeer
	case s.closed || s.probe != nil:
		return byUser(s)
	}
	return ""
}

// untaken says that a SYN was not taken: this is a listener's refusal, or a client that heard nothing.
func (s *story) untaken() bool {
	if s.conn == nil || s.established {
		return false
	}
	return s.conn.OnlyRefused() || s.client() && (s.silent() || s.inProgress && s.errno == 0)
}

func (s *story) whoGaveUpSYNs() EndedBy {
	if s.client() {
		return s.whoEndedSilence()
	}
	return EndedByKernel
}

// otherSYNsDoubt is about a client's SYNs beyond those that the listener refused.
func (s *story) otherSYNsDoubt(refused []*event.Event) []string {
	made := 1 + s.attempts
	if n := packets(refused); s.client() && n < made {
		return []string{fmt.Sprintf("%d of %s were seen refused: what became of the others was not seen", n, count(made, "SYN"))}
	}
	return nil
}

// ofClient names the client, in a listener's story.
func (s *story) ofClient() string {
	if s.client() {
		return ""
	}
	return " of " + s.remote().String()
}

// clientsEnd is how a client's attempt ended, or goes on.
func (s *story) clientsEnd() string {
	switch {
	case !s.client():
		return ""
	case s.inProgress:
		return s.wouldGiveUp()
	}
	return "; " + s.silenceEnd()
}

// acceptQueue names the accept queue that refused packets of a stage, with its owner and its length.
func (s *story) acceptQueue(stage string) string {
	full := s.acceptQueueFull(stage)
	return queueOf(full[len(full)-1], "accept queue")
}

// queueOf names a listener's queue: "the accept queue of nginx[77] on 0.0.0.0:443 (129, limit 128)".
func queueOf(ev *event.Event, name string) string {
	text := "the " + name
	if ev.Owner.Known() {
		text += " of " + who(ev.Owner)
	}
	if ev.Local.IsValid() {
		text += " on " + ev.Local.String()
	}
	if ev.Queue != nil {
		text += fmt.Sprintf(" (%d, limit %d)", ev.Queue.Len, ev.Queue.Max)
	}
	return text
}

func (s *story) acceptQueueAdvice(stage string) []string {
	full := s.acceptQueueFull(stage)
	last := full[len(full)-1]
	owner := "the application"
	if last.Owner.Known() {
		owner = who(last.Owner)
	}
	return []string{
		fmt.Sprintf("%s does not call accept() often enough: see what it does instead, and ss -ltn 'sport = :%d' (Recv-Q)", owner, last.Local.Port()),
		"if the load comes in bursts, raise " + s.limit(last),
	}
}

// limit names what limits a listener's queues: the smaller of two numbers, and which one where that is known.
func (s *story) limit(ev *event.Event) string {
	const both = "the listener's backlog and net.core.somaxconn"
	somaxconn := s.host().Somaxconn
	if ev.Queue == nil || somaxconn == 0 {
		return both + ": the smaller one holds"
	}
	if ev.Queue.Max < somaxconn {
		return fmt.Sprintf("the listener's backlog, %d in its listen() (net.core.somaxconn is %d)", ev.Queue.Max, somaxconn)
	}
	return fmt.Sprintf("net.core.somaxconn, which is %d, and the listener's backlog if that is not more", somaxconn)
}

func (s *story) cookieSummary() string {
	full := s.synQueueFull(actionCookie)
	if len(full) == 0 {
		return "the server's SYN queue was full, or its net.ipv4.tcp_syncookies is 2, and it answered with a SYN cookie"
	}
	return queueOf(full[len(full)-1], "SYN queue") + " was full and answered with a SYN cookie"
}

func (s *story) cookieAdvice() []string {
	const loses = "without TCP timestamps a cookie keeps neither window scaling nor SACK, and only some values of the MSS"
	full := s.synQueueFull(actionCookie)
	if len(full) == 0 {
		return []string{loses + ": sysctl net.ipv4.tcp_syncookies there, and ss -tan state syn-recv"}
	}
	return []string{
		loses + ": see who holds the queue (ss -tan state syn-recv); if these are honest handshakes, raise " + s.limit(full[len(full)-1]),
	}
}
