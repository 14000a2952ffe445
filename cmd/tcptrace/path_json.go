package main

import (
	"cmp"
	"encoding/json"
	"net/netip"

	"tcptrace/prober/path"
	"tcptrace/tracer/event"
)

// The types of lines that only paths have.
const (
	typePath = "path"
	typeHop  = "hop"
)

// pathJSON writes journeys as one JSON object a line: one for the journey, and one for each hop to each port.
type pathJSON struct{ *jsonRenderer }

func (p *pathJSON) Journey(j *journey) {
	p.encode(pathLine{typePath, j.target, j.remote, j.compare, j.sequential, j.interrupted, j.route.Ports()})
	p.hops(j, j.route)
	if j.other != nil {
		p.hops(j, j.other)
	}
}

func (p *pathJSON) hops(j *journey, r *path.Route) {
	for i := range r.Hops {
		p.encode(encodeHop(j, r.Remote, &r.Hops[i]))
	}
}

// pathLine is a [journey] as it is written, before its hops and its verdict.
type pathLine struct {
	Type        string         `json:"type"`
	Target      string         `json:"target"`
	Remote      netip.AddrPort `json:"remote"`
	ComparePort uint16         `json:"compare_port,omitempty"`
	Sequential  bool           `json:"sequential"`
	Interrupted bool           `json:"interrupted,omitempty"`
	SourcePorts []uint16       `json:"source_ports,omitempty"`
}

// hopLine is a [path.Hop] as it is written. Addr is who answered most often.
type hopLine struct {
	Type    string         `json:"type"`
	Target  string         `json:"target"`
	Remote  netip.AddrPort `json:"remote"`
	TTL     int            `json:"ttl"`
	Addr    string         `json:"addr,omitempty"`
	Name    string         `json:"name,omitempty"`
	RTTMS   []float64      `json:"rtt_ms"`
	Clock   path.Clock     `json:"clock,omitempty"`
	Loss    float64        `json:"loss"`
	ICMP    *event.ICMP    `json:"icmp,omitempty"`
	Reached bool           `json:"reached"`
	Answers []answerLine   `json:"answers"`
}

// answerLine is a [path.Answer] as it is written.
type answerLine struct {
	Query   int            `json:"query"`
	Kind    path.Kind      `json:"kind"`
	From    netip.Addr     `json:"from,omitzero"`
	Name    string         `json:"name,omitempty"`
	RTTMS   float64        `json:"rtt_ms,omitempty"`
	Clock   path.Clock     `json:"clock,omitempty"`
	Retries int            `json:"retries,omitempty"`
	Errno   event.Errno    `json:"errno,omitzero"`
	ICMP    *event.ICMP    `json:"icmp,omitempty"`
	Local   netip.AddrPort `json:"local,omitzero"`
}

func encodeHop(j *journey, remote netip.AddrPort, h *path.Hop) hopLine {
	line := hopLine{
		Type: typeHop, Target: j.target, Remote: remote, TTL: h.TTL,
		RTTMS: []float64{}, Loss: h.Loss(), ICMP: h.ICMP(), Reached: h.Reached,
		Answers: make([]answerLine, 0, len(h.Answers)),
	}
	if addr := h.Addr(); addr.IsValid() {
		line.Addr, line.Name = addr.String(), j.names[addr]
	}
	for _, rtt := range h.RTTs() {
		line.RTTMS = append(line.RTTMS, milliseconds(rtt))
	}
	for i := range h.Answers {
		a := &h.Answers[i]
		line.Clock = cmp.Or(line.Clock, a.Clock)
		line.Answers = append(line.Answers, encodeAnswer(j, a))
	}
	return line
}

func encodeAnswer(j *journey, a *path.Answer) answerLine {
	return answerLine{
		Query: a.Query, Kind: a.Kind, From: a.From, Name: j.names[a.From], RTTMS: milliseconds(a.RTT), Clock: a.Clock,
		Retries: a.Retries, Errno: a.Errno, ICMP: a.ICMP, Local: a.Local,
	}
}

// recordedHop is a hop as a recording has it.
type recordedHop struct {
	remote  netip.AddrPort
	answers []path.Answer
	names   map[netip.Addr]string
}

func parseJourney(text []byte) (any, error) {
	var line pathLine
	if err := json.Unmarshal(text, &line); err != nil {
		return nil, err
	}
	j := newJourney(line.Target, line.Remote, line.ComparePort)
	j.sequential, j.interrupted = line.Sequential, line.Interrupted
	return j, nil
}

func parseHop(text []byte) (any, error) {
	var line hopLine
	if err := json.Unmarshal(text, &line); err != nil {
		return nil, err
	}
	hop := recordedHop{remote: line.Remote, names: make(map[netip.Addr]string)}
	for _, recorded := range line.Answers {
		a, err := recorded.answer(line.TTL)
		if err != nil {
			return nil, err
		}
		if recorded.Name != "" {
			hop.names[a.From] = recorded.Name
		}
		hop.answers = append(hop.answers, a)
	}
	return hop, nil
}

func (l *answerLine) answer(ttl int) (path.Answer, error) {
	a := path.Answer{
		TTL: ttl, Query: l.Query, Kind: l.Kind, From: l.From, RTT: fromMilliseconds(l.RTTMS),
		Clock: l.Clock, Retries: l.Retries, Errno: l.Errno, ICMP: l.ICMP, Local: l.Local,
	}
	return a, a.Validate()
}
