package main

import (
	"encoding/json"
	"time"

	"tcptrace/tracer/event"
	"tcptrace/tracer/timeline"
	"tcptrace/tracer/verdict"
)

// silent is a sink that says nothing, for others to embed.
type silent struct{}

func (silent) Meta(meta)                                {}
func (silent) Outlook(outlook)                          {}
func (silent) Event(*timeline.Connection, *event.Event) {}
func (silent) Probe(*event.Probe)                       {}
func (silent) Resolution(*event.Resolution)             {}
func (silent) Lost(lost)                                {}
func (silent) Answer(answer)                            {}
func (silent) Verdict(verdict.Verdict, told)            {}
func (silent) Settled(time.Duration)                    {}
func (silent) Stop(stop)                                {}
func (silent) Summary(*summary)                         {}
func (silent) Flush()                                   {}

// printLine writes one JSON object that is no part of a session's stream.
func (a *app) printLine(line any) {
	text, err := json.Marshal(line)
	if err != nil {
		panic(err) // such structs hold nothing that JSON cannot
	}
	a.stdout.Write(append(escapeJSON(text), '\n'))
}
