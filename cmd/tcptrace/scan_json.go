package main

import (
	"encoding/json"
	"net/netip"
	"time"

	"tcptrace/prober/scan"
	"tcptrace/tracer/event"
	"tcptrace/tracer/jsonline"
)

// The types of a scan's lines that other streams do not have.
const (
	typeTarget = "target"
	typeRound  = "round"
)

// aboutTargets is the subject of a scan.
const aboutTargets subject = "targets"

// targetLine is what became of a target, as it is written.
type targetLine struct {
	round  int // 0: there is only one
	target scan.Target
	result scan.Result
}

var targetObject = jsonline.Object[targetLine]{
	jsonline.Int("round", func(l *targetLine) *int { return &l.round }),
	jsonline.AddrPort("target", func(l *targetLine) *netip.AddrPort { return &l.target.Addr }),
	jsonline.String("name", func(l *targetLine) *string { return &l.target.Name }),
	jsonline.String("label", func(l *targetLine) *string { return &l.target.Label }),
	jsonline.Text("outcome", func(l *targetLine) *scan.Outcome { return &l.result.Outcome }),
	jsonline.Text("errno", func(l *targetLine) *event.Errno { return &l.result.Errno }),
	jsonline.Optional("icmp", func(l *targetLine) **event.ICMP { return &l.result.ICMP }),
	jsonline.Millis("connect_ms", func(l *targetLine) *time.Duration { return &l.result.Connect }),
	jsonline.Micros("handshake_rtt_us", func(l *targetLine) *time.Duration { return &l.result.RTT }),
	jsonline.Int("syn_sent", func(l *targetLine) *int32 { return &l.result.SYNs }),
	jsonline.Text("clock", func(l *targetLine) *scan.Clock { return &l.result.Clock }).
		When(func(l *targetLine) bool { return l.result.Outcome != 0 }),
	jsonline.Int("attempts", func(l *targetLine) *int32 { return &l.result.Attempts }),
	jsonline.Millis("noticed_ms", func(l *targetLine) *time.Duration { return &l.result.Noticed }),
	jsonline.Millis("began_ms", func(l *targetLine) *time.Duration { return &l.result.Began }),
}

func (l *targetLine) append(dst []byte) []byte { return targetObject.Append(dst, l, typeTarget) }

// scanJSON writes a scan as one JSON object a line.
type scanJSON struct {
	jsonRenderer
	only *scanRound // the round, where there is one
}

func newScanJSON(out flusher) *scanJSON { return &scanJSON{jsonRenderer: *newJSONRenderer(out, false)} }

func (j *scanJSON) Meta(m meta, targets int) {
	line := struct {
		metaLine
		Targets int `json:"targets"`
	}{encodeMeta(m), targets}
	j.encode(line)
}

func (j *scanJSON) Target(l *targetLine) { j.write(l.append(j.line[:0])) }

// Round is a line of its own only among several: else the summary says it all.
func (j *scanJSON) Round(r *scanRound) {
	if r.Several {
		line := encodeRound(r.scanStats)
		line.Type, line.Changes = typeRound, encodeChanges(r.Changes)
		j.encode(line)
		return
	}
	j.only = r
}

func (j *scanJSON) Summary(s *scanSummary) {
	line := scanSummaryLine{Interrupted: s.Interrupted, ExitStatus: s.ExitStatus, Plot: s.Plotted}
	if j.only != nil {
		line.roundLine = encodeRound(j.only.scanStats)
		line.Changes = encodeChanges(j.only.Changes)
	}
	line.Type = typeSummary
	if j.only == nil {
		line.Rounds = make([]roundShareLine, 0, len(s.Rounds))
	}
	for _, r := range s.Rounds {
		if j.only == nil {
			line.Rounds = append(line.Rounds, roundShareLine{r.Round, milliseconds(r.Refresh), r.Targets, r.Outcomes[scan.Connected], r.Connects})
		}
	}
	j.encode(line)
}

// scanSummaryLine is [scanSummary] as it is written: with what its only round comes to, or with a share of each.
type scanSummaryLine struct {
	roundLine
	Rounds      []roundShareLine `json:"rounds,omitempty"`
	Interrupted bool             `json:"interrupted,omitempty"`
	ExitStatus  int              `json:"exit_status"`
	Plot        string           `json:"plot,omitempty"`
}

type roundShareLine struct {
	Round     int     `json:"round"`
	RefreshMS float64 `json:"refresh_ms"`
	Targets   int     `json:"targets"`
	Connected int     `json:"connected"`
	Connects  int     `json:"connects"`
}

// roundLine is [scanStats] as it is written.
type roundLine struct {
	Type        string         `json:"type"`
	Round       int            `json:"round,omitempty"`
	Targets     int            `json:"targets,omitempty"`
	TimeoutMS   float64        `json:"timeout_ms,omitempty"`
	RefreshMS   float64        `json:"refresh_ms,omitempty"`
	DurationMS  float64        `json:"duration_ms,omitempty"`
	Outcomes    map[string]int `json:"outcomes,omitempty"`
	Unfinished  int            `json:"unfinished,omitempty"`
	Untried     int            `json:"untried,omitempty"`
	Connects    int            `json:"connects,omitempty"`
	LateAnswers *int           `json:"late_answers,omitempty"`
	Clocks      map[string]int `json:"clocks,omitempty"`
	Lost        uint64         `json:"lost,omitempty"`
	ByTimeout   []timeoutLine  `json:"by_timeout,omitempty"`
	Latency     *latencyLine   `json:"connect_ms,omitempty"`
	NoticedLate *latencyLine   `json:"noticed_late_ms,omitempty"`
	BySYN       []synLine      `json:"by_syn,omitempty"`
	ByFamily    []familyLine   `json:"by_family,omitempty"`
	Labels      int            `json:"labels,omitempty"`
	LabelsSome  int            `json:"labels_connected,omitempty"`
	Reasons     []reasonLine   `json:"reasons,omitempty"`
	Changes     *changesLine   `json:"changes,omitempty"`
}

