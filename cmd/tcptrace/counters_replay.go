package main

import (
	"cmp"
	"strings"

	"tcptrace/tracer/host/counters"
)

// countersReplay prints what a recording says of counters, each reading once it is whole: its columns are as wide as what
// stands in them.
type countersReplay struct {
	meta    meta
	out     countersSink
	said    bool             // the meta
	reading *countersReading // that is being read; nil: none
	missing int              // lines of it
	last    *countersReading // the one before it
	total   *countersReading // what changed in all intervals together; nil: nothing was said of that
	ended   bool
}

// handle takes a line.
func (r *countersReplay) handle(line any, number int) error {
	r.begin()
	if _, second := line.(meta); second {
		return errAnother(number)
	}
	if r.ended {
		return nil
	}
	switch line := line.(type) {
	case *intervalLine:
		r.tell()
		r.reading = &countersReading{at: line.Time, elapsed: fromMilliseconds(line.ElapsedMS), over: fromMilliseconds(line.DurationMS)}
		if r.missing = line.Lines; r.missing <= 0 {
			r.tell()
		}
	case *counterLine, *ratioLine, *stationLine:
		r.add(line)
	case *totalLine:
		r.addTotal(line)
	case *countersSummaryLine:
		r.end(line)
	}
	return nil
}

func (r *countersReplay) begin() {
	if r.said {
		return
	}
	r.said = true
	r.out.meta(r.meta)
	if r.meta.Interval > 0 {
		r.out.begin(r.meta.Interval)
	}
	r.out.Flush()
}

func (r *countersReplay) add(line any) {
	if r.reading == nil {
		r.reading = new(countersReading)
	}
	r.reading.read(line)
	if r.missing--; r.missing == 0 {
		r.tell()
	}
}

func (r *countersReplay) addTotal(line *totalLine) {
	if r.total == nil {
		r.total = new(countersReading)
	}
	switch {
	case line.Counter != nil:
		r.total.read(line.Counter)
	case line.Ratio != nil:
		r.total.read(line.Ratio)
	case line.Station != nil:
		r.total.read(line.Station)
	}
}

// tell prints the reading, if there is one.
func (r *countersReplay) tell() {
	if r.reading == nil {
		return
	}
	r.last, r.reading = r.reading, nil
	if r.meta.Interval > 0 {
		r.out.change(r.last)
	} else {
		r.out.now(r.last)
	}
	r.out.Flush()
}

// end prints what the line says that it comes to.
func (r *countersReplay) end(line *countersSummaryLine) {
	if r.meta.Interval == 0 {
		r.reading = cmp.Or(r.reading, new(countersReading))
		r.reading.zero = line.Zero
	}
	r.tell()
	total := countersTotal{reading: r.last, intervals: line.Intervals, interrupted: line.Interrupted}
	over := fromMilliseconds(line.DurationMS)
	if total.told = r.last != nil && r.last.over == over; !total.told {
		total.reading = cmp.Or(r.total, new(countersReading))
		if line.Dropped != nil && total.reading.walk == nil {
			total.reading.walk = new(packetWalk)
		}
	}
	total.reading.count, total.reading.over = line.Counters, over
	r.out.end(total)
	r.ended = true
}

// finish ends the replay. Of a recording that was cut short nobody knows what it would have come to.
func (r *countersReplay) finish() int {
	r.begin()
	if !r.ended {
		r.tell()
	}
	r.out.Flush()
	return exitOK
}

// read adds what a line says to a reading.
func (r *countersReading) read(line any) {
	switch line := line.(type) {
	case *counterLine:
		r.readCounter(line)
	case *ratioLine:
		r.ratios = append(r.ratios, computedRatio{line.Name, line.Meaning, line.Formula, line.Part, line.Whole})
		r.at = line.Time
	case *stationLine:
		if r.walk == nil {
			r.walk = new(packetWalk)
		}
		r.walk.add(line.station())
		r.at = line.Time
	}
}

func (r *countersReading) readCounter(line *counterLine) {
	key := line.key()
	r.at = line.Time
	if line.GoneSince != "" {
		r.gone = append(r.gone, counters.Gone{Key: key, Since: line.GoneSince, Means: line.Meaning})
		return
	}
	v := countedValue{Info: counters.Lookup(key)}
	v.Topic, v.Means, v.By, v.Misleading, v.Worry = counters.Topic(line.Topic), line.Meaning, line.CountedBy, line.Misleading, line.Worry
	if line.Value != nil {
		v.Value = *line.Value
	}
	if line.Change != nil {
		v.Change = *line.Change
	}
	r.shown = append(r.shown, v)
}

// key is the inverse of [counters.Key.Proc].
func (l *counterLine) key() counters.Key {
	key := counters.Key{Group: l.Group, Name: strings.Replace(l.Name, " ", "_", 1)}
	if key.IPv6() {
		key.Name = strings.TrimPrefix(key.Name, key.Group)
	}
	return key
}

// station is what the line says.
func (l *stationLine) station() station {
	s := station{way: l.Way, name: l.Name, about: l.About, notes: l.Notes, minor: l.Minor}
	for _, d := range l.Drops {
		drop := stationDrop{name: d.Name, count: d.Count, hostWide: d.HostWide, included: d.Included, means: d.Meaning}
		if d.Change != nil {
			drop.change = *d.Change
		}
		s.drops = append(s.drops, drop)
	}
	for _, set := range l.Settings {
		s.settings = append(s.settings, stationSetting{set.Name, set.Value, set.Max, set.Command})
	}
	for i := range l.Sockets {
		s.sockets = append(s.sockets, l.Sockets[i].socket())
	}
	return s
}

func (l *lossyLine) socket() lossySocket {
	s := lossySocket{protocol: l.Protocol, local: l.Local, remote: l.Remote, drops: l.Drops, unread: l.Unread, buffer: l.Buffer, usual: l.Usual}
	if l.Owner != nil {
		s.owner = *l.Owner
	}
	if l.Change != nil {
		s.change = *l.Change
	}
	return s
}
