package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"tcptrace/tracer/event"
)

func newReplayCommand(a *app) *cobra.Command {
	var output outputFlags
	var detail detailFlags
	cmd := &cobra.Command{
		Use:   "replay FILE",
		Short: "Read a recording and print it as text",
		Long: `Read a recording, made by --record or -o json, and print it as the run that made it did: the verdicts are computed
anew from what it saw. The exit status is that of the recorded run. FILE may be - for standard input. All commands'
recordings can be replayed but those of keepalive --find-idle-limit.`,
		Example: `  tcptrace replay trace.json
  tcptrace replay -v trace.json
  tcptrace counters --path -o json > before.json; tcptrace replay before.json
  ssh host tcptrace connect -o json 192.0.2.10:443 | tcptrace replay -`,
		Args: oneArgument("the FILE of a recording"),
		RunE: func(cmd *cobra.Command, args []string) error {
			file, err := openRecording(a.stdin, args[0])
			if err != nil {
				return err
			}
			defer file.Close()
			r := replay{
				lines:  newRecordingReader(file),
				out:    a.printer(&output, &detail, &filterFlags{}, true),
				paths:  pathReplay{printer: func(m meta) pathSink { return a.pathPrinter(m, &output, &detail) }},
				others: func(first any) otherReplay { return a.otherReplay(first, &output, &detail) },
			}
			status, err := r.run(cmd.Context())
			if errors.Is(err, errCutShort) {
				a.notice("%q ends within a line: this is what there is of it", args[0])
				err = nil
			}
			if err != nil {
				return usageErrorf("replay %q: %w", args[0], withoutPath(err))
			}
			return exitStatus(status)
		},
	}
	output.addTo(cmd)
	detail.addTo(cmd)
	return cmd
}

// openRecording opens the file of that name; "-" is stdin.
func openRecording(stdin io.Reader, name string) (io.ReadCloser, error) {
	if name == "-" {
		return io.NopCloser(stdin), nil
	}
	file, err := os.Open(name)
	if err != nil {
		return nil, usageErrorf("replay %q: %w", name, withoutPath(err))
	}
	return file, nil
}

// replay hands a session what a recording says, in the order in which the recorded one got it.
type replay struct {
	lines *recordingReader
	out   sink
	paths pathReplay
	// others makes what takes a recording that is about no connections and probes, by its first line; it gives nil for one
	// that is.
	others func(any) otherReplay

	begun   bool
	other   otherReplay   // of a recording that is about no connections and probes
	session *session      // nil: not begun, or about paths or another alone
	now     time.Duration // CLOCK_MONOTONIC of the recorded host
	sum     *summary
	status  *int // of the recorded run
}

// otherReplay takes the lines of a recording that needs no session, but for the meta.
type otherReplay interface {
	handle(line any, number int) error
	// finish ends the replay, of a recording that may have been cut short, and gives the exit status.
	finish() int
}

// otherReplay gives what prints a recording that begins with that line as the flags want it, nil if a session does.
func (a *app) otherReplay(first any, output *outputFlags, detail *detailFlags) otherReplay {
	switch first := first.(type) {
	case meta:
		return a.subjectReplay(first, output, detail)
	case *stepLine:
		return newPredictionReplay(a, output)
	case *labLine:
		return newLabsReplay(a, output)
	case *hookLine:
		return &doctorReplay{out: diagnosis{app: a, paint: output.painter(a.stdout), format: output.Format}}
	}
	return nil
}

// subjectReplay does so by what the recording is about.
func (a *app) subjectReplay(m meta, output *outputFlags, detail *detailFlags) otherReplay {
	paint := output.painter(a.stdout)
	switch m.Subject {
	case aboutTargets:
		return newScanReplay(m, a.scanPrinter(output, detail))
	case aboutSockets:
		return &socketsReplay{meta: m, out: newSocketsPrinter(a.stdout, paint, output, detail)}
	case aboutCounters:
		return &countersReplay{meta: m, out: newCountersPrinter(a.stdout, paint, output, detail, m.All)}
	case aboutListeners:
		if m.Follow {
			return &followReplay{meta: m, out: a.replayedFollow(paint, output, detail)}
		}
		return &listenersReplay{meta: m, out: newListenersPrinter(a.stdout, paint, output, detail, m.All)}
	}
	return nil
}

