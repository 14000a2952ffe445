package main

import (
	"os"
	"strings"
	"time"

	"tcptrace/tracer/host"
)

// sessionFlags say how a live session is shown and kept.
type sessionFlags struct {
	output outputFlags
	detail detailFlags
	trace  traceFlags
	filter filterFlags // zero: everything
}

// describeRun begins a meta with what is known of this run and this host. What cannot be found out stays unknown.
func (a *app) describeRun() meta {
	m := meta{
		Version: thisBuild().Version,
		Command: strings.Join(append([]string{"tcptrace"}, a.args...), " "),
		Started: time.Now(),
	}
	m.Kernel, _ = host.Release()
	m.Hostname, _ = os.Hostname()
	m.HZ, _ = host.HZ()
	return m
}

// openRecorder makes the file of --record, nil without it. A command does so before anything else, so that it fails
// before anything has happened.
func (f *traceFlags) openRecorder() (*recording, error) {
	if f.Record == "" {
		return nil, nil
	}
	return createRecording(f.Record)
}

// openSession starts a live session that is printed, and kept in rec unless that is nil.
func (a *app) openSession(m meta, flags *sessionFlags, rec *recording) *session {
	sinks := []sink{a.printer(&flags.output, &flags.detail, &flags.filter, false)}
	if rec != nil {
		sinks = append(sinks, rec.sink(flags.detail.Verbose))
	}
	return newSession(m, flags.filter.shows, sinks...)
}

// printer is the sink that prints a session as these flags say.
func (a *app) printer(output *outputFlags, detail *detailFlags, filter *filterFlags, replayed bool) sink {
	var out sink
	switch output.Format {
	case formatJSON:
		out = newJSONRenderer(a.stdout, detail.Verbose)
	default:
		out = newTextRenderer(a.stdout, textConfig{
			Painter:  output.painter(a.stdout),
			Quiet:    detail.Quiet,
			Verbose:  detail.Verbose,
			Replayed: replayed,
		})
	}
	return newFiltered(out, filter, detail.Quiet, output.Format == formatText && !detail.Verbose)
}
