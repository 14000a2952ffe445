package main

import (
	"bytes"
	"encoding/json"
	"io"
	"slices"
	"testing"
	"time"

	"tcptrace/tracer/event"
)

// What tcptrace does with a connection, from its events to lines of JSON, takes a quarter of the time in which the standard
// library reads as many lines back. The two are measured beside each other, so that the comparison holds on any machine;
// what is tolerated here is ten times as much.
func TestTellingAConnectionCostsLittle(t *testing.T) {
	const (
		connections = 200
		rounds      = 5
		usual       = 0.25
	)
	var telling, reading []time.Duration
	lines := linesOf(t, newHealthyTraffic(t))
	for range rounds {
		telling = append(telling, timeToTell(t, connections))
		reading = append(reading, timeToRead(t, lines, connections))
	}
	tell, read := slices.Min(telling), slices.Min(reading)
	if tell > time.Duration(10*usual*float64(read)) {
		t.Errorf("%d connections take %v to tell, and %v to read back", connections, tell, read)
	}
	t.Logf("%v to tell a connection, %v to read its lines back", tell/connections, read/connections)
}

func timeToTell(t *testing.T, connections int) time.Duration {
	t.Helper()
	traffic := newHealthyTraffic(t)
	s := newSession(tracedMeta(aboutConnections), nil, newJSONRenderer(newOutput(io.Discard, func() {}), false))
	began := time.Now()
	for range connections {
		s.advance(traffic.next(s.handleEvent))
	}
	s.finish(traffic.next(func(*event.Event) {}), false)
	return time.Since(began)
}

func timeToRead(t *testing.T, lines [][]byte, times int) time.Duration {
	t.Helper()
	began := time.Now()
	for range times {
		for _, line := range lines {
			var object map[string]any
			if err := json.Unmarshal(line, &object); err != nil {
				t.Fatal(err)
			}
		}
	}
	return time.Since(began)
}

// linesOf is what is said of one connection.
func linesOf(t *testing.T, traffic *healthyTraffic) [][]byte {
	t.Helper()
	out := new(sinkBuffer)
	s := newSession(tracedMeta(aboutConnections), nil, newJSONRenderer(out, false))
	now := traffic.next(s.handleEvent)
	s.advance(now + time.Second)
	lines := bytes.Split(bytes.TrimSpace(out.Bytes()), []byte{'\n'})
	if len(lines) < len(traffic.first) {
		t.Fatalf("%d lines about %d events", len(lines), len(traffic.first))
	}
	return lines[1:] // without the meta
}
