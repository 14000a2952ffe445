package main

import (
	"encoding/json"

	"tcptrace/tracer/listeners"
)

// listenersJSON writes listeners as one JSON object a line.
type listenersJSON struct{ *jsonRenderer }

func (j *listenersJSON) meta(m meta) { j.Meta(m) }

func (j *listenersJSON) listeners(all []*listeners.Listener) {
	for _, l := range all {
		j.write(l.AppendLine(j.line[:0], typeListener))
	}
}

// listenersSummaryLine is the last line of a list of listeners.
type listenersSummaryLine struct {
	Type      string `json:"type"`
	Listeners int    `json:"listeners"`
	Shown     int    `json:"shown"`
	Warned    int    `json:"with_warnings"`
	Full      int    `json:"full"`
	Waiting   int    `json:"waiting"`
	Drops     int    `json:"drops"`
}

func (j *listenersJSON) summary(t listenersTotals) {
	j.encode(listenersSummaryLine{typeSummary, t.All, t.Shown, t.Warned, t.Full, t.Waiting, t.Drops})
	j.Flush()
}

func (l *listenersSummaryLine) totals() listenersTotals {
	return listenersTotals{All: l.Listeners, Shown: l.Shown, Full: l.Full, Waiting: l.Waiting, Drops: l.Drops, Warned: l.Warned}
}

// isListenersSummary tells the summary of a list of listeners from that of a trace.
func isListenersSummary(text []byte) bool {
	var line struct{ Listeners json.RawMessage }
	return json.Unmarshal(text, &line) == nil && line.Listeners != nil
}
