package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"tcptrace/prober"
	"tcptrace/prober/lab"
	"tcptrace/tracer/verdict"
)

// labCommand is what the flags of lab say.
type labCommand struct {
	sessionFlags
	kernel  kernelFlags
	explain bool
}

func newLabCommand(a *app) *cobra.Command {
	var c labCommand
	cmd := &cobra.Command{
		Use:   "lab [flags] [NAME]",
		Short: "Reproduce one failure in throw-away network namespaces, trace it and explain it",
		Long: `Build network namespaces, break one thing in them, connect, trace that and explain it. Nothing of it touches this
host's own network, and nothing is left of it, even when it is killed. Without NAME, list the labs.`,
		Example: `  tcptrace lab
  tcptrace lab no-answer --explain
  sudo tcptrace lab no-answer`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 1 {
				return usageErrorf("%s takes one NAME, but %q follows it; `tcptrace selftest` runs all labs", cmd.CommandPath(), args[1])
			}
			return nil
		},
		ValidArgs: labNames(),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return a.listLabs(&c.output)
			}
			l, err := lab.Find(args[0])
			if err != nil {
				return usageErrorf("%w", noSuchName("lab", args[0], labNames()))
			}
			if c.explain {
				return a.explainLab(l, &c.output)
			}
			return c.run(cmd.Context(), a, l)
		},
	}
	c.output.addTo(cmd)
	c.detail.addTo(cmd)
	cmd.Flags().Var(newValue(&c.trace.Record, "FILE", nonEmpty("a file name")), "record", "also write the JSON stream to FILE, whatever is printed")
	cmd.Flags().BoolVar(&c.explain, "explain", false, "say what the lab does, step by step, instead of running it")
	c.kernel.addTo(cmd)
	cmd.AddCommand(newLabScanCommand(a))
	return cmd
}

func labNames() []string {
	var names []string
	for _, l := range lab.Labs() {
		names = append(names, l.Name)
	}
	return names
}

// labLine is one lab as JSON, when labs are listed or run. Of one that was not run, Cause and OK are absent, and NotRun
// says why if it was to be.
type labLine struct {
	Type     string   `json:"type"`
	Name     string   `json:"name"`
	Summary  string   `json:"summary,omitempty"`
	Steps    []string `json:"steps,omitempty"`
	Needs    string   `json:"needs,omitempty"`
	Expected string   `json:"expected"`
	NotRun   string   `json:"not_run,omitempty"`
	Cause    string   `json:"cause,omitempty"`
	OK       *bool    `json:"ok,omitempty"`
	Degraded bool     `json:"degraded,omitempty"`
	Seconds  float64  `json:"seconds,omitempty"`
	Try      int      `json:"try,omitempty"`   // by selftest, if it was not the first
	Said     []string `json:"said,omitempty"`  // when that was wrong: the verdicts with their doubts
	Error    string   `json:"error,omitempty"` // why it came to no end
	Of       int      `json:"of,omitempty"`    // labs that were to be run together

	Hooks []hookLine `json:"hooks,omitempty"` // of the trace that watched them all; the first line has them
}

const typeLab = "lab"

func (a *app) listLabs(output *outputFlags) error {
	for _, l := range lab.Labs() {
		a.tellLab(&labLine{Type: typeLab, Name: l.Name, Summary: l.Summary, Needs: l.Needs, Expected: l.Expect}, output)
	}
	return nil
}

func (a *app) explainLab(l lab.Lab, output *outputFlags) error {
	line := labLine{Type: typeLab, Name: l.Name, Summary: l.Summary, Steps: l.Steps, Needs: l.Needs, Expected: l.Expect}
	a.tellLab(&line, output)
	return nil
}

// tellLab writes a lab that is not run: all of one that has its steps, and of another one what it is about.
func (a *app) tellLab(l *labLine, output *outputFlags) {
	switch {
	case output.Format == formatJSON:
		a.printLine(l)
	case len(l.Steps) == 0:
		fmt.Fprintf(a.stdout, "%-35s %s\n", escape(l.Name), escape(l.Summary))
	default:
		a.printSteps(l)
	}
}

func (a *app) printSteps(l *labLine) {
	fmt.Fprintf(a.stdout, "%s: %s\n", escape(l.Name), escape(l.Summary))
	for i, step := range l.Steps {
		for j, line := range wrap(escape(step), textWidth-5) {
			lead := "     "
			if j == 0 {
				lead = fmt.Sprintf("%3d. ", i+1)
			}
			fmt.Fprintln(a.stdout, lead+line)
		}
	}
	if l.Needs != "" {
		fmt.Fprintf(a.stdout, "It needs %s.\n", escape(l.Needs))
	}
	fmt.Fprintf(a.stdout, "The verdict should be %s. Run it: sudo tcptrace lab %s\n", escape(l.Expected), escape(l.Name))
}