type timeoutLine struct {
	TimeoutMS float64 `json:"timeout_ms"`
	Connected int     `json:"connected"`
}

type synLine struct {
	SYNSent   int `json:"syn_sent"`
	Connected int `json:"connected"`
}

type familyLine struct {
	Family    string  `json:"family"`
	Targets   int     `json:"targets"`
	Connected int     `json:"connected"`
	P50       float64 `json:"p50_ms,omitempty"`
}

type reasonLine struct {
	Outcome string `json:"outcome"`
	Errno   string `json:"errno,omitempty"`
	ICMP    string `json:"icmp,omitempty"`
	Count   int    `json:"count"`
}

type latencyLine struct {
	Min       float64 `json:"min"`
	Mean      float64 `json:"mean"`
	Deviation float64 `json:"stddev"`
	P50       float64 `json:"p50"`
	P75       float64 `json:"p75"`
	P90       float64 `json:"p90"`
	P95       float64 `json:"p95"`
	P99       float64 `json:"p99"`
	P999      float64 `json:"p99_9"`
	Max       float64 `json:"max"`
}

func encodeRound(s *scanStats) roundLine {
	line := roundLine{
		Round: s.Round, Targets: s.Targets, TimeoutMS: milliseconds(s.Timeout), RefreshMS: milliseconds(s.Refresh),
		DurationMS: milliseconds(s.Took), Outcomes: byName(s.Outcomes), Unfinished: s.Unfinished, Untried: s.Untried,
		Connects: s.Connects, Clocks: byName(s.Clocks), Lost: s.LostEvents,
		Latency: encodeLatencies(s.Latency), NoticedLate: encodeLatencies(s.Noticed), Labels: s.Labels, LabelsSome: s.LabelsSome,
	}
	if s.LateAnswers >= 0 {
		line.LateAnswers = &s.LateAnswers
	}
	for _, t := range s.ByTimeout {
		line.ByTimeout = append(line.ByTimeout, timeoutLine{milliseconds(t.Timeout), t.Connected})
	}
	for _, n := range s.BySYN {
		line.BySYN = append(line.BySYN, synLine{n.SYNs, n.Connected})
	}
	for _, f := range s.ByFamily {
		line.ByFamily = append(line.ByFamily, familyLine{f.Family, f.Targets, f.Connected, milliseconds(f.Median)})
	}
	for _, r := range s.Reasons {
		line.Reasons = append(line.Reasons, reasonLine{r.Outcome.String(), r.Errno.String(), r.ICMP, r.Count})
	}
	return line
}

func byName[K interface {
	comparable
	String() string
}](counts map[K]int) map[string]int {
	named := make(map[string]int, len(counts))
	for key, n := range counts {
		named[key.String()] = n
	}
	return named
}

func encodeLatencies(l latencies) *latencyLine {
	if l.Count == 0 {
		return nil
	}
	return &latencyLine{
		milliseconds(l.Min), milliseconds(l.Mean), milliseconds(l.Deviation), milliseconds(l.P50), milliseconds(l.P75),
		milliseconds(l.P90), milliseconds(l.P95), milliseconds(l.P99), milliseconds(l.P999), milliseconds(l.Max),
	}
}

type changesLine struct {
	Since    time.Time `json:"since,omitzero"`
	Gained   []string  `json:"connected_now"`
	Lost     []string  `json:"connected_no_more"`
	Compared int       `json:"compared"`
	Before   float64   `json:"p50_ms_before,omitempty"`
	Now      float64   `json:"p50_ms_now,omitempty"`
}

func encodeChanges(c *changes) *changesLine {
	if c == nil {
		return nil
	}
	return &changesLine{c.Since, addressStrings(c.Gained), addressStrings(c.Lost), c.Compared, milliseconds(c.MedianBefore), milliseconds(c.MedianNow)}
}

func addressStrings(addrs []netip.AddrPort) []string {
	all := make([]string, 0, len(addrs))
	for _, addr := range addrs {
		all = append(all, addr.String())
	}
	return all
}

// parseTarget reads a target's line.
func parseTarget(text []byte) (any, error) {
	line := new(targetLine)
	err := targetObject.Unmarshal(text, line)
	return line, err
}

// isScanSummary tells a scan's summary from that of a trace: it counts targets, or rounds.
func isScanSummary(text []byte) bool {
	var line struct{ Targets, Rounds json.RawMessage }
	return json.Unmarshal(text, &line) == nil && (line.Targets != nil || line.Rounds != nil)
}

// parseScanSummary reads what a round, or all of a scan, came to.
func parseScanSummary(text []byte) (any, error) {
	line := new(scanSummaryLine)
	err := json.Unmarshal(text, line)
	return line, err
}
