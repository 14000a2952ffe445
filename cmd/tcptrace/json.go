package main

import (
	"encoding/json"
	"net/netip"
	"strconv"
	"time"

	"tcptrace/tracer/event"
	"tcptrace/tracer/timeline"
	"tcptrace/tracer/verdict"
)

// schema is the version of the stream's format. Additions do not change it.
const schema = 1

// The types of the stream's lines.
const (
	typeMeta       = "meta"
	typeOutlook    = "prediction"
	typeEvent      = "event"
	typeProbe      = "probe"
	typeResolution = "resolution"
	typeLost       = "lost"
	typeHost       = "host"
	typeVerdict    = "verdict"
	typeSettled    = "settled"
	typeStop       = "stop"
	typeSummary    = "summary"
	typeSocket     = "socket"
	typeState      = "state"
	typeListener   = "listener"
	typeMore       = "more"
)

// jsonRenderer writes the stream as one JSON object a line.
type jsonRenderer struct {
	out      flusher
	context  bool // say where hooks ran
	events   *event.Writer
	verdicts *verdict.Writer
	verdict  verdict.Verdict // the one that is being written
	line     []byte          // memory for the next one
}

func newJSONRenderer(out flusher, context bool) *jsonRenderer {
	return &jsonRenderer{out: out, context: context, events: event.NewWriter(), verdicts: verdict.NewWriter()}
}

func (j *jsonRenderer) Meta(m meta) { j.encode(encodeMeta(m)) }

func (j *jsonRenderer) Outlook(o outlook) { j.encode(encodeOutlook(o)) }

func (j *jsonRenderer) Event(_ *timeline.Connection, ev *event.Event) {
	if !j.context && ev.Context != (event.Context{}) {
		without := *ev
		without.Context = event.Context{}
		ev = &without
	}
	j.writeHarmless(j.events.AppendLine(j.line[:0], ev, typeEvent))
}

func (j *jsonRenderer) Probe(p *event.Probe) { j.write(p.AppendLine(j.line[:0], typeProbe)) }

func (j *jsonRenderer) Resolution(r *event.Resolution) {
	j.write(r.AppendLine(j.line[:0], typeResolution))
}

func (j *jsonRenderer) Lost(l lost) { j.encode(encodeLost(l)) }

func (j *jsonRenderer) Answer(a answer) { j.encode(encodeHost(a)) }

// Verdict adds to the verdict when it was given: a replay gives its own at the same point of the story.
func (j *jsonRenderer) Verdict(v verdict.Verdict, about told) {
	j.verdict = v
	line := j.verdicts.AppendLine(j.line[:0], &j.verdict, typeVerdict)
	line = append(line[:len(line)-1], `,"mono_ns":`...)
	line = strconv.AppendInt(line, int64(about.at), 10)
	if len(about.warnings) == 0 {
		j.writeHarmless(append(line, '}'))
		return
	}
	line = append(append(line, `,"warnings":`...), encoded(encodeWarnings(about.warnings))...)
	j.write(append(line, '}'))
}

func (j *jsonRenderer) Settled(at time.Duration) {
	j.encode(settledLine{Type: typeSettled, MonoNS: int64(at)})
}

func (j *jsonRenderer) Stop(s stop) {
	j.encode(stopLine{Type: typeStop, MonoNS: int64(s.Mono), Interrupted: s.Interrupted})
}

func (j *jsonRenderer) Summary(s *summary) { j.encode(encodeSummary(s)) }

func (j *jsonRenderer) Flush() { j.out.Flush() }

// write ends the line and keeps its memory for the next.
func (j *jsonRenderer) write(line []byte) {
	j.out.Write(append(escapeJSON(line), '\n'))
	j.line = line
}

// writeHarmless does the same with a line that package jsonline alone has written: that has escaped all that a terminal
// might take for more than text, so that nobody need look at each byte again.
func (j *jsonRenderer) writeHarmless(line []byte) {
	line = append(line, '\n')
	j.out.Write(line)
	j.line = line
}

func (j *jsonRenderer) encode(line any) { j.write(encoded(line)) }

func encoded(v any) []byte {
	text, err := json.Marshal(v)
	if err != nil {
		panic(err) // the structs below hold nothing that JSON cannot
	}
	return text
}

