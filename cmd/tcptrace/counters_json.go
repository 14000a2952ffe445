package main

import (
	"encoding/json"
	"net/netip"
	"time"

	"tcptrace/tracer/event"
)

// The types of lines that only counters have.
const (
	typeCounter = "counter"
	typeRatio   = "ratio"
	typeStation = "station"
	// typeInterval precedes what changed in an interval, and typeTotal is what changed in all of them together.
	typeInterval = "interval"
	typeTotal    = "total"
)

// countersJSON writes counters as one JSON object a line.
type countersJSON struct{ *jsonRenderer }

func (j *countersJSON) meta(m meta) { j.Meta(m) }

func (j *countersJSON) begin(time.Duration) {}

func (j *countersJSON) now(r *countersReading) { j.reading(r) }

func (j *countersJSON) change(r *countersReading) {
	j.encode(intervalLine{typeInterval, r.at, milliseconds(r.elapsed), milliseconds(r.over), r.lines()})
	j.reading(r)
}

// intervalLine says how many lines about an interval follow, and over what time they were taken.
type intervalLine struct {
	Type       string    `json:"type"`
	Time       time.Time `json:"time,omitzero"`
	ElapsedMS  float64   `json:"elapsed_ms"` // since the beginning
	DurationMS float64   `json:"duration_ms"`
	Lines      int       `json:"lines"`
}

// lines is how many tell of the reading.
func (r *countersReading) lines() int {
	if r.walk != nil {
		return len(r.walk.stations)
	}
	return len(r.shown) + len(r.ratios)
}

// totalLine is a line about all intervals together, of one of the three types.
type totalLine struct {
	Type    string       `json:"type"`
	Counter *counterLine `json:"counter,omitempty"`
	Ratio   *ratioLine   `json:"ratio,omitempty"`
	Station *stationLine `json:"station,omitempty"`
}

// counterLine is a counter as it is written. One that is gone has no value.
type counterLine struct {
	Type         string    `json:"type"`
	Time         time.Time `json:"time,omitzero"`
	Name         string    `json:"name"`
	Group        string    `json:"group"`
	Topic        string    `json:"topic,omitempty"`
	Netstat      string    `json:"netstat,omitempty"`
	NodeExporter string    `json:"node_exporter"`
	Default      bool      `json:"node_exporter_default,omitempty"`
	Value        *int64    `json:"value,omitempty"`
	Change       *int64    `json:"change,omitempty"`
	Rate         *float64  `json:"rate,omitempty"` // in a second
	Gauge        bool      `json:"gauge,omitempty"`
	HostWide     bool      `json:"host_wide,omitempty"`
	Meaning      string    `json:"meaning,omitempty"`
	CountedBy    string    `json:"counted_by,omitempty"`
	Worry        string    `json:"worry,omitempty"`
	Misleading   string    `json:"misleading,omitempty"`
	GoneSince    string    `json:"gone_since,omitempty"`
}

func (j *countersJSON) reading(r *countersReading) {
	if r.walk != nil {
		for i := range r.walk.stations {
			j.encode(encodeStation(r, &r.walk.stations[i]))
		}
		return
	}
	for i := range r.shown {
		j.encode(encodeCounter(r, &r.shown[i]))
	}
	if r.over == 0 {
		for _, g := range r.gone {
			j.encode(counterLine{
				Type: typeCounter, Time: r.at, Name: g.Proc(), Group: g.Group, NodeExporter: g.NodeExporter(),
				Meaning: g.Means, GoneSince: g.Since,
			})
		}
	}
	for i := range r.ratios {
		j.encode(encodeRatio(r, &r.ratios[i]))
	}
}

// total writes a reading that is about all intervals.
func (j *countersJSON) total(r *countersReading) {
	if r.walk != nil {
		for i := range r.walk.stations {
			station := encodeStation(r, &r.walk.stations[i])
			j.encode(totalLine{Type: typeTotal, Station: &station})
		}
		return
	}
	for i := range r.shown {
		counter := encodeCounter(r, &r.shown[i])
		j.encode(totalLine{Type: typeTotal, Counter: &counter})
	}
	for i := range r.ratios {
		ratio := encodeRatio(r, &r.ratios[i])
		j.encode(totalLine{Type: typeTotal, Ratio: &ratio})
	}
}

func encodeCounter(r *countersReading, v *countedValue) counterLine {
	line := counterLine{
		Type: typeCounter, Time: r.at, Name: v.Proc(), Group: v.Group, Topic: string(v.Topic),
		Netstat: v.Sentence("N"), NodeExporter: v.NodeExporter(), Default: v.ExportedByDefault(),
		Value: &v.Value, Gauge: v.Gauge(), HostWide: v.HostWide(),
		Meaning: v.Means, CountedBy: v.By, Worry: v.Worry, Misleading: v.Misleading,
	}
	if r.over > 0 {
		line.Change = &v.Change
	}
	if rate, ok := r.rate(v); ok {
		line.Rate = &rate
	}
	return line
}

