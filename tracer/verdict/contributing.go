package verdict

import (
	"fmt"

	"tcptrace/tracer/event"
)

// act is an earlier part of a story that can matter beside its end.
type act struct {
	cause   Cause
	match   func(*story) bool
	shows   []event.Kind
	summary func(*story) string
}

var acts = []act{
	{
		cause: AcceptQueueFull,
		match: func(s *story) bool { return len(s.acceptQueueFull(stageSYN)) > 0 },
		shows: []event.Kind{event.AcceptQueueFull},
		summary: func(s *story) string {
			return s.queueAct(s.acceptQueueFull(stageSYN), "accept queue", "dropped", "SYN")
		},
	},
	{
		cause:   SYNQueueFull,
		match:   func(s *story) bool { return len(s.synQueueFull(actionDrop)) > 0 },
		shows:   []event.Kind{event.SYNQueueFull},
		summary: func(s *story) string { return s.queueAct(s.synQueueFull(actionDrop), "SYN queue", "dropped", "SYN") },
	},
	{
		cause:   SYNCookieSent,
		match:   (*story).cookied,
		shows:   []event.Kind{event.SYNQueueFull, event.Established},
		summary: (*story).cookieSummary,
	},
	{
		cause: AcceptQueueFullAtACK,
		match: func(s *story) bool { return len(s.acceptQueueFull(stageACK)) > 0 },
		shows: []event.Kind{event.AcceptQueueFull},
		summary: func(s *story) string {
			return s.queueAct(s.acceptQueueFull(stageACK), "accept queue", "refused", "packet") + " of the client that completes the handshake"
		},
	},
	{
		cause: OldConnectionInTheWay,
		match: func(s *story) bool {
			return s.client() && s.clearedAway() && !s.wrongSYNACK() || s.conn != nil && s.conn.Before != nil
		},
		shows: []event.Kind{event.ResetSent, event.ResetReceived, event.SYNRetransmit, event.SYNReceived},
		summary: func(s *story) string {
			if s.client() {
				return "the first SYN met " + s.oldState() + " on the same ports at the peer, which this host's reset cleared away"
			}
			return "the client's SYN met this host's connection of before on the same ports, which the client's reset then cleared away"
		},
	},
	{
		cause: OldConnectionInTheWay,
		match: func(s *story) bool { return s.conn != nil && s.conn.After != nil },
		shows: []event.Kind{event.ResetReceived},
		summary: func(s *story) string {
			return fmt.Sprintf("the client's host knew nothing of it any more and connected anew from the same port %s later",
				duration(s.conn.After.Started()-s.conn.Started()-s.last(event.ResetReceived).Offset))
		},
	},
	{
		cause:   WrongAcknowledgement,
		match:   func(s *story) bool { return s.wrongAnswers() > 0 && s.wrongSYNACK() },
		shows:   []event.Kind{event.ResetSent, event.Drop},
		summary: func(s *story) string { return "a SYN-ACK came that acknowledges what was never sent" },
	},
	{
		cause: DroppedByLocalInput,
		match: func(s *story) bool { return len(s.dropped(dropIn)) > 0 },
		shows: []event.Kind{event.Drop},
		summary: func(s *story) string {
			drops := s.dropped(dropIn)
			return fmt.Sprintf("this host dropped %s that came: %s", count(packets(drops), "packet"), describeDrops(drops))
		},
	},
	{
		cause: DroppedByLocalOutput,
		match: func(s *story) bool { return len(s.dropped(dropOut)) > 0 },
		shows: []event.Kind{event.Drop},
		summary: func(s *story) string {
			drops := s.dropped(dropOut)
			return fmt.Sprintf("this host dropped %s on the way out: %s", count(packets(drops), "packet"), describeDrops(drops))
		},
	},
	{
		cause:   NoRoute,
		match:   func(s *story) bool { return s.cutOff() && !s.keptHere() && !s.unreachableAtDeath() },
		summary: func(s *story) string { return "this host is cut off: " + s.cutOffBy() },
	},
	{
		cause: NeighbourUnresolved,
		match: func(s *story) bool { return s.established && len(s.neighbourDrops()) > 0 },
		shows: []event.Kind{event.Drop},
		summary: func(s *story) string {
			asked := s.neighbour()
			if !asked.IsValid() {
				return "nobody on the last link answered ARP or neighbour discovery"
			}
			return fmt.Sprintf("nobody on the link answered for %s%s", asked, s.isGateway(asked))
		},
	},
	{
		cause:   ConntrackFull,
		match:   func(s *story) bool { return len(s.conntrackDrops()) > 0 },
		shows:   []event.Kind{event.Drop},
		summary: (*story).conntrackAct,
	},
	{
		cause: NoAnswer,
		match: func(s *story) bool { return s.familySilent() },
		shows: handshakeKinds,
		summary: func(s *story) string {
			return fmt.Sprintf("%s is silent: none of %s was answered", family(s.remote().Addr()), count(s.sibling().Silent, "connect"))
		},
	},
	{
		cause:   ConnectedAfterRetries,
		match:   func(s *story) bool { return s.established && s.retried() },
		shows:   handshakeKinds,
		summary: func(s *story) string { return "connected after " + s.retries() },
	},
	{
		cause:   RejectedByICMP,
		match:   func(s *story) bool { return s.icmp != nil && !(s.ownUnreachable() && len(s.neighbourDrops()) > 0) },
		shows:   []event.Kind{event.ICMPError},
		summary: func(s *story) string { return "ICMP " + describeICMP(s.icmp) },
	},
	{
		cause: DroppedByLocalOutput,
		match: func(s *story) bool { return s.failed > 0 && len(s.dropped(dropOut)) == 0 },
		shows: []event.Kind{event.SYNRetransmit},
		summary: func(s *story) string {
			return fmt.Sprintf("%s could not be sent on this host", count(s.failed, "repeated SYN"))
		},
	},
}

// queueAct tells what a full queue did earlier.
func (s *story) queueAct(full []*event.Event, queue, did, what string) string {
	return fmt.Sprintf("%s was full and %s %s", queueOf(full[len(full)-1], queue), did, count(packets(full), what))
}

func (s *story) conntrackAct() string {
	return "connection tracking was full and dropped " + count(packets(s.conntrackDrops()), "packet")
}

// contributing is the story before its last act, whose cause is told already.
func (s *story) contributing(told Cause) []Contribution {
	if s.orderly {
		return nil
	}
	var list []Contribution
	for i := range acts {
		if a := &acts[i]; a.cause != told && !explains(told, a.cause) && a.match(s) {
			list = append(list, Contribution{Cause: a.cause, Evidence: s.numbers(a.shows), Summary: a.summary(s)})
		}
	}
	return list
}

// explains says that a cause tells the earlier act with it.
func explains(told, act Cause) bool {
	switch told {
	case UnreachableWhileConnected:
		return act == RejectedByICMP
	case NeighbourUnresolved:
		return act == RejectedByICMP || act == DroppedByLocalOutput
	case ConntrackFull:
		return act == DroppedByLocalOutput || act == DroppedByLocalInput
	case ResetByOverflow:
		return act == AcceptQueueFullAtACK
	case OldConnectionInTheWay:
		return act == ConnectedAfterRetries
	case NoRoute:
		return act == DroppedByLocalOutput
	}
	return false
}
