package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"tcptrace/tracer/event"
	"tcptrace/tracer/sockets"
	"tcptrace/tracer/verdict"
)

// maxLine bounds a line of a recording: a verdict with many doubts has some kilobytes.
const maxLine = 1 << 20

// errCutShort says that a recording ends within a line, as that of a run that was killed does.
var errCutShort = errors.New("the recording ends within a line")

// recordingReader reads a recording line by line.
type recordingReader struct {
	lines  *bufio.Reader
	number int // of the line read last, from 1
}

func newRecordingReader(r io.Reader) *recordingReader {
	return &recordingReader{lines: bufio.NewReaderSize(r, maxLine)}
}

// next gives what the next line says: a meta, outlook, *event.Event, *event.Probe, *event.Resolution, lost, answer, told,
// stop or summaryLine, what parsers has for other subjects, or an unknownLine. The end is io.EOF, or errCutShort where the
// last line is not whole.
func (r *recordingReader) next() (any, error) {
	text, err := r.lines.ReadSlice('\n')
	r.number++
	switch {
	case errors.Is(err, bufio.ErrBufferFull):
		return nil, fmt.Errorf("line %d is longer than %d bytes", r.number, maxLine)
	case err == io.EOF && len(text) == 0:
		return nil, io.EOF
	case err != nil && err != io.EOF:
		return nil, err
	}
	line, parseErr := parseLine(text)
	if parseErr != nil {
		if err == io.EOF {
			return nil, errCutShort
		}
		return nil, fmt.Errorf("line %d: %w", r.number, parseErr)
	}
	return line, nil
}

// unknownLine is a line of a type that says nothing about connections, or that is newer than this program.
type unknownLine string

// parseLine reads one line of the stream.
func parseLine(text []byte) (any, error) {
	var line struct {
		Type string `json:"type"`
	}
	if err := json.Unmarshal(text, &line); err != nil {
		return nil, jsonError(err)
	}
	if line.Type == "" {
		return nil, errors.New(`it has no "type"`)
	}
	parse, ok := parsers[line.Type]
	if !ok {
		return unknownLine(line.Type), nil
	}
	parsed, err := parse(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", line.Type, jsonError(err))
	}
	return parsed, nil
}

// jsonError says what is wrong with a line without the words of Go.
func jsonError(err error) error {
	if syntax, ok := errors.AsType[*json.SyntaxError](err); ok {
		return fmt.Errorf("it is not JSON: %w", syntax)
	}
	if kind, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		return fmt.Errorf("%q cannot be a %s", kind.Field, kind.Value)
	}
	return err
}

// parsers has a row for every type of line that a replay needs.
var parsers = map[string]func([]byte) (any, error){
	typeMeta:       parseMeta,
	typeOutlook:    parseOutlook,
	typeEvent:      parseInto[event.Event],
	typeProbe:      parseInto[event.Probe],
	typeResolution: parseInto[event.Resolution],
	typeLost:       parseLost,
	typeHost:       parseHost,
	typeVerdict:    parseTold,
	typeSettled:    parseTold,
	typeStop:       parseStop,
	typeSummary:    parseSummary,
	typePath:       parseJourney,
	typeHop:        parseHop,
	typeTarget:     parseTarget,
	typeSocket:     parseInto[sockets.Judged],
	typeState:      parseInto[stateLine],
	typeRound:      parseScanSummary,
	typeCounter:    parseInto[counterLine],
	typeRatio:      parseInto[ratioLine],
	typeStation:    parseInto[stationLine],
	typeInterval:   parseInto[intervalLine],
	typeTotal:      parseInto[totalLine],
	typeListener:   parseListener,
	typeMore:       parseMore,
	typeStep:       parseInto[stepLine],
	typeEnd:        parseInto[endLine],
	typeHook:       parseInto[hookLine],
	typeLab:        parseInto[labLine],
}

func parseInto[T any](text []byte) (any, error) {
	v := new(T)
	err := json.Unmarshal(text, v)
	return v, err
}

