package verdict

import (
	"testing"
	"time"

	"tcptrace/tracer/event"
	"tcptrace/tracer/timeline"
)

// BenchmarkOf is what a verdict takes about a connection that began and ended in order.
func BenchmarkOf(b *testing.B) {
	tracker := timeline.New(timeline.Config{HZ: 250})
	var c *timeline.Connection
	for i, ev := range []event.Event{
		{Kind: event.Connect, State: event.StateSYNSent, OldState: event.StateClose},
		{Kind: event.Established, State: event.StateEstablished, OldState: event.StateSYNSent},
		{Kind: event.StateChange, State: event.StateFinWait1, OldState: event.StateEstablished},
		{Kind: event.StateChange, State: event.StateFinWait2, OldState: event.StateFinWait1},
		{Kind: event.StateChange, State: event.StateTimeWait, OldState: event.StateFinWait2},
		{Kind: event.Close, State: event.StateClose, OldState: event.StateFinWait2, Total: 6, Traffic: &event.Traffic{BytesSent: 1}},
	} {
		ev.Conn, ev.Nth, ev.Mono, ev.Role = 1, uint32(i+1), time.Duration(i+1)*time.Millisecond, event.RoleClient
		c = tracker.Add(&ev)
	}
	facts := Facts{Traced: true, Hooks: make(map[event.Kind]string)}
	for _, kind := range event.Kinds() {
		facts.Hooks[kind] = "tracepoint"
	}
	b.ReportAllocs()
	for b.Loop() {
		Of(c, facts)
	}
}
