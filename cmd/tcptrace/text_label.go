package main

import (
	"net/netip"
	"strconv"
	"time"
	"unicode/utf8"

	"tcptrace/tracer/event"
	"tcptrace/tracer/timeline"
)

// The label columns, which stand before what happened where there are several connections.
const (
	ownerLabel = iota
	tupleLabel
	labels
)

// labelWriter writes what the lines of a trace begin with: when, whose, and between which ends. What it wrote lately it
// copies.
type labelWriter struct {
	widths   [labels]int // of the label columns so far
	location *time.Location

	second int64 // since 1970
	clock  []byte
	known  [labelPlaces]knownLabel
}

// labelPlaces is how many connections the label is kept of: a power of two.
const labelPlaces = 256

// knownLabel is how a connection was written, and what that rests on.
type knownLabel struct {
	owner         event.Owner
	local, remote netip.AddrPort
	widths        [labels]int
	text          []byte
}

func newLabelWriter(location *time.Location) labelWriter {
	return labelWriter{location: location, widths: [labels]int{ownerLabel: 18, tupleLabel: 42}}
}

// appendClock adds the time of day, to the microsecond.
func (w *labelWriter) appendClock(row []byte, at time.Time) []byte {
	if second := at.Unix(); second != w.second || w.clock == nil {
		w.second, w.clock = second, at.In(w.location).AppendFormat(w.clock[:0], time.TimeOnly)
	}
	row = append(row, w.clock...)
	point := len(row)
	row = strconv.AppendInt(row, int64(1_000_000+at.Nanosecond()/1000), 10) // the 1 ahead keeps leading zeros
	row[point] = '.'
	return row
}

// appendConnection adds the columns that say which connection a line is about.
func (w *labelWriter) appendConnection(row []byte, ev *event.Event) []byte {
	known := &w.known[ev.Conn.Slot(labelPlaces)]
	if known.widths != w.widths || known.local != ev.Local || known.remote != ev.Remote || known.owner != ev.Owner {
		known.text = append(w.appendColumn(known.text[:0], ownerLabel, owner(ev.Owner)), "  "...)
		known.text = w.appendColumn(known.text, tupleLabel, tuple(ev))
		known.owner, known.local, known.remote, known.widths = ev.Owner, ev.Local, ev.Remote, w.widths
	}
	return append(row, known.text...)
}

// appendColumn pads to the widest that this column has been, so that columns only ever move once.
func (w *labelWriter) appendColumn(row []byte, label int, s string) []byte {
	s = escape(s)
	width := utf8.RuneCountInString(s)
	w.widths[label] = max(w.widths[label], width)
	return appendBlanks(append(row, s...), w.widths[label]-width)
}

// appendOffsetColumn adds an offset, to the right of its column.
func appendOffsetColumn(row []byte, offset time.Duration) []byte {
	const width = 9
	var room [32]byte
	text := timeline.AppendOffset(room[:0], offset)
	return append(appendBlanks(row, width-len(text)), text...)
}

// appendBlanks adds n spaces, none where n is negative.
func appendBlanks(row []byte, n int) []byte {
	for ; n > 0; n-- {
		row = append(row, ' ')
	}
	return row
}
