package timeline

import (
	"testing"
	"time"

	"tcptrace/tracer/event"
)

// BenchmarkSequencer is what it takes to bring an event into its place. Each second one overtakes the one before it, as
// those of two CPUs do.
func BenchmarkSequencer(b *testing.B) {
	var (
		s      Sequencer
		events [4096]event.Event
	)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		ev := &events[i%len(events)]
		ev.Mono = time.Duration(i^1) * 3 * time.Microsecond
		s.Push(ev)
		if i%256 == 0 {
			for range s.Ready(ev.Mono) {
			}
		}
	}
}

// BenchmarkTracker is what it takes to make connections of events, each with both ends on this host. An operation is one
// event.
func BenchmarkTracker(b *testing.B) {
	life := []event.Event{
		{Conn: 1, Kind: event.Connect, State: event.StateSYNSent, OldState: event.StateClose},
		{Conn: 2, Kind: event.SYNReceived, State: event.StateNewSYNRecv, OldState: event.StateListen},
		{Conn: 1, Kind: event.Established, State: event.StateEstablished, OldState: event.StateSYNSent},
		{Conn: 2, Kind: event.Established, State: event.StateEstablished, OldState: event.StateSYNRecv},
		{Conn: 2, Kind: event.Accept, State: event.StateEstablished},
		{Conn: 1, Kind: event.StateChange, State: event.StateFinWait1, OldState: event.StateEstablished},
		{Conn: 2, Kind: event.StateChange, State: event.StateCloseWait, OldState: event.StateEstablished},
		{Conn: 2, Kind: event.StateChange, State: event.StateLastACK, OldState: event.StateCloseWait},
		{Conn: 1, Kind: event.StateChange, State: event.StateFinWait2, OldState: event.StateFinWait1},
		{Conn: 1, Kind: event.StateChange, State: event.StateTimeWait, OldState: event.StateFinWait2},
		{Conn: 1, Kind: event.Close, State: event.StateClose, OldState: event.StateFinWait2, Total: 6},
		{Conn: 2, Kind: event.Close, State: event.StateClose, OldState: event.StateLastACK, Total: 6},
	}
	options, sysctls := new(event.Options), &event.Sysctls{SYNRetries: 6, Retries2: 15, KeepaliveIdle: 2 * time.Hour}
	tracker := New(Config{HZ: 250})
	nth := make(map[event.ConnID]uint32)
	for i := range life {
		nth[life[i].Conn]++
		life[i].Nth = nth[life[i].Conn]
		if life[i].Kind == event.Connect || life[i].Kind == event.Established {
			life[i].Options, life[i].Sysctls = options, sysctls
		}
	}
	b.ReportAllocs()
	var ev event.Event
	for i := 0; b.Loop(); i++ {
		made := i / len(life)
		ev = life[i%len(life)]
		ev.Mono = time.Duration(i+1) * 3 * time.Microsecond
		ev.ISN, ev.PeerISN, ev.Role = uint32(2*made+1), 0, event.RoleClient
		if ev.Conn == 2 {
			ev.ISN, ev.PeerISN, ev.Role = ev.ISN+1, ev.ISN, event.RoleServer
		}
		ev.Conn += event.ConnID(2 * made)
		tracker.Add(&ev)
		if i%256 == 0 {
			for _, c := range tracker.Settled(ev.Mono) {
				tracker.Forget(c.ID)
			}
		}
	}
}
