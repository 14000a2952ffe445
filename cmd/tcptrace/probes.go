package main

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"tcptrace/tracer/event"
	"tcptrace/tracer/timeline"
	"tcptrace/tracer/verdict"
)

// probeJoin brings together the two views of one probe, its own and the kernel's, by the socket's cookie.
type probeJoin struct {
	conns   map[uint64]*timeline.Connection
	told    map[uint64]bool // the kernel's view is complete
	judged  map[uint64]bool // the verdict was given: what the kernel still tells is too late
	waiting []*event.Probe  // in the order in which they ended
}

func newProbeJoin() probeJoin {
	return probeJoin{conns: make(map[uint64]*timeline.Connection), told: make(map[uint64]bool), judged: make(map[uint64]bool)}
}

// note remembers a connection by its cookie. The far end of a probe has another cookie, so it is never found.
func (j *probeJoin) note(c *timeline.Connection) {
	if c.Cookie != 0 && !c.Told() && !j.judged[c.Cookie] {
		j.conns[c.Cookie] = c
	}
}

// settled says whether c may be of a probe, whose verdict it then waits for.
func (j *probeJoin) settled(c *timeline.Connection) bool {
	if c.Cookie == 0 || c.Role == event.RoleServer || c.Role == event.RoleListener {
		delete(j.conns, c.Cookie)
		return false
	}
	j.told[c.Cookie] = true
	return true
}

func (j *probeJoin) wait(p *event.Probe) { j.waiting = append(j.waiting, p) }

// connection is the kernel's view of a probe, nil if it saw nothing.
func (j *probeJoin) connection(p *event.Probe) *timeline.Connection { return j.conns[p.Cookie] }

// ripe takes out the probes whose verdict waits for nothing at the time now.
func (j *probeJoin) ripe(now time.Duration) []*event.Probe {
	var ripe, waiting []*event.Probe
	for _, p := range j.waiting {
		if j.told[p.Cookie] || now >= p.StartedMono+p.Lifetime+probeGrace {
			ripe = append(ripe, p)
		} else {
			waiting = append(waiting, p)
		}
	}
	j.waiting = waiting
	return ripe
}

func (j *probeJoin) waits() bool { return len(j.waiting) > 0 }

// rest takes out all that wait.
func (j *probeJoin) rest() []*event.Probe {
	rest := j.waiting
	j.waiting = nil
	return rest
}

// orphans are the clients that no probe came to claim, in the order in which they began.
func (j *probeJoin) orphans() []*timeline.Connection {
	orphans := slices.Collect(maps.Values(j.conns))
	orphans = slices.DeleteFunc(orphans, func(c *timeline.Connection) bool { return c.Role != event.RoleClient })
	slices.SortFunc(orphans, func(a, b *timeline.Connection) int {
		return cmp.Or(cmp.Compare(a.Started(), b.Started()), cmp.Compare(a.ID, b.ID))
	})
	return orphans
}

func (j *probeJoin) forget(p *event.Probe) {
	delete(j.conns, p.Cookie)
	delete(j.told, p.Cookie)
	j.judged[p.Cookie] = true
}

// nameBook collects the verdicts about the addresses of each name, run by run.
type nameBook struct {
	resolutions map[string]*event.Resolution // by target: the latest
	verdicts    map[nameRun][]verdict.Verdict
	one         bool // the first address that connects is the only one that counts
}

type nameRun struct {
	target string
	run    int
}

func newNameBook(one bool) nameBook {
	return nameBook{resolutions: make(map[string]*event.Resolution), verdicts: make(map[nameRun][]verdict.Verdict), one: one}
}

// open enters a resolution. It is false when there is no address whose verdict could follow.
func (b *nameBook) open(r *event.Resolution) bool {
	b.resolutions[r.Target] = r
	return r.Err == "" && len(r.Addresses) > 0
}

// add enters the verdict about one address. The resolution is nil where the address is all there is, or counts, of the
// name; otherwise last says that this was the last of the run, with all its verdicts.
func (b *nameBook) add(p *event.Probe, v verdict.Verdict) (r *event.Resolution, all []verdict.Verdict, last bool) {
	r = b.resolutions[p.Target]
	if r == nil || len(r.Addresses) < 2 || b.one && p.Connected {
		return nil, nil, false
	}
	run := nameRun{p.Target, p.Run}
	all = append(b.verdicts[run], v)
	if len(all) < len(r.Addresses) {
		b.verdicts[run] = all
		return r, nil, false
	}
	delete(b.verdicts, run)
	return r, all, true
}