// metaLine is [meta] as it is written. Kernel is the release.
type metaLine struct {
	Type      string            `json:"type"`
	Schema    int               `json:"schema"`
	Version   string            `json:"version,omitempty"`
	Kernel    string            `json:"kernel,omitempty"`
	Hostname  string            `json:"hostname,omitempty"`
	Command   string            `json:"command,omitempty"`
	Started   time.Time         `json:"started,omitzero"`
	Hooks     map[string]string `json:"hooks,omitempty"`
	Costs     map[string]string `json:"costs,omitempty"`
	Untraced  string            `json:"untraced,omitempty"`
	HZ        int               `json:"hz,omitempty"`
	Subject   subject           `json:"subject"`
	TimeoutMS float64           `json:"timeout_ms,omitempty"`
	Single    bool              `json:"single,omitempty"`
	Held      bool              `json:"held,omitempty"`
	Interval  float64           `json:"interval_ms,omitempty"`
	All       bool              `json:"all,omitempty"`
	Follow    bool              `json:"follow,omitempty"`
}

func encodeMeta(m meta) metaLine {
	return metaLine{
		Type:      typeMeta,
		Schema:    schema,
		Version:   m.Version,
		Kernel:    m.Kernel,
		Hostname:  m.Hostname,
		Command:   m.Command,
		Started:   m.Started,
		Hooks:     byKindName(m.Hooks),
		Costs:     byKindName(m.Costs),
		Untraced:  m.Untraced,
		HZ:        m.HZ,
		Subject:   m.Subject,
		TimeoutMS: milliseconds(m.Timeout),
		Single:    m.Single,
		Held:      m.Held,
		Interval:  milliseconds(m.Interval),
		All:       m.All,
		Follow:    m.Follow,
	}
}

// lostLine is [lost] as it is written.
type lostLine struct {
	Type  string `json:"type"`
	Count uint64 `json:"count"`
	Kind  string `json:"kind,omitempty"`
	CPU   *int   `json:"cpu,omitempty"`
}

func encodeLost(l lost) lostLine {
	line := lostLine{Type: typeLost, Count: l.Count}
	if l.Kind != event.KindUnknown {
		line.Kind = l.Kind.String()
	}
	if l.CPU >= 0 {
		line.CPU = &l.CPU
	}
	return line
}

// hostLine is [answer] as it is written. What was not asked is absent.
type hostLine struct {
	Type      string         `json:"type"`
	Conn      *event.ConnID  `json:"conn,omitempty"`
	Cookie    uint64         `json:"cookie,omitempty"`
	Route     *routeLine     `json:"route,omitempty"`
	Ports     *portsLine     `json:"ports,omitempty"`
	Conntrack *conntrackLine `json:"conntrack,omitempty"`
	Neighbour *neighbourLine `json:"neighbour,omitempty"`
	Link      *linkLine      `json:"link,omitempty"`
	Somaxconn int            `json:"somaxconn,omitempty"`
	XDP       string         `json:"xdp,omitempty"` // device
	NFQueue   *nfqueueLine   `json:"nfqueue,omitempty"`
	Backlog   *backlogLine   `json:"backlog,omitempty"`
}

type routeLine struct {
	Errno   *event.Errno `json:"errno,omitempty"` // there is no route, or one that refuses
	Device  string       `json:"ifname,omitempty"`
	Gateway netip.Addr   `json:"gateway,omitzero"`
	// SourceGone: the socket's own address is none of its namespace any more.
	SourceGone bool `json:"source_gone,omitempty"`
}

type neighbourLine struct {
	Addr  netip.Addr `json:"address"`
	State string     `json:"state"`
}

type linkLine struct {
	Name      string     `json:"ifname"`
	Tunnel    string     `json:"tunnel,omitempty"`
	Remote    netip.Addr `json:"remote,omitzero"`
	NoCarrier bool       `json:"no_carrier,omitempty"`
	VRF       string     `json:"vrf,omitempty"`
}

type portsLine struct {
	First    int `json:"first"`
	Last     int `json:"last"`
	InUse    int `json:"in_use"`
	TimeWait int `json:"time_wait"`
}

type conntrackLine struct {
	Count int `json:"count"`
	Max   int `json:"max"`
}

type nfqueueLine struct {
	Number  int    `json:"number"`
	Port    uint32 `json:"netlink_port"`
	Waiting int    `json:"waiting"`
}

