package tracer_test

import (
	"errors"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"tcptrace/prober/lab"
	"tcptrace/tracer"
	"tcptrace/tracer/event"
)

// troubles are the kinds that these tests bring about.
var troubles = []event.Kind{
	event.Connect, event.SYNRetransmit, event.SYNReceived, event.Established, event.ResetSent, event.ResetReceived, event.Close,
}

func TestOnlyTroubleIsTold(t *testing.T) {
	several, silent := newHost(t), newHost(t)
	both := tracer.Filter{NetNS: []uint32{several.Inode(), silent.Inode()}}
	tr := open(t, tracer.Options{Kinds: troubles, Filter: both, OnlyTroubled: true, NewOnly: true})
	t.Run("and nothing of the healthy", func(t *testing.T) { expectTheTroubledOnly(t, tr, several) })
	t.Run("from its beginning", func(t *testing.T) { expectTroubleFromItsBeginning(t, tr, silent) })
}

func expectTheTroubledOnly(t *testing.T, tr *tracer.Tracer, h *lab.Host) {
	t.Helper()
	for _, test := range []struct {
		name           string
		make           func(*testing.T, *lab.Host)
		client, server []event.Kind // of those that begin with a connect, and with a SYN
	}{
		{"orderly", orderly("127.0.0.1:0"), nil, nil},
		{"refused", refused("127.0.0.1:9"), []event.Kind{event.Connect, event.ResetReceived, event.Close}, nil},
		{
			"reset by the server", aborted("[::1]:0"),
			[]event.Kind{event.Connect, event.Established, event.ResetReceived, event.Close},
			[]event.Kind{event.SYNReceived, event.Established, event.Close, event.ResetSent},
		},
		{"given up for another", wonBySibling, []event.Kind{event.Connect, event.Close}, nil},
	} {
		test.make(t, h)
		told := connections(drain(t, tr, h.Inode()))
		var client, server []event.Kind
		for _, own := range told {
			for i, ev := range own {
				if int(ev.Nth) != i+1 && ev.Kind != event.ResetSent {
					t.Errorf("%s: event %d is number %d:\n%s", test.name, i+1, ev.Nth, describe(own))
				}
			}
			switch first := own[0]; {
			case first.Kind == event.Connect && isWinner(own):
				if len(own) != 2 || own[0].Mono >= own[1].Mono {
					t.Errorf("%s: told of the connect that won:\n%s", test.name, describe(own))
				}
			case first.Kind == event.Connect:
				client = kinds(own)
			case first.Kind == event.SYNReceived:
				server = kinds(own)
			}
		}
		if diff := cmp.Diff([][]event.Kind{test.client, test.server}, [][]event.Kind{client, server}); diff != "" {
			t.Errorf("%s: (-want +got):\n%s", test.name, diff)
		}
	}
}

// isWinner says whether this is the connect of wonBySibling that was not given up.
func isWinner(own []event.Event) bool { return own[0].Remote.Port() == siblingPort }

const siblingPort = 83

// wonBySibling gives up a connect that nobody answers once another is established, as Happy Eyeballs do.
func wonBySibling(t *testing.T, h *lab.Host) {
	drop(t, h)
	winner := netip.AddrPortFrom(netip.IPv6Loopback(), siblingPort)
	listen(t, h, winner.String())
	err := socket(h, dropped, func(fd int) error {
		err := errors.Join(unix.SetNonblock(fd, true), unix.Connect(fd, sockaddr(dropped)))
		if !errors.Is(err, unix.EINPROGRESS) {
			return err
		}
		c, err := dial(h, winner.String())
		if err != nil {
			return err
		}
		t.Cleanup(func() { c.Close() })
		return nil // the socket is closed
	})
	if err != nil {
		t.Error(err)
	}
}

// What is told late has the times of when it happened.
func expectTroubleFromItsBeginning(t *testing.T, tr *tracer.Tracer, h *lab.Host) {
	t.Helper()
	drop(t, h)
	var own []event.Event
	for range 3 { // a softirq may go unseen
		unanswered(t, h)
		own = of(t, drain(t, tr, h.Inode()), event.RoleClient)
		if len(own) > 2 {
			break
		}
	}
	if own[0].Kind != event.Connect || own[1].Kind != event.SYNRetransmit || own[len(own)-1].Errno != event.ETIMEDOUT {
		t.Fatalf("an unanswered connect:\n%s", describe(own))
	}
	// The timer counts from jiffies, which are late where a machine's own tick was: then it comes early by the clock.
	if waited := own[1].Mono - own[0].Mono; waited < 9*time.Second/10 || own[0].Options.SYNRetries != 1 || own[0].RTO != time.Second {
		t.Errorf("the SYN is repeated %v after the connect, whose options are %+v and whose timer is %v", waited, own[0].Options, own[0].RTO)
	}
	expectWhole(t, own, own[0].Owner.PID)
}