// ratioLine is a ratio as it is written.
type ratioLine struct {
	Type    string    `json:"type"`
	Time    time.Time `json:"time,omitzero"`
	Name    string    `json:"name"`
	Share   float64   `json:"share"`
	Part    int64     `json:"part"`
	Whole   int64     `json:"whole"`
	Formula string    `json:"formula"`
	Meaning string    `json:"meaning,omitempty"`
}

func encodeRatio(r *countersReading, c *computedRatio) ratioLine {
	return ratioLine{typeRatio, r.at, c.Name, c.share(), c.Part, c.Whole, c.Formula, c.Means}
}

// stationLine is a station of a packet's way as it is written.
type stationLine struct {
	Type     string        `json:"type"`
	Time     time.Time     `json:"time,omitzero"`
	Way      string        `json:"way"` // received or sent
	Name     string        `json:"name"`
	About    string        `json:"about,omitempty"`
	Drops    []dropLine    `json:"drops"`
	Settings []settingLine `json:"settings,omitempty"`
	Sockets  []lossyLine   `json:"sockets,omitempty"`
	Notes    []string      `json:"notes,omitempty"`
	Minor    bool          `json:"minor,omitempty"` // there is nothing to tell of it but drops
}

type dropLine struct {
	Name     string `json:"name"`
	Count    int64  `json:"count"`
	Change   *int64 `json:"change,omitempty"`
	HostWide bool   `json:"host_wide,omitempty"`
	Included bool   `json:"included,omitempty"` // in another of them
	Meaning  string `json:"meaning,omitempty"`
}

type settingLine struct {
	Name    string `json:"name"`
	Value   string `json:"value"`
	Max     string `json:"max,omitempty"`
	Command string `json:"command,omitempty"` // that changes it
}

type lossyLine struct {
	Protocol string         `json:"protocol"`
	Local    netip.AddrPort `json:"local"`
	Remote   netip.AddrPort `json:"remote,omitzero"`
	Owner    *event.Owner   `json:"owner,omitempty"`
	Drops    int64          `json:"drops"`
	Change   *int64         `json:"change,omitempty"`
	Unread   int64          `json:"unread_bytes,omitempty"`
	Buffer   int64          `json:"buffer_bytes,omitempty"`
	Usual    int64          `json:"default_buffer_bytes,omitempty"` // where that of the socket is unknown
}

func encodeStation(r *countersReading, s *station) stationLine {
	line := stationLine{
		Type: typeStation, Time: r.at, Way: s.way, Name: s.name, About: s.about,
		Drops: make([]dropLine, 0, len(s.drops)), Notes: s.notes, Minor: s.minor,
	}
	for _, d := range s.drops {
		line.Drops = append(line.Drops, dropLine{d.name, d.count, changed(r, d.change), d.hostWide, d.included, d.means})
	}
	for _, set := range s.settings {
		line.Settings = append(line.Settings, settingLine{set.name, set.value, set.most, set.command})
	}
	for _, socket := range s.sockets {
		line.Sockets = append(line.Sockets, encodeLossy(r, socket))
	}
	return line
}

func encodeLossy(r *countersReading, s lossySocket) lossyLine {
	line := lossyLine{
		Protocol: s.protocol, Local: s.local, Remote: s.remote, Drops: s.drops, Change: changed(r, s.change),
		Unread: s.unread, Buffer: s.buffer, Usual: s.usual,
	}
	if s.owner.Known() {
		line.Owner = &s.owner
	}
	return line
}

// changed is a change, nil where there is nothing to compare with.
func changed(r *countersReading, change int64) *int64 {
	if r.over == 0 {
		return nil
	}
	return &change
}

// countersSummaryLine is the last line of counters.
type countersSummaryLine struct {
	Type        string           `json:"type"`
	Counters    int              `json:"counters"`
	Zero        int              `json:"zero,omitempty"` // of them, that are not listed
	Intervals   int              `json:"intervals,omitempty"`
	DurationMS  float64          `json:"duration_ms,omitempty"`
	Changes     map[string]int64 `json:"changes,omitempty"` // since the beginning, of what was asked for
	Dropped     *int64           `json:"dropped,omitempty"` // on the whole way
	Interrupted bool             `json:"interrupted,omitempty"`
}

func (j *countersJSON) end(total countersTotal) {
	r := total.reading
	line := countersSummaryLine{
		Type: typeSummary, Counters: r.count, Intervals: total.intervals, DurationMS: milliseconds(r.over),
		Interrupted: total.interrupted,
	}
	switch {
	case r.over == 0 && r.walk == nil:
		line.Zero = r.zero
	case r.over > 0 && !total.told:
		j.total(r)
	}
	if r.walk != nil {
		drops := r.walk.drops(r.over > 0)
		line.Dropped = &drops
	} else if r.over > 0 {
		line.Changes = make(map[string]int64)
		for _, v := range r.shown {
			line.Changes[v.String()] = v.Change
		}
	}
	j.encode(line)
}

// isCountersSummary tells the summary of counters from that of a trace.
func isCountersSummary(text []byte) bool {
	var line struct{ Counters json.RawMessage }
	return json.Unmarshal(text, &line) == nil && line.Counters != nil
}
