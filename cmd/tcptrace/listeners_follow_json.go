package main

import (
	"encoding/json"
	"net/netip"
	"time"

	"tcptrace/tracer/event"
	"tcptrace/tracer/listeners"
)

// followJSON writes what happens to listeners' clients as one JSON object a line.
type followJSON struct{ *jsonRenderer }

// moreLine is [hiddenEvents] as it is written.
type moreLine struct {
	Type   string         `json:"type"`
	Time   time.Time      `json:"time,omitzero"`
	MonoNS int64          `json:"mono_ns"`
	Kind   string         `json:"kind"`
	NetNS  uint32         `json:"netns,omitempty"`
	Local  netip.AddrPort `json:"local"`
	Count  uint64         `json:"count"`
}

func (j *followJSON) more(h hiddenEvents) {
	j.encode(moreLine{typeMore, h.Time, int64(h.Mono), h.Kind.String(), h.NetNS, h.Local, h.Count})
}

// accountLine is [listeners.Account] as it is told.
type accountLine struct {
	Type        string         `json:"type"`
	Local       netip.AddrPort `json:"local,omitzero"`
	NetNS       uint32         `json:"netns,omitempty"`
	Owner       *event.Owner   `json:"owner,omitempty"`
	Sockets     int            `json:"sockets,omitempty"`
	Backlog     *int           `json:"backlog,omitempty"`
	Refused     refusedLine    `json:"refused"`
	Told        uint64         `json:"told"`
	Ambiguous   uint64         `json:"ambiguous,omitempty"`
	Clients     []clientLine   `json:"clients,omitempty"`
	Different   int            `json:"different_clients,omitempty"`
	Received    uint64         `json:"syns_received"`
	Retransmits uint64         `json:"synacks_again"`
	Expired     uint64         `json:"half_open_expired"`
	Accepted    uint64         `json:"accepted"`
	Waited      *waitedLine    `json:"waited,omitempty"`
	Diagnosis   string         `json:"diagnosis,omitempty"`
}

type refusedLine struct {
	SYNs      uint64 `json:"syns"`
	FinalACKs uint64 `json:"final_acks"`
	SYNDrops  uint64 `json:"dropped_by_syn_queue"`
	Cookies   uint64 `json:"cookies"`
	// Those that no event stood for, of the first two and of the others.
	UntoldOverflows uint64 `json:"untold_overflows"`
	UntoldQueueFull uint64 `json:"untold_syn_queue"`
}

func (l *refusedLine) refused() listeners.Refused {
	return listeners.Refused{
		SYNs: l.SYNs, FinalACKs: l.FinalACKs, SYNDrops: l.SYNDrops, Cookies: l.Cookies,
		UntoldOverflows: l.UntoldOverflows, UntoldQueueFull: l.UntoldQueueFull,
	}
}

func encodeRefused(r listeners.Refused) refusedLine {
	return refusedLine{r.SYNs, r.FinalACKs, r.SYNDrops, r.Cookies, r.UntoldOverflows, r.UntoldQueueFull}
}

type clientLine struct {
	Addr  netip.Addr `json:"addr"`
	Count uint64     `json:"count"`
}

type waitedLine struct {
	Count     uint64       `json:"count"`
	HalfMS    float64      `json:"half_within_ms"`
	MostMS    float64      `json:"p99_within_ms"`
	LongestMS float64      `json:"longest_ms"`
	Buckets   []bucketLine `json:"buckets"`
}

type bucketLine struct {
	WithinMS *float64 `json:"within_ms"` // null: longer than all bounds
	Count    uint64   `json:"count"`
}

func encodeWaits(w *listeners.Waits) *waitedLine {
	if w.Count == 0 {
		return nil
	}
	line := &waitedLine{w.Count, milliseconds(w.Within(0.5)), milliseconds(w.Within(0.99)), milliseconds(w.Longest), nil}
	for _, b := range w.Buckets() {
		bucket := bucketLine{Count: b.Count}
		if b.Within > 0 {
			within := milliseconds(b.Within)
			bucket.WithinMS = &within
		}
		line.Buckets = append(line.Buckets, bucket)
	}
	return line
}

func (j *followJSON) passed(time.Duration) {}

func (j *followJSON) account(line *accountLine, _ time.Duration) { j.encode(line) }

func encodeAccount(a *listeners.Account) *accountLine {
	line := &accountLine{
		Type: typeListener, NetNS: a.NetNS, Sockets: a.Sockets, Refused: encodeRefused(a.Refused), Told: a.Told, Ambiguous: a.Ambiguous,
		Different: a.Clients.Different(), Received: a.Received, Retransmits: a.Retransmits, Expired: a.Expired,
		Accepted: a.Accepted, Waited: encodeWaits(&a.Waits), Diagnosis: a.Diagnosis(),
	}
	if a.Local.IsValid() {
		line.Local, line.Backlog = a.Local, &a.Max
	}
	if a.Owner.Known() {
		line.Owner = &a.Owner
	}
	for _, client := range a.Clients.Top(topClients) {
		line.Clients = append(line.Clients, clientLine(client))
	}
	return line
}

// followSummaryLine is the last line of a trace of listeners.
type followSummaryLine struct {
	Type        string            `json:"type"`
	Events      uint64            `json:"events"`
	Kinds       map[string]uint64 `json:"kinds"`
	Refused     refusedLine       `json:"refused"`
	Lost        uint64            `json:"lost"`
	DurationMS  float64           `json:"duration_ms"`
	Interrupted bool              `json:"interrupted,omitempty"`
}

func (j *followJSON) end(t followTotals) {
	j.encode(followSummaryLine{
		Type: typeSummary, Events: t.Events, Kinds: byKindName(t.Kinds), Refused: encodeRefused(t.Refused), Lost: t.Lost,
		DurationMS: milliseconds(t.Over), Interrupted: t.Interrupted,
	})
}

func (l *followSummaryLine) totals() (followTotals, error) {
	kinds := make(map[event.Kind]uint64, len(l.Kinds))
	for name, n := range l.Kinds {
		kind, err := event.ParseKind(name)
		if err != nil {
			return followTotals{}, err
		}
		kinds[kind] = n
	}
	return followTotals{
		Events: l.Events, Kinds: kinds, Refused: l.Refused.refused(), Lost: l.Lost, Over: fromMilliseconds(l.DurationMS), Interrupted: l.Interrupted,
	}, nil
}

// parseMore reads [hiddenEvents].
func parseMore(text []byte) (any, error) {
	var line moreLine
	if err := json.Unmarshal(text, &line); err != nil {
		return nil, err
	}
	kind, err := event.ParseKind(line.Kind)
	return hiddenEvents{hiddenKey{kind, line.NetNS, line.Local}, time.Duration(line.MonoNS), line.Time, line.Count}, err
}

// parseListener reads a listener of a list, or an account of what became of its clients, which alone has refusals.
func parseListener(text []byte) (any, error) {
	if hasRefused(text) {
		return parseInto[accountLine](text)
	}
	return parseInto[listeners.Listener](text)
}

// parseFollowSummary gives [followTotals].
func parseFollowSummary(text []byte) (any, error) {
	var line followSummaryLine
	if err := json.Unmarshal(text, &line); err != nil {
		return nil, err
	}
	totals, err := line.totals()
	return totals, err
}

func hasRefused(text []byte) bool {
	var line struct{ Refused json.RawMessage }
	return json.Unmarshal(text, &line) == nil && line.Refused != nil
}
