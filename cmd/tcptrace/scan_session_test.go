package main

import (
	"io"
	"net"
	"net/netip"
	"testing"
	"time"

	"tcptrace/prober/scan"
)

// What a session knows of the round before is forgotten when one begins: what came of a connect by then would be, too.
func TestScanConnectsOnlyOnceItsRoundHasBegun(t *testing.T) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	connected := make(chan struct{})
	go func() {
		if conn, err := l.Accept(); err == nil {
			conn.Close()
			close(connected)
		}
	}()
	target := scan.Target{Addr: netip.MustParseAddrPort(l.Addr().String())}
	s := &scanSession{
		command: &scanCommand{options: scan.Options{Timeout: 10 * time.Second}}, app: &app{stderr: io.Discard},
		targets: []scan.Target{target}, progress: new(progressLine),
	}
	s.feed = newFeed(nil, s)
	ended := make(chan error, 1)
	go func() {
		ended <- s.runRound(t.Context(), 1, 0)
		s.feed.wake()
	}()

	// The feed does not run, as on a machine with too much to do.
	select {
	case <-connected:
		t.Error("it connected before its round had begun")
	case <-time.After(100 * time.Millisecond):
	}
	if err := s.feed.run(t.Context(), func() bool { return len(ended) > 0 }); err != nil {
		t.Error(err)
	}
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	if got := s.round.results[0].Outcome; got != scan.Connected {
		t.Errorf("the target is %s; want it connected", got)
	}
}