type backlogLine struct {
	Device  string `json:"ifname"`
	Queue   string `json:"qdisc"`
	Waiting int    `json:"waiting"`
}

func encodeHost(a answer) hostLine {
	line := hostLine{Type: typeHost, Cookie: a.about.cookie, Somaxconn: a.host.Somaxconn, XDP: a.host.XDP}
	if a.about.conn != 0 {
		line.Conn = &a.about.conn
	}
	if r := a.host.Route; r != nil {
		line.Route = &routeLine{Device: r.Device, Gateway: r.Gateway, SourceGone: r.SourceGone}
		if r.Errno != 0 {
			line.Route.Errno = &r.Errno
		}
	}
	line.Neighbour = (*neighbourLine)(a.host.Neighbour)
	line.Link = (*linkLine)(a.host.Link)
	line.Ports = (*portsLine)(a.host.Ports)
	line.Conntrack = (*conntrackLine)(a.host.Conntrack)
	line.NFQueue = (*nfqueueLine)(a.host.NFQueue)
	line.Backlog = (*backlogLine)(a.host.Backlog)
	return line
}

type settledLine struct {
	Type   string `json:"type"`
	MonoNS int64  `json:"mono_ns"`
}

type stopLine struct {
	Type        string `json:"type"`
	MonoNS      int64  `json:"mono_ns"`
	Interrupted bool   `json:"interrupted,omitempty"`
}

// summaryLine is [summary] as it is written.
type summaryLine struct {
	Type          string                   `json:"type"`
	Kinds         map[string]uint64        `json:"kinds"`
	Causes        map[verdict.Cause]uint64 `json:"causes"`
	Lost          uint64                   `json:"lost"`
	LostByKind    map[string]uint64        `json:"lost_by_kind,omitempty"`
	DurationMS    float64                  `json:"duration_ms"`
	Groups        []groupLine              `json:"groups"`
	GroupsLeftOut uint64                   `json:"groups_left_out,omitempty"`
	BySYN         []shareLine              `json:"by_syn,omitempty"`
	ByAddress     []shareLine              `json:"by_address,omitempty"`
	BySourcePort  []shareLine              `json:"by_source_port,omitempty"`
	ExitStatus    *int                     `json:"exit_status"`
	Interrupted   bool                     `json:"interrupted,omitempty"`
}

type groupLine struct {
	Cause  verdict.Cause `json:"cause"`
	Comm   string        `json:"comm,omitempty"`
	Remote string        `json:"remote,omitempty"`
	NetNS  uint32        `json:"netns,omitempty"`
	Count  uint64        `json:"count"`
	First  time.Time     `json:"first,omitzero"`
	Last   time.Time     `json:"last,omitzero"`
	P50MS  float64       `json:"p50_ms,omitempty"`
}

type shareLine struct {
	Key       string `json:"key"`
	Connected uint64 `json:"connected"`
	Failed    uint64 `json:"failed"`
}

func encodeSummary(s *summary) summaryLine {
	line := summaryLine{
		Type:          typeSummary,
		Kinds:         byKindName(s.Kinds),
		Causes:        s.Causes,
		Lost:          s.Lost,
		LostByKind:    byKindName(s.LostByKind),
		DurationMS:    milliseconds(s.Duration),
		Groups:        make([]groupLine, 0, len(s.Groups)),
		GroupsLeftOut: s.GroupsBeyond,
		BySYN:         encodeShares(s.BySYN),
		ByAddress:     encodeShares(s.ByAddress),
		BySourcePort:  encodeShares(s.BySourcePort),
		ExitStatus:    &s.ExitStatus,
		Interrupted:   s.Interrupted,
	}
	for _, g := range s.Groups {
		line.Groups = append(line.Groups, groupLine{g.Cause, g.Comm, g.Remote, g.NetNS, g.Count, g.First, g.Last, milliseconds(g.Median)})
	}
	return line
}

func encodeShares(shares []share) []shareLine {
	var lines []shareLine
	for _, s := range shares {
		lines = append(lines, shareLine(s))
	}
	return lines
}

// byKindName makes the keys what JSON wants them to be.
func byKindName[V any](m map[event.Kind]V) map[string]V {
	named := make(map[string]V, len(m))
	for kind, v := range m {
		named[kind.String()] = v
	}
	return named
}