// run builds the lab and probes it as connect would.
func (c *labCommand) run(ctx context.Context, a *app, l lab.Lab) (err error) {
	rec, err := c.trace.openRecorder()
	if err != nil {
		return err
	}
	if rec != nil {
		defer func() { err = errors.Join(err, rec.Close()) }()
	}
	tr, err := openTracer(&c.kernel, probeTrace(c.detail.Verbose))
	if err != nil {
		return err
	}
	defer tr.Close()
	network, scene, err := lab.Build(ctx, l)
	if err != nil {
		return noTraceErrorf("build the lab %s: %w", l.Name, err)
	}
	defer network.Close()
	m := a.describeRun()
	plan, err := planLab(scene, &m)
	if err != nil {
		return err
	}
	describeTrace(&m, tr)
	a.noticeTrouble(tr)

	judged := judgeOf(l, tr.TellsDropReasons())
	s := a.openSession(m, &c.sessionFlags, rec)
	s.ask = labOracle(network, scene).ask
	s.sinks = append(s.sinks, &judged)
	if c.output.Format == formatText && !c.detail.Quiet {
		fmt.Fprintf(a.stdout, "lab %s: %s\n", l.Name, l.Summary)
	}
	interrupted := func() bool { return ctx.Err() != nil }
	if _, err := runProbes(ctx, tr, s, plan, interrupted); err != nil {
		return err
	}
	if interrupted() {
		return exitStatus(exitFailed)
	}
	return judged.report(a, l, c.output.Format == formatText && !c.detail.Quiet)
}

// report says whether the lab ended as expected, when that is not so or when people want to read it.
func (j *judge) report(a *app, l lab.Lab, aloud bool) error {
	if !j.ok() {
		return &exitError{status: exitFailed, err: fmt.Errorf("the lab %s should be judged %s, not %s", l.Name, l.Expect, j.said())}
	}
	if aloud {
		fmt.Fprintf(a.stdout, "  as expected%s: %s\n", j.proviso(), j.said())
	}
	return nil
}

// planLab plans what happens in a scene, and says in m what the verdicts are about.
func planLab(scene *lab.Scene, m *meta) (runner, error) {
	if scene.Act != nil {
		m.Subject = aboutConnections
		return acting(scene.Act), nil
	}
	targets, err := parseTargets(scene.Targets, scene.Options.Interface)
	if err != nil {
		return nil, err
	}
	m.Subject, m.Timeout = aboutProbes, scene.Options.Timeout
	m.Single = len(targets) == 1 && targets[0].isLiteral() && !scene.Crowded
	return &probing{
		targets:  targets,
		options:  scene.Options,
		race:     scene.Race,
		resolver: prober.Resolver{NetNS: scene.Client.NetNS(), Server: scene.DNS},
		repeat:   repeatFlags{Count: 1},
	}, nil
}

// labOracle asks about what happens in a lab. Nobody else can enter its network namespaces: they have no names, and no
// process lives there.
func labOracle(network *lab.Network, scene *lab.Scene) *oracle {
	o := newOracle(scene.Client.NetNS())
	o.known = make(map[uint32]*prober.NetNS)
	for _, h := range network.Hosts() {
		o.known[h.Inode()] = h.NetNS()
	}
	return o
}

// judge is a sink that compares the final verdicts with the expected cause.
type judge struct {
	silent
	expect   string
	instead  string   // what will do as well, with doubts, for want of drop reasons; empty where nothing is wanting
	beside   []string // causes that other connections may have
	causes   []verdict.Cause
	sayings  []string // the verdicts in words
	degraded bool     // a verdict had doubts
}

// judgeOf expects of a lab what can be told on a kernel that gives reasons for its drops, or on one that does not.
func judgeOf(l lab.Lab, reasons bool) judge {
	j := judge{expect: l.Expect, beside: l.Beside}
	if !reasons {
		j.instead = l.Blindly
	}
	return j
}

func (j *judge) Verdict(v verdict.Verdict, about told) {
	if about.final {
		j.causes = append(j.causes, v.Cause)
		j.sayings = append(j.sayings, strings.Join(append([]string{v.Summary}, v.Doubts...), "; "))
		j.degraded = j.degraded || len(v.Doubts) > 0
	}
}

func (j *judge) ok() bool {
	found := false
	for _, cause := range j.causes {
		if string(cause) == j.expect || j.degraded && string(cause) == j.instead {
			found = true
		} else if !slices.Contains(j.beside, string(cause)) {
			return false
		}
	}
	return found
}

// proviso says why another cause than the lab's own is right here.
func (j *judge) proviso() string {
	if j.instead == "" || !slices.Contains(j.causes, verdict.Cause(j.instead)) {
		return ""
	}
	return " on a kernel that gives no reasons for drops, where " + j.expect + " cannot be told"
}

func (j *judge) said() string {
	if len(j.causes) == 0 {
		return "nothing"
	}
	var words []string
	for _, cause := range j.causes {
		words = append(words, string(cause))
	}
	return strings.Join(words, ", ")
}