// errAnother says that a recording has a second one behind it.
func errAnother(number int) error {
	return fmt.Errorf("line %d: another recording begins here: replay them one by one", number)
}

// run replays until the end, or until ctx ends, and gives the exit status of the recorded run; of one that was cut
// short, that of what it saw.
func (r *replay) run(ctx context.Context) (int, error) {
	var err error
	for ctx.Err() == nil && err == nil {
		var line any
		if line, err = r.lines.next(); err == nil {
			err = r.handle(line)
		}
	}
	cutShort := errors.Is(err, errCutShort)
	switch {
	case err != nil && err != io.EOF && !cutShort:
		return 0, err
	case r.other != nil:
		status := r.other.finish()
		if !cutShort {
			err = nil
		}
		return status, err
	case !r.begun && ctx.Err() == nil:
		return 0, errors.New("there is nothing in it")
	case !r.begun:
		return 0, nil
	}
	switch {
	case r.session == nil:
		r.sum = r.paths.session.finish(true)
	case r.sum == nil:
		r.sum = r.session.finish(r.now, true)
	}
	if !cutShort {
		err = nil
	}
	if r.status != nil {
		return *r.status, err
	}
	return r.sum.ExitStatus, err
}

// handle takes one line.
func (r *replay) handle(line any) error {
	if r.other != nil {
		return r.other.handle(line, r.lines.number)
	}
	if !r.begun {
		return r.begin(line)
	}
	if end, ok := line.(summaryLine); ok {
		r.status = end.ExitStatus
	}
	if r.sum != nil {
		return nil // verdicts that followed the end: the session has given its own
	}
	if _, second := line.(meta); !second && (r.paths.handle(line) || r.session == nil) {
		return nil
	}
	switch line := line.(type) {
	case meta:
		return errAnother(r.lines.number)
	case outlook:
		r.session.handleOutlook(line)
	case *event.Event:
		r.now = max(r.now, line.Mono)
		r.session.handleOrdered(line)
	case *event.Probe:
		r.now = max(r.now, line.StartedMono+line.Lifetime)
		r.session.handleProbe(line)
	case *event.Resolution:
		r.session.handleResolution(line, r.now)
	case lost:
		r.session.handleLost(line)
	case answer:
		r.session.handleAnswer(line)
	case told:
		r.now = max(r.now, line.at)
		r.session.advance(line.at)
	case stop:
		r.now = max(r.now, line.Mono)
		r.sum = r.session.finish(line.Mono, line.Interrupted)
	}
	return nil
}

// unreplayable are the commands whose lines lack what their text says, by the types of those lines.
var unreplayable = map[unknownLine]string{
	typeIdle:      "keepalive --find-idle-limit",
	typeIdleLimit: "keepalive --find-idle-limit",
	typeVersion:   "version",
}

// begin takes the first line.
func (r *replay) begin(line any) error {
	if r.others != nil {
		r.other = r.others(line)
	}
	m, ok := line.(meta)
	if !ok && r.other != nil {
		return r.other.handle(line, r.lines.number)
	}
	if unknown, ok := line.(unknownLine); ok && unreplayable[unknown] != "" {
		return fmt.Errorf("line %d: what `tcptrace %s` writes cannot be replayed", r.lines.number, unreplayable[unknown])
	}
	if !ok {
		return fmt.Errorf("line %d: a recording begins with a line of type %q: this is none that can be replayed", r.lines.number, typeMeta)
	}
	r.begun, r.paths.meta = true, m
	if r.other != nil {
		return nil
	}
	if m.Subject == aboutPaths {
		r.paths.begin()
		return nil
	}
	r.session = newSession(m, nil, r.out)
	return nil
}
