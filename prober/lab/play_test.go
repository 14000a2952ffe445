package lab

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"tcptrace/prober"
	"tcptrace/tracer/event"
)

// An expectation is how a lab should go, seen from user space.
type expectation interface {
	// counted is what its hosts' kernels must have counted.
	counted() []count
	// problems are what else is otherwise than it should be.
	problems(*played) []string
}

// played is a lab that was run, and what its hosts counted.
type played struct {
	lab      Lab
	name     string
	want     expectation
	network  *Network
	scene    *Scene
	probe    *event.Probe // nil where an application acted
	took     time.Duration
	counters map[string][]byte
	err      error
}

// toPlay are labs and their twins over IPv6, which each of them has if that is demanded.
func toPlay[E expectation](t *testing.T, labs []Lab, all map[string]E, twinsNeeded bool) (toPlay []*played) {
	t.Helper()
	for _, l := range labs {
		want, ok := all[l.Name]
		if !ok {
			t.Errorf("nobody says how %s goes", l.Name)
			continue
		}
		toPlay = append(toPlay, &played{lab: l, name: l.Name, want: want})
		twin, ok := l.IPv6()
		switch {
		case ok:
			toPlay = append(toPlay, &played{lab: twin, name: l.Name + " over IPv6", want: want})
		case twinsNeeded:
			t.Errorf("%s has no twin over IPv6", l.Name)
		}
	}
	return toPlay
}

// play runs labs side by side, so many at a time, for none may disturb another: each is a test of its own. What comes too late
// for the kernel's timers, or is told the time too late, makes another story than the lab's; alone, a lab must go as it says.
func play(t *testing.T, labs []*played, atATime int) {
	t.Helper()
	for crowd := range slices.Chunk(labs, atATime) {
		// As building keeps a machine busy, all of it is done before anybody's time is taken; and a machine that took long for
		// it is given as long for the rest.
		for _, do := range []func(*played, context.Context){(*played).build, (*played).run} {
			ctx := testContext(t)
			var running sync.WaitGroup
			for _, p := range crowd {
				running.Go(func() { do(p, ctx) })
			}
			running.Wait()
		}
	}
	for _, p := range labs {
		t.Run(p.name, func(t *testing.T) {
			skipIfNotHere(t, p.lab, p.err)
			problems := p.problems()
			if len(problems) > 0 {
				t.Logf("once more: %q", problems)
				p = &played{lab: p.lab, want: p.want}
				p.build(testContext(t))
				p.run(testContext(t))
				problems = p.problems()
			}
			for _, problem := range problems {
				t.Error(problem)
			}
			if p.probe != nil {
				t.Logf("%v after %v, %d segments sent again", p.probe.Errno, p.took, p.probe.TotalRetrans)
			}
		})
	}
}

func (p *played) build(ctx context.Context) { p.network, p.scene, p.err = Build(ctx, p.lab) }

// run does in a lab what it is for, and takes it down. What its hosts are to count may still be on the way when it ends.
func (p *played) run(ctx context.Context) {
	if p.err != nil {
		return
	}
	defer p.network.Close()
	if p.err = p.act(ctx); p.err != nil {
		return
	}
	for deadline := time.Now().Add(slack); ; time.Sleep(settlePause) {
		p.counters, p.err = readCounters(p.network)
		if p.err != nil || len(p.miscounted()) == 0 || time.Now().After(deadline) {
			return
		}
	}
}

func (p *played) act(ctx context.Context) error {
	started := time.Now()
	if p.scene.Act != nil {
		err := p.scene.Act(ctx)
		p.took = time.Since(started)
		return err
	}
	if len(p.scene.Targets) != 1 {
		return fmt.Errorf("targets %q, want one", p.scene.Targets)
	}
	remote, err := netip.ParseAddrPort(p.scene.Targets[0])
	if err != nil {
		return err
	}
	p.probe, err = prober.Connect(ctx, p.lab.Name, remote, p.scene.Options, nil)
	if err == nil {
		p.took = p.probe.Lifetime
	}
	return err
}

// problems are what is otherwise than the lab says.
func (p *played) problems() []string {
	if p.err != nil {
		return []string{p.err.Error()}
	}
	return append(p.miscounted(), p.want.problems(p)...)
}

func (p *played) miscounted() (wrong []string) {
	for _, c := range p.want.counted() {
		if !c.holds(p.counters) {
			wrong = append(wrong, fmt.Sprintf("%s of the %s is %q, want %d to %d",
				c.name, c.host, counter(p.counters[c.host], c.group, c.name), c.min, c.max))
		}
	}
	return wrong
}

// span is when something should have ended: not before the timers' own time, and after what else may be added only as late
// as a busy machine is.
func span(took, earliest, latest time.Duration) (problem []string) {
	if took < earliest || took > latest+slack {
		return []string{fmt.Sprintf("ended after %v, want %v to %v, or %v more on a busy machine", took, earliest, latest, slack)}
	}
	return nil
}

// sentAgain is how many segments should have been.
func sentAgain(p *event.Probe, least, most int) (problem []string) {
	if p.TotalRetrans < least || p.TotalRetrans > most {
		return []string{fmt.Sprintf("%d segments were sent again, want %d to %d", p.TotalRetrans, least, most)}
	}
	return nil
}
