package main

import (
	"io"
	"os"
	"testing"
	"time"

	"tcptrace/tracer/event"
)

// healthyTraffic is one connection after the other, each with both ends on this host: a handshake, a byte each way, and
// an orderly end. It is what a busy host has most of.
type healthyTraffic struct {
	first []event.Event // the events of the first connection, as the kernel side tells them
	made  int           // connections so far
}

// everyConnection is how far apart they begin: 25,000 a second.
const everyConnection = 40 * time.Microsecond

func newHealthyTraffic(tb testing.TB) *healthyTraffic {
	tb.Helper()
	file, err := os.Open("testdata/healthy.jsonl")
	if err != nil {
		tb.Fatal(err)
	}
	defer file.Close()
	t := new(healthyTraffic)
	for lines := newRecordingReader(file); ; {
		line, err := lines.next()
		if err == io.EOF {
			return t
		}
		if err != nil {
			tb.Fatal(err)
		}
		ev := *line.(*event.Event)
		ev.N, ev.Offset, ev.AttemptsExpected, ev.NextDue, ev.GivesUp, ev.ClosedBy = 0, 0, 0, 0, 0, ""
		t.first = append(t.first, ev)
	}
}

// next hands on the events of another connection, and gives the time of the last.
func (t *healthyTraffic) next(to func(*event.Event)) time.Duration {
	var ev event.Event
	later := time.Duration(t.made) * everyConnection
	for i := range t.first {
		ev = t.first[i]
		ev.Mono += later
		ev.Time = ev.Time.Add(later)
		ev.Conn += event.ConnID(t.made) << 20
		ev.ISN += uint32(t.made)
		if ev.PeerISN != 0 {
			ev.PeerISN += uint32(t.made)
		}
		to(&ev)
	}
	t.made++
	return ev.Mono
}

// BenchmarkSession is all that is done with the events of a connection, once they are decoded. An operation is one
// connection.
func BenchmarkSession(b *testing.B) {
	for _, output := range []struct {
		name string
		sink func(*output) sink
	}{
		{"nothing", func(*output) sink { return silent{} }},
		{"text", func(out *output) sink { return newTextRenderer(out, textConfig{Location: time.UTC}) }},
		{"json", func(out *output) sink { return newJSONRenderer(out, false) }},
	} {
		b.Run(output.name, func(b *testing.B) {
			traffic := newHealthyTraffic(b)
			s := newSession(tracedMeta(aboutConnections), nil, output.sink(newOutput(io.Discard, func() {})))
			b.ReportAllocs()
			for b.Loop() {
				now := traffic.next(s.handleEvent)
				if traffic.made%16 == 0 {
					s.advance(now)
				}
			}
			events := float64(len(traffic.first) * traffic.made)
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/events, "ns/event")
		})
	}
}
