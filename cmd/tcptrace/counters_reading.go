package main

import (
	"slices"
	"strings"
	"time"

	"github.com/agnivade/levenshtein"

	"tcptrace/tracer/host/counters"
)

// countersReading is what was read at one time, as far as it was asked for.
type countersReading struct {
	at      time.Time
	elapsed time.Duration   // since the beginning
	over    time.Duration   // of the changes; 0: there is nothing to compare with
	values  counters.Values // nil: it is replayed
	count   int             // of all counters
	shown   []countedValue
	ratios  []computedRatio // of the changes, or of the values where there are none
	zero    int             // counters that were not shown, as they are 0
	gone    []counters.Gone // that were asked for
	walk    *packetWalk     // nil: it was not asked for
	asked   func(counters.Key) bool
	always  bool // counters that are 0, or do not change, are shown too
}

// countedValue is a counter with its value.
type countedValue struct {
	counters.Info
	Value  int64
	Change int64 // over the reading's time
}

// reading chooses what the flags and names ask for.
func (c *countersCommand) reading(values counters.Values) *countersReading {
	r := &countersReading{values: values, count: len(values), asked: c.asked, always: c.All || len(c.names) > 0}
	for _, info := range counters.Sorted(values) {
		switch value := values[info.Key]; {
		case !c.asked(info.Key):
		case r.always, value != 0 && !info.Constant():
			r.shown = append(r.shown, countedValue{Info: info, Value: value})
		case value == 0:
			r.zero++
		}
	}
	for _, g := range counters.AllGone() {
		if _, back := values[g.Key]; !back && r.always && c.asked(g.Key) {
			r.gone = append(r.gone, g)
		}
	}
	r.ratios = computeRatios(values, c.asked)
	return r
}

// asked says whether a counter is of the families and names that the user wants.
func (c *countersCommand) asked(key counters.Key) bool {
	if c.scope.Only4 && key.IPv6() || c.scope.Only6 && key.IPv4() {
		return false
	}
	return len(c.names) == 0 || slices.ContainsFunc(c.names, key.Matches)
}

// check refuses names that nothing has.
func (r *countersReading) check(c *countersCommand) error {
	keys := r.keys()
	for _, name := range c.names {
		if !slices.ContainsFunc(keys, func(key counters.Key) bool { return key.Matches(name) }) {
			return noSuchCounter(name, keys)
		}
	}
	return nil
}

// keys are all counters that can be named: those that the kernel has, those that the tables know, and those that are gone.
func (r *countersReading) keys() []counters.Key {
	keys := counters.Known()
	for key := range r.values {
		keys = append(keys, key)
	}
	for _, g := range counters.AllGone() {
		keys = append(keys, g.Key)
	}
	return keys
}

// noSuchCounter says that there is none of that name, and which the user may have meant.
func noSuchCounter(name string, known []counters.Key) error {
	near, distance := "", len(name)/3+1
	for _, key := range known {
		for _, spelling := range []string{key.String(), key.Name} {
			if d := levenshtein.ComputeDistance(strings.ToLower(name), strings.ToLower(spelling)); d < distance {
				near, distance = key.String(), d
			}
		}
	}
	if near != "" {
		return usageErrorf("there is no counter %q; did you mean %s?", name, near)
	}
	return usageErrorf("there is no counter %q; `tcptrace counters --all` lists them", name)
}

// since compares with an earlier reading.
func (r *countersReading) since(before *countersReading) {
	r.over = r.at.Sub(before.at)
	changes := make(counters.Values, len(r.values))
	for key := range r.values {
		changes[key] = counters.Change(key, before.values, r.values)
	}
	r.shown = nil
	for _, info := range counters.Sorted(r.values) {
		change := changes[info.Key]
		if r.asked(info.Key) && (r.always || change != 0) {
			r.shown = append(r.shown, countedValue{info, r.values[info.Key], change})
		}
	}
	r.ratios = computeRatios(changes, r.asked)
	if r.walk != nil {
		r.walk.since(before.walk)
	}
}

// rate is how much a counter grows in a second; it is false where that means nothing.
func (r *countersReading) rate(v *countedValue) (float64, bool) {
	if r.over <= 0 || v.Gauge() {
		return 0, false
	}
	return float64(v.Change) / r.over.Seconds(), true
}

// computedRatio is a ratio with its numbers.
type computedRatio struct {
	Name, Means string
	Formula     string // how it is made of counters
	Part, Whole int64
}

// computeRatios computes the ratios of values, as far as they are about counters that were asked for.
func computeRatios(values counters.Values, asked func(counters.Key) bool) []computedRatio {
	var computed []computedRatio
	for _, ratio := range counters.Ratios() {
		part, whole, ok := ratio.Compute(values)
		if ok && slices.ContainsFunc(ratio.Of, asked) {
			computed = append(computed, computedRatio{ratio.Name, ratio.Means, formula(&ratio), part, whole})
		}
	}
	return computed
}

// share is 0 of nothing, as a recording may have it.
func (c *computedRatio) share() float64 {
	if c.Whole == 0 {
		return 0
	}
	return float64(c.Part) / float64(c.Whole)
}

// formula is how a ratio is made of counters.
func formula(r *counters.Ratio) string {
	of := r.Of[0].String()
	for _, key := range r.Of[1:] {
		of += " + " + key.String()
	}
	for _, key := range r.Less {
		of += " - " + key.String()
	}
	among := r.Among[0].String()
	for _, key := range r.Among[1:] {
		among += " + " + key.String()
	}
	if len(r.Of)+len(r.Less) > 1 {
		of = "(" + of + ")"
	}
	if len(r.Among) > 1 {
		among = "(" + among + ")"
	}
	return of + " / " + among
}
