package main

import (
	"io"
	"time"

	"tcptrace/tracer/event"
	"tcptrace/tracer/lint"
	"tcptrace/tracer/timeline"
	"tcptrace/tracer/verdict"
)

// The stream is what a session says, in the order in which it learnt it: one meta, then events and what else was
// seen, verdicts among them, one stop, one summary. A recording is the stream as JSON, and holds all that the
// verdicts rest on.

// sink is somewhere that the stream goes: a terminal, a pipe, a recording.
type sink interface {
	Meta(meta)
	// Outlook is what is expected of the connections that are held idle, said before anything happens.
	Outlook(outlook)
	Event(*timeline.Connection, *event.Event)
	Probe(*event.Probe)
	Resolution(*event.Resolution)
	Lost(lost)
	// Answer is what the host said when it was asked about a connection whose verdict follows.
	Answer(answer)
	Verdict(verdict.Verdict, told)
	// Settled says that, at that time on CLOCK_MONOTONIC, the stories of connections ended without a verdict.
	Settled(time.Duration)
	Stop(stop)
	Summary(*summary)
	// Flush shows what has been said so far.
	Flush()
}

// flusher is a buffered writer that keeps its errors for the end.
type flusher interface {
	io.Writer
	Flush()
}

// subject is what verdicts are about.
type subject string

const (
	aboutConnections subject = "connections" // every connection that is seen
	aboutProbes      subject = "probes"      // those that tcptrace made itself
	aboutSockets     subject = "sockets"     // nothing that happens, but what there is
	aboutPaths       subject = "paths"       // routes to a destination
)

// replayable are the subjects of recordings that can be replayed.
var replayable = []subject{aboutConnections, aboutProbes, aboutPaths, aboutTargets, aboutSockets, aboutCounters, aboutListeners}

// meta is what is known before anything happens.
type meta struct {
	Version  string
	Kernel   string
	Hostname string
	Command  string // the words that started it
	Started  time.Time
	HZ       int // 0: unknown
	Subject  subject

	// Hooks is how each kind is seen, and Costs what it means that the others are not.
	Hooks map[event.Kind]string
	Costs map[event.Kind]string
	// Untraced is the sentence that says why there are no kernel events at all; empty when there are.
	Untraced string

	// Timeout is --timeout, and Single that no more than one connection is expected: how to print, not what.
	Timeout time.Duration
	Single  bool
	// Interval is --interval of a list that is told again and again, and All is --all of it, or --all-netns.
	Interval time.Duration
	All      bool
	// Follow says that it is about what happens to listeners, and no list of them.
	Follow bool
	// Held says that of a name's addresses the first that connects is kept, and held idle.
	Held bool
}

// lost counts records that the kernel side could not deliver.
type lost struct {
	Kind  event.Kind // unknown: of any kind
	CPU   int        // -1: unknown
	Count uint64
}

// stop is the end of the trace. What was not told until then is told after it.
type stop struct {
	Mono        time.Duration // CLOCK_MONOTONIC
	Interrupted bool          // by the user
}

// told is about what a verdict is, and when it was given.
type told struct {
	at         time.Duration        // CLOCK_MONOTONIC
	connection *timeline.Connection // nil: the kernel's view is not known, or it is about a name
	probe      *event.Probe         // nil: not one of ours, or it is about a name
	ofName     bool                 // about a name with several addresses, or none
	final      bool                 // no verdict about a name follows that decides in its stead
	warnings   []lint.Warning       // about settings that did harm, or of a connection that was in trouble
}