func parseMeta(text []byte) (any, error) {
	var line metaLine
	if err := json.Unmarshal(text, &line); err != nil {
		return nil, err
	}
	switch {
	case line.Schema == 0:
		return nil, errors.New(`it has no "schema"`)
	case line.Schema > schema:
		return nil, fmt.Errorf("the recording has schema %d, and this tcptrace reads %d: use a newer one", line.Schema, schema)
	case !slices.Contains(replayable, line.Subject):
		return nil, fmt.Errorf("nothing is known about the subject %q", line.Subject)
	}
	hooks, err := byKind(line.Hooks)
	if err != nil {
		return nil, err
	}
	costs, err := byKind(line.Costs)
	if err != nil {
		return nil, err
	}
	return meta{
		Version:  line.Version,
		Kernel:   line.Kernel,
		Hostname: line.Hostname,
		Command:  line.Command,
		Started:  line.Started,
		HZ:       line.HZ,
		Subject:  line.Subject,
		Hooks:    hooks,
		Costs:    costs,
		Untraced: line.Untraced,
		Timeout:  fromMilliseconds(line.TimeoutMS),
		Single:   line.Single,
		Held:     line.Held,
		Interval: fromMilliseconds(line.Interval),
		All:      line.All,
		Follow:   line.Follow,
	}, nil
}

func byKind(named map[string]string) (map[event.Kind]string, error) {
	m := make(map[event.Kind]string, len(named))
	for name, v := range named {
		kind, err := event.ParseKind(name)
		if err != nil {
			return nil, err
		}
		m[kind] = v
	}
	return m, nil
}

func parseLost(text []byte) (any, error) {
	var line lostLine
	if err := json.Unmarshal(text, &line); err != nil {
		return nil, err
	}
	l := lost{CPU: -1, Count: line.Count}
	if line.CPU != nil {
		l.CPU = *line.CPU
	}
	if line.Kind != "" {
		var err error
		if l.Kind, err = event.ParseKind(line.Kind); err != nil {
			return nil, err
		}
	}
	return l, nil
}

func parseHost(text []byte) (any, error) {
	var line hostLine
	if err := json.Unmarshal(text, &line); err != nil {
		return nil, err
	}
	a := answer{about: answerKey{cookie: line.Cookie}, host: verdict.Host{Somaxconn: line.Somaxconn, XDP: line.XDP}}
	if line.Conn != nil {
		a.about.conn = *line.Conn
	}
	if r := line.Route; r != nil {
		a.host.Route = &verdict.Route{Device: r.Device, Gateway: r.Gateway, SourceGone: r.SourceGone}
		if r.Errno != nil {
			a.host.Route.Errno = *r.Errno
		}
	}
	a.host.Neighbour = (*verdict.Neighbour)(line.Neighbour)
	a.host.Link = (*verdict.Link)(line.Link)
	a.host.Ports = (*verdict.Ports)(line.Ports)
	a.host.Conntrack = (*verdict.Conntrack)(line.Conntrack)
	a.host.NFQueue = (*verdict.NFQueue)(line.NFQueue)
	a.host.Backlog = (*verdict.Backlog)(line.Backlog)
	return a, nil
}

// parseTold reads when a verdict was given, or stories ended without one. The verdict itself a replay finds anew.
func parseTold(text []byte) (any, error) {
	var line settledLine
	err := json.Unmarshal(text, &line)
	return told{at: time.Duration(line.MonoNS)}, err
}

func parseStop(text []byte) (any, error) {
	var line stopLine
	err := json.Unmarshal(text, &line)
	return stop{Mono: time.Duration(line.MonoNS), Interrupted: line.Interrupted}, err
}

func parseSummary(text []byte) (any, error) {
	if isScanSummary(text) {
		return parseScanSummary(text)
	}
	if isSocketsSummary(text) {
		return parseInto[socketsSummaryLine](text)
	}
	if isCountersSummary(text) {
		return parseInto[countersSummaryLine](text)
	}
	if isListenersSummary(text) {
		return parseInto[listenersSummaryLine](text)
	}
	if hasRefused(text) {
		return parseFollowSummary(text)
	}
	var line summaryLine
	err := json.Unmarshal(text, &line)
	return line, err
}
