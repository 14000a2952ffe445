package main

import (
	"context"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tcptrace/tracer/event"
	"tcptrace/tracer/timeline"
)

// lingering is a session with a connection that was last heard of in a state, a second after its beginning.
func lingering(state event.State) *story {
	s := newStory(tracedMeta(aboutConnections))
	for _, ev := range []*event.Event{
		connectAt(),
		at(time.Millisecond, event.Established, func(ev *event.Event) {
			ev.State, ev.OldState, ev.Nth, ev.Local, ev.Remote = event.StateEstablished, event.StateSYNSent, 2, client4, server4
		}),
		at(time.Second, event.StateChange, func(ev *event.Event) { ev.State, ev.Nth = state, 3 }),
	} {
		s.handleEvent(ev)
	}
	s.advance(uptime + 2*time.Second)
	return s
}

func TestAnEndThatNobodySawIsFoundByAsking(t *testing.T) {
	tests := []struct {
		name  string
		state event.State
		gone  bool
		ends  time.Duration // at which look it is closed; 0: never
	}{
		{"on its way to the end", event.StateLastACK, true, 11 * time.Second},
		{"open", event.StateEstablished, true, 66 * time.Second},
		{"alive on its way to the end", event.StateFinWait2, false, 0},
		{"alive", event.StateEstablished, false, 0},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s, asked := lingering(test.state), 0
			u := unseenEnds{find: func(_ uint32, all []*timeline.Connection) []*timeline.Connection {
				asked++
				if test.gone {
					return all
				}
				return nil
			}}
			ended := time.Duration(0)
			for now := time.Second; now <= 5*time.Minute && ended == 0; now += time.Second {
				u.look(s.session, uptime+now)
				s.advance(uptime + now + 900*time.Millisecond)
				if s.verdicts() > 0 {
					ended = now
				}
			}
			if ended != test.ends {
				t.Errorf("it was told to have ended at %v, want %v", ended, test.ends)
			}
			if test.gone && (asked != 2 || !strings.Contains(s.json.String(), `"unseen":true`) || !strings.Contains(s.text.String(), "its end was not seen")) {
				t.Errorf("asked %d times:\n%s", asked, s.text)
			}
			if longest := int(5 * time.Minute / quietClosing); asked > longest {
				t.Errorf("asked %d times in 5 minutes", asked)
			}
			s.finish(uptime+6*time.Minute, false)
			text, _ := s.replayed(t)
			if diff := cmp.Diff(s.text.String(), text); diff != "" {
				t.Errorf("the replay reads differently (-live +replay):\n%s", diff)
			}
		})
	}
}

func TestAnOracleKnowsWhichSocketsAreGone(t *testing.T) {
	listener, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	conn, err := net.Dial("tcp4", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	alive := &timeline.Connection{ID: 1, Local: netip.MustParseAddrPort(conn.LocalAddr().String()), Remote: netip.MustParseAddrPort(conn.RemoteAddr().String())}
	gone := &timeline.Connection{ID: 2, Local: alive.Local, Remote: netip.MustParseAddrPort("127.0.0.1:1")}
	got := newOracle(nil).without(0, []*timeline.Connection{alive, gone})
	if len(got) != 1 || got[0] != gone {
		t.Errorf("%+v", got)
	}
	if got := newOracle(nil).without(1, []*timeline.Connection{gone}); got != nil {
		t.Errorf("of a namespace that nobody can enter: %+v", got)
	}
}
