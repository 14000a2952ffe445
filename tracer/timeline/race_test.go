package timeline

import (
	"net/netip"
	"testing"
	"time"

	"tcptrace/tracer/event"
)

// racer is one connect of a race.
type racer struct {
	remote string
	pid    int
	began  time.Duration
	won    time.Duration // 0: it did not
	closed time.Duration
}

// raceOf gives the sibling of the first racer, once that is settled.
func raceOf(t *testing.T, racers ...racer) *Sibling {
	t.Helper()
	var events []*event.Event
	for i, r := range racers {
		first := connect(event.ConnID(i+1), r.began)
		first.Remote, first.Owner.PID = netip.MustParseAddrPort(r.remote), r.pid
		events = append(events, first)
		if r.won != 0 {
			events = append(events, &event.Event{Kind: event.Established, Conn: first.Conn, Mono: r.won, State: event.StateEstablished})
		}
		if r.closed != 0 {
			events = append(events, &event.Event{Kind: event.Close, Conn: first.Conn, Mono: r.closed, OldState: event.StateSYNSent})
		}
	}
	var order Sequencer
	for _, ev := range events {
		order.Push(ev)
	}
	tracker := New(Config{})
	for ev := range order.Flush() {
		tracker.Add(ev)
	}
	for _, c := range tracker.Settled(time.Hour) {
		if c.ID == 1 {
			return c.Sibling
		}
	}
	t.Fatal("the first connect has not settled")
	return nil
}

func TestTheSiblingThatWonIsTold(t *testing.T) {
	loser := racer{"[2001:db8::1]:443", 812, 0, 0, 223 * ms}
	tests := []struct {
		name   string
		others []racer
		want   bool
	}{
		{"the other address answers", []racer{{"192.0.2.10:443", 812, 200 * ms, 222 * ms, 0}}, true},
		{"the next address is tried once the last is given up", []racer{{"192.0.2.10:443", 812, 224 * ms, 240 * ms, 0}}, true},
		{"the winner is closed already", []racer{{"192.0.2.10:443", 812, 200 * ms, 222 * ms, 222500 * time.Microsecond}}, true},
		{"nobody else", nil, false},
		{"it does not answer either", []racer{{"192.0.2.10:443", 812, 200 * ms, 0, 0}}, false},
		{"another process", []racer{{"192.0.2.10:443", 813, 200 * ms, 222 * ms, 0}}, false},
		{"another port", []racer{{"192.0.2.10:80", 812, 200 * ms, 222 * ms, 0}}, false},
		{"the same address", []racer{{"[2001:db8::1]:443", 812, 200 * ms, 222 * ms, 0}}, false},
		{"it won long before", []racer{{"192.0.2.10:443", 812, 10 * ms, 30 * ms, 0}}, false},
		{"it began long after", []racer{{"192.0.2.10:443", 812, time.Second, 1020 * ms, 0}}, false},
		{"two won", []racer{{"192.0.2.10:443", 812, 200 * ms, 222 * ms, 0}, {"192.0.2.11:443", 812, 200 * ms, 222 * ms, 0}}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := raceOf(t, append([]racer{loser}, tt.others...)...)
			if (got != nil) != tt.want {
				t.Errorf("sibling %+v", got)
			}
			if got != nil && (got.Remote.String() != tt.others[0].remote || got.Won != tt.others[0].won || got.Silent != 1) {
				t.Errorf("sibling %+v", got)
			}
		})
	}
}

func TestAnAnswerOnceIsAnAnswerOfTheFamily(t *testing.T) {
	got := raceOf(t,
		racer{"[2001:db8::1]:443", 812, 0, 0, 223 * ms},
		racer{"192.0.2.10:443", 812, 200 * ms, 222 * ms, 0},
		racer{"[2001:db8::7]:22", 900, 100 * ms, 120 * ms, 0})
	if got == nil || got.Silent != 0 {
		t.Errorf("sibling %+v, want one, and IPv6 not silent", got)
	}
}
