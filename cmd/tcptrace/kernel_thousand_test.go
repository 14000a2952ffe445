package main

import (
	"net/netip"
	"testing"
	"time"

	"tcptrace/prober/lab"
)

// thousand is a host with 1,000 listeners, and a reader of them by iterators and one as ss does.
func thousand(tb testing.TB) (byIterators, bySockDiag *listenersReader) {
	tb.Helper()
	network := new(lab.Network)
	tb.Cleanup(func() { network.Close() })
	h, err := network.AddHost("host")
	for range thousandListeners {
		if err == nil {
			err = h.ListenOnly(netip.MustParseAddrPort("127.0.0.1:0"))
		}
	}
	if err != nil {
		tb.Fatal(err)
	}
	c := &listenersCommand{trace: traceFlags{RequireTrace: true}}
	c.filter.NetNS = acceptNetNS(h)
	byIterators, err = c.openReader(&app{}, &meta{})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(byIterators.close)
	without := *byIterators
	without.lister = nil
	return byIterators, &without
}

const thousandListeners = 1000

func readThousand(tb testing.TB, reader *listenersReader) time.Duration {
	tb.Helper()
	began := time.Now()
	all, err := reader.read()
	took := time.Since(began)
	if err != nil || len(all) != thousandListeners {
		tb.Fatalf("%d listeners: %v", len(all), err)
	}
	return took
}

// BenchmarkThousandListeners reads them with their owners. Getting the iterators ready is apart.
func BenchmarkThousandListeners(b *testing.B) {
	byIterators, bySockDiag := thousand(b)
	for name, reader := range map[string]*listenersReader{"iterators": byIterators, "sock_diag": bySockDiag} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				readThousand(b, reader)
			}
		})
	}
}

// Reading what the iterators tell, which is more, is about as fast as what ss does: asking sock_diag, and looking through /proc
// for the owners.
func TestReadingThousandListenersIsAsFastAsSSDoes(t *testing.T) {
	acceptKernel(t)
	const rounds, most = 5, 5 // half as long is usual
	byIterators, bySockDiag := thousand(t)
	ours, theirs := time.Hour, time.Hour
	for range rounds { // the fastest of each was disturbed the least
		ours, theirs = min(ours, readThousand(t, byIterators)), min(theirs, readThousand(t, bySockDiag))
	}
	t.Logf("by iterators %s, by sock_diag %s", ours, theirs)
	if ours > most*theirs {
		t.Errorf("by iterators it takes %s; want at most %d times the %s by sock_diag", ours, most, theirs)
	}
}
