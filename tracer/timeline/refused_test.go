package timeline

import (
	"testing"
	"time"

	"tcptrace/tracer/event"
)

// refusal is a SYN of the client with that ISN that a full queue dropped.
func refusal(id event.ConnID, isn uint32, at time.Duration) *event.Event {
	return &event.Event{
		Kind: event.AcceptQueueFull, Stage: "syn", Conn: id, Mono: at, Local: there, Remote: here, Role: event.RoleListener, PeerISN: isn,
	}
}

func TestWhatAListenerRefusedBelongsToItsClient(t *testing.T) {
	for _, order := range []string{"connect first", "refusal first"} {
		tracker := New(Config{})
		first := connect(1, 0)
		first.ISN = 77
		events := []*event.Event{first, refusal(2, 77, ms)}
		if order == "refusal first" {
			events[0], events[1] = events[1], events[0]
		}
		for _, ev := range events {
			tracker.Add(ev)
		}
		client, refused := tracker.Connection(1), tracker.Connection(2)
		if client.Refused != refused || refused.Peer != client || client.Peer != nil || !refused.OnlyRefused() {
			t.Errorf("%s: refused %p of the client is %p, its peer %p is %p", order, refused, client.Refused, client, refused.Peer)
		}
	}
}

func TestAConnectionKnowsWhatItsSYNMetBefore(t *testing.T) {
	tracker := New(Config{})
	tracker.Add(refusal(2, 77, 0))
	taken := tracker.Add(&event.Event{Kind: event.SYNReceived, Conn: 3, Mono: time.Second, Local: there, Remote: here, Role: event.RoleServer, PeerISN: 77})
	if refused := tracker.Connection(2); taken.Refused != refused || refused.Peer != taken || !refused.FarEnd() || taken.FarEnd() {
		t.Errorf("refused %+v", taken.Refused)
	}
	other := tracker.Add(&event.Event{Kind: event.SYNReceived, Conn: 4, Mono: time.Second, Role: event.RoleServer, PeerISN: 78})
	if other.Refused != nil {
		t.Errorf("the SYN of another client was refused: %+v", other.Refused)
	}
}

func TestARefusalThatIsTakenIsAServersConnection(t *testing.T) {
	tracker := New(Config{})
	first := connect(1, 0)
	first.ISN = 77
	client := tracker.Add(first)
	tracker.Add(refusal(2, 77, ms))
	taken := tracker.Add(&event.Event{Kind: event.SYNReceived, Conn: 2, Mono: time.Second, Role: event.RoleServer, PeerISN: 77})
	if taken.Role != event.RoleServer || taken.OnlyRefused() || client.Peer != taken || client.Refused != nil {
		t.Errorf("role %s, only refused %v, peer %p of the client is %p, refused %p", taken.Role, taken.OnlyRefused(), taken, client.Peer, client.Refused)
	}
}

func TestARefusalIsToldOnceNoSYNCanFollow(t *testing.T) {
	tracker := New(Config{})
	for _, at := range []time.Duration{0, 1020 * ms, 3050 * ms} {
		if early := tracker.Settled(at); len(early) != 0 {
			t.Errorf("told at %v, when a SYN was still to come", at)
		}
		tracker.Add(refusal(2, 77, at))
	}
	if early := tracker.Settled(7100 * ms); len(early) != 0 {
		t.Error("told before the next SYN was due")
	}
	if told := tracker.Settled(9 * time.Second); len(told) != 1 || !told[0].Expired {
		t.Errorf("told %+v", told)
	}
}

func TestAConnectionFollowsTheOneThatWasResetForIt(t *testing.T) {
	at := func(kind event.Kind, id event.ConnID, mono time.Duration) *event.Event {
		return &event.Event{Kind: kind, Conn: id, Mono: mono, Local: there, Remote: here, Role: event.RoleServer}
	}
	tests := []struct {
		name   string
		events []*event.Event
		want   bool
	}{
		{"reset just before", []*event.Event{at(event.Established, 1, 0), at(event.ResetReceived, 1, time.Second), at(event.SYNReceived, 2, 1008*ms)}, true},
		{"reset long before", []*event.Event{at(event.Established, 1, 0), at(event.ResetReceived, 1, time.Second), at(event.SYNReceived, 2, 3*time.Second)}, false},
		{"closed in order", []*event.Event{at(event.Established, 1, 0), at(event.Close, 1, time.Second), at(event.SYNReceived, 2, 1008*ms)}, false},
	}
	for _, tt := range tests {
		tracker := New(Config{})
		for _, ev := range tt.events {
			tracker.Add(ev)
		}
		before, after := tracker.Connection(1), tracker.Connection(2)
		if got := after.Before == before && before.After == after; got != tt.want {
			t.Errorf("%s: joined: %v", tt.name, got)
		}
	}
}

func TestForgettingLeavesNothingBehind(t *testing.T) {
	tracker := New(Config{})
	first := connect(1, 0)
	first.ISN = 77
	tracker.Add(first)
	tracker.Add(refusal(2, 77, ms))
	tracker.Add(&event.Event{Kind: event.SYNReceived, Conn: 3, Mono: time.Second, Local: there, Remote: here, Role: event.RoleServer, PeerISN: 77})
	tracker.Add(&event.Event{Kind: event.Established, Conn: 1, Mono: time.Second, State: event.StateEstablished})
	for id := range event.ConnID(4) {
		tracker.Forget(id)
	}
	ends := tracker.ends
	if n := len(ends.clients) + len(ends.servers) + len(ends.refused) + len(tracker.ports.latest) + len(tracker.races.races); n != 0 {
		t.Errorf("%d entries are left: %+v %+v %+v", n, ends, tracker.ports, tracker.races)
	}
}
