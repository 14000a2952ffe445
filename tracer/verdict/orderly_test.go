package verdict

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"tcptrace/tracer/event"
	"tcptrace/tracer/timeline"
)

// lives are the events of the two ends of a connection that began and ended as most do.
var lives = map[event.Role][]event.Event{
	event.RoleClient: {
		{Kind: event.Connect, State: event.StateSYNSent, OldState: event.StateClose},
		{Kind: event.Established, State: event.StateEstablished, OldState: event.StateSYNSent},
		{Kind: event.StateChange, State: event.StateFinWait1, OldState: event.StateEstablished},
		{Kind: event.StateChange, State: event.StateFinWait2, OldState: event.StateFinWait1},
		{Kind: event.Close, State: event.StateClose, OldState: event.StateFinWait2},
	},
	event.RoleServer: {
		{Kind: event.SYNReceived, State: event.StateNewSYNRecv, OldState: event.StateListen},
		{Kind: event.Established, State: event.StateEstablished, OldState: event.StateSYNRecv},
		{Kind: event.Accept, State: event.StateEstablished},
		{Kind: event.StateChange, State: event.StateCloseWait, OldState: event.StateEstablished},
		{Kind: event.StateChange, State: event.StateLastACK, OldState: event.StateCloseWait},
		{Kind: event.Close, State: event.StateClose, OldState: event.StateLastACK},
	},
}

// drawLives draws the events of a connection, or of its two ends: some are missing, some are others, and what they carry
// may be anything.
func drawLives(t *rapid.T) []event.Event {
	seldom := rapid.Custom(func(t *rapid.T) bool { return rapid.IntRange(0, 19).Draw(t, "of 20") == 0 })
	states := rapid.Uint8Range(0, uint8(event.StateBoundInactive))
	var all []event.Event
	for i, role := range rapid.SampledFrom([][]event.Role{
		{event.RoleClient}, {event.RoleServer}, {event.RoleClient, event.RoleServer},
	}).Draw(t, "roles") {
		nth := uint32(0)
		for _, ev := range lives[role] {
			nth++
			if seldom.Draw(t, "missing") {
				continue
			}
			ev.Conn, ev.Role, ev.Nth, ev.NetNS = event.ConnID(i+1), role, nth, 1
			ev.ISN, ev.PeerISN = 7, 9
			if role == event.RoleServer {
				ev.ISN, ev.PeerISN = 9, 7
			}
			ev.Mono = time.Duration(nth)*time.Second + time.Duration(rapid.IntRange(0, 5000).Draw(t, "ms"))*time.Millisecond
			if seldom.Draw(t, "other states") {
				ev.State, ev.OldState = event.State(states.Draw(t, "state")), event.State(states.Draw(t, "old state"))
			}
			if seldom.Draw(t, "older than the trace") {
				ev.PreExisting = true
			}
			switch ev.Kind {
			case event.Established:
				ev.ByCookie = seldom.Draw(t, "by cookie")
			case event.Close:
				drawClose(t, seldom, &ev)
			}
			all = append(all, ev)
		}
	}
	return all
}

func drawClose(t *rapid.T, seldom *rapid.Generator[bool], ev *event.Event) {
	amount := rapid.IntRange(0, 3000)
	ev.Total = ev.Nth
	ev.Idle = time.Duration(rapid.IntRange(0, 60_000).Draw(t, "idle ms")) * time.Millisecond
	if seldom.Draw(t, "died") {
		ev.Errno = rapid.SampledFrom([]event.Errno{event.ETIMEDOUT, event.ECONNRESET, event.EPIPE, event.EHOSTUNREACH}).Draw(t, "errno")
	}
	if seldom.Draw(t, "timers") {
		ev.Retransmits, ev.ProbesOut = rapid.IntRange(0, 2).Draw(t, "retransmits"), rapid.IntRange(0, 2).Draw(t, "probes")
	}
	if rapid.Bool().Draw(t, "traffic") {
		ev.Traffic = &event.Traffic{
			BytesSent: int64(amount.Draw(t, "sent")), BytesAcked: int64(amount.Draw(t, "acked")), BytesReceived: int64(amount.Draw(t, "received")),
			Retransmits: rapid.IntRange(0, 2).Draw(t, "segments again"),
			Unacked:     amount.Draw(t, "unacked"), Unsent: amount.Draw(t, "unsent"), Unread: amount.Draw(t, "unread"),
		}
	}
}

func TestOrderlyStoriesAreExplainedByRowsAboutOrderlyEndsAlone(t *testing.T) {
	orderly := 0
	rapid.Check(t, func(t *rapid.T) {
		tracker := timeline.New(timeline.Config{HZ: 250})
		var sequencer timeline.Sequencer
		for _, ev := range drawLives(t) {
			sequencer.Push(&ev)
		}
		for ev := range sequencer.Flush() {
			tracker.Add(ev)
		}
		for _, c := range tracker.Settled(time.Hour) {
			s := tell(c, Facts{Traced: true})
			if !s.orderly {
				continue
			}
			orderly++
			for i := range rules[:len(rules)-len(endRules)] {
				if r := &rules[i]; r.match(s) {
					t.Errorf("row %d, %s, explains an orderly story", i, r.cause)
				}
			}
			for i := range acts {
				if a := &acts[i]; a.match(s) {
					t.Errorf("%s went before an orderly story", a.cause)
				}
			}
		}
	})
	if orderly == 0 {
		t.Error("no story was orderly")
	}
}
