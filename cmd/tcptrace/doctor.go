package main

import (
	"errors"
	"fmt"
	"runtime"
	"strings"

	"github.com/spf13/cobra"

	"tcptrace/tracer"
	"tcptrace/tracer/host"
)

// doctorCommand is what the flags of doctor say.
type doctorCommand struct {
	output outputFlags
	kernel kernelFlags
}

func newDoctorCommand(a *app) *cobra.Command {
	var c doctorCommand
	cmd := &cobra.Command{
		Use:   "doctor [flags]",
		Short: "Say what can be traced on this kernel, by which mechanism, and what is missing",
		Long: `Attach every hook, say which mechanism each one got and why not a better one, and what users lose by a hook that
cannot be had. The exit status is 3 when nothing can be traced.`,
		Example: `  sudo tcptrace doctor
  sudo TCPTRACE_MECHANISMS=tracepoint tcptrace doctor   # as if the kernel had nothing else`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, args []string) error { return c.run(a) },
	}
	c.output.addTo(cmd)
	c.kernel.addTo(cmd)
	return cmd
}

// A finding is a fact about this host that decides what can be traced.
type finding struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

func (c *doctorCommand) run(a *app) error {
	d := diagnosis{app: a, paint: c.output.painter(a.stdout), format: c.output.Format}
	basis := tracer.NewBasis(c.kernel.BTF)
	for _, f := range findings(basis) {
		d.finding(f)
	}
	tr, err := openTracer(&c.kernel, tracer.Options{Packets: true, FollowForks: true, Basis: basis})
	if nothing, ok := errors.AsType[*tracer.NothingError](err); ok {
		d.hooks(encodeHooks(nothing.Hooks))
		return noTraceErrorf("this kernel lets no program see its TCP connections")
	}
	if err != nil {
		return err
	}
	defer tr.Close()
	d.finding(finding{"timers", fmt.Sprintf("%d ticks a second", tr.HZ())})
	d.finding(finding{"TTLs", describeTTL(tr.TTL())})
	d.hooks(encodeHooks(tr.Hooks()))
	a.noticeTrouble(tr)
	return nil
}

// findings are facts that need no privilege.
func findings(basis *tracer.Basis) []finding {
	release, err := host.Release()
	if err != nil {
		release = err.Error()
	}
	cgroups, err := host.CgroupRoot()
	if errors.Is(err, host.ErrNoCgroup2) {
		cgroups = err.Error() + ": --cgroup and --container cannot be used"
	} else if err != nil {
		cgroups = err.Error()
	} else {
		cgroups = host.DescribeCgroupRoot(cgroups)
	}
	return []finding{
		{"kernel", release + " " + runtime.GOARCH},
		{"types", basis.DescribeTypes()},
		{"privilege", tracer.DescribePrivilege()},
		{"cgroups", cgroups},
	}
}

// describeTTL says how it is seen with which time to live resets and handshakes come.
func describeTTL(seen tracer.Hook) string {
	if seen.Mechanism == "" {
		return "not seen: " + seen.Missing
	}
	return "of resets and handshakes, seen by " + strings.Join(seen.Programs, ", ")
}

const typeHook = "hook"

// hookLine is one hook as JSON. The first has what was found about the host.
type hookLine struct {
	Type      string   `json:"type"`
	Kind      string   `json:"kind"`
	Mechanism string   `json:"mechanism,omitempty"`
	Programs  []string `json:"programs,omitempty"`
	Partial   string   `json:"partial,omitempty"`
	Refused   []string `json:"refused,omitempty"`
	Missing   string   `json:"missing,omitempty"`

	Host []finding `json:"host,omitempty"`
}

func encodeHooks(hooks []tracer.Hook) []hookLine {
	lines := make([]hookLine, 0, len(hooks))
	for _, h := range hooks {
		lines = append(lines, hookLine{
			Type: typeHook, Kind: h.Kind.String(), Mechanism: string(h.Mechanism), Programs: h.Programs, Partial: h.Partial,
			Refused: h.Refused, Missing: h.Missing,
		})
	}
	return lines
}

// diagnosis says hooks, one after the other.
type diagnosis struct {
	app    *app
	paint  painter
	format format
	host   []finding // that the first line of JSON is to have
}

// finding says it to people at once, for what follows may take a while.
func (d *diagnosis) finding(f finding) {
	if d.format == formatJSON {
		d.host = append(d.host, f)
		return
	}
	fmt.Fprintf(d.app.stdout, "%-10s %s\n", escape(f.Name), escape(f.Value))
}

// hooks says them all, and how many of them see something, which it gives.
func (d *diagnosis) hooks(all []hookLine) (seen int) {
	say := d.text
	if d.format == formatJSON {
		say = d.line
	} else {
		fmt.Fprintf(d.app.stdout, "\n%-18s %-11s %s\n", "event", "seen by", "programs")
	}
	for _, h := range all {
		say(h)
		if h.Mechanism != "" {
			seen++
		}
	}
	if d.format == formatText {
		fmt.Fprintf(d.app.stdout, "\n%d of %d kinds of events can be seen on this kernel\n", seen, len(all))
	}
	return seen
}

func (d *diagnosis) line(h hookLine) {
	h.Host, d.host = d.host, nil
	d.app.printLine(h)
}

func (d *diagnosis) text(h hookLine) {
	mechanism, tone := escape(h.Mechanism), good
	if mechanism == "" {
		mechanism, tone = "not seen", bad
	} else if h.Partial != "" {
		tone = warning
	}
	fmt.Fprintf(d.app.stdout, "%-18s %s %s\n", escape(h.Kind), d.paint.paint(tone, fmt.Sprintf("%-11s", mechanism)),
		escape(strings.Join(h.Programs, ", ")))
	for _, refusal := range h.Refused {
		d.note("not by " + refusal)
	}
	for _, cost := range []string{h.Partial, h.Missing} {
		if cost != "" {
			d.note("so " + cost)
		}
	}
}

func (d *diagnosis) note(text string) {
	for i, line := range wrap(escape(text), textWidth-21) {
		lead := "                     "
		if i == 0 {
			lead = "                   - "
		}
		fmt.Fprintln(d.app.stdout, lead+d.paint.paint(faint, line))
	}
}
