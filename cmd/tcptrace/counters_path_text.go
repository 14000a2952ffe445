package main

import (
	"fmt"
	"time"

	"tcptrace/tracer/timeline"
)

// path writes a packet's way, first of one that arrives, then of one that is sent.
func (t *countersText) path(w *packetWalk) {
	way, number := "", 0
	for i := range w.stations {
		s := &w.stations[i]
		if s.way != way {
			way, number = s.way, 0
			t.line(t.paint.paint(strong, wayTitles[way]))
		}
		if t.skips(s) {
			continue
		}
		number++
		t.station(s, number)
	}
}

var wayTitles = map[string]string{
	wayReceived: "the way of a packet that arrives",
	waySent:     "the way of a packet that is sent",
}

// skips leaves out stations with nothing to tell, unless everything is wanted.
func (t *countersText) skips(s *station) bool {
	return s.minor && !t.all && !t.verbose && !s.anyCount()
}

func (s *station) anyCount() bool {
	for _, d := range s.drops {
		if d.count > 0 {
			return true
		}
	}
	return false
}

func (t *countersText) station(s *station, number int) {
	if t.quiet {
		t.line(fmt.Sprintf("%2d  %s  %s", number, escape(s.name), s.brief()))
		return
	}
	t.line(fmt.Sprintf("%2d  %s  %s", number, t.paint.paint(strong, escape(s.name)), t.paint.paint(faint, escape(s.about))))
	zero := 0
	for _, d := range s.drops {
		if d.count == 0 && !t.verbose && !t.all {
			zero++
			continue
		}
		t.drop(d)
	}
	t.restIsZero(s, zero)
	t.lossy(s.sockets)
	for _, set := range s.settings {
		t.setting(set, s.anyCount())
	}
	for _, note := range s.notes {
		t.below(faint, note)
	}
}

// brief is what one line has room for.
func (s *station) brief() string {
	if len(s.drops) == 0 && s.way == wayReceived {
		return countOf(len(s.sockets), "socket")
	}
	return grouped(int(s.dropped(false))) + " dropped"
}

func (t *countersText) drop(d stationDrop) {
	mark, tone := "    ✗ ", bad
	switch {
	case d.count == 0:
		mark, tone = "      ", plain
	case d.included:
		mark, tone = "    ! ", warning
	}
	t.line(mark + t.paint.paint(tone, escape(d.name)+"  "+grouped(int(d.count))))
	for _, line := range wrap(escape(d.means), textWidth-10) {
		t.line("          " + line)
	}
}

// restIsZero says that the station dropped nothing, or nothing else.
func (t *countersText) restIsZero(s *station, zero int) {
	switch {
	case len(s.drops) == 0 && len(s.sockets) == 0 && s.way == wayReceived:
		t.line("      " + t.paint.paint(good, "none"))
	case zero > 0 && zero == len(s.drops):
		t.line("      " + t.paint.paint(good, "nothing dropped") + t.paint.paint(faint, " ("+countOf(zero, "counter")+")"))
	case zero > 0:
		t.line("      " + t.paint.paint(faint, countOf(zero, "other counter")+" "+isOrAre(zero)+" 0"))
	}
}

// setting writes a limit, and how to change it where packets are lost.
func (t *countersText) setting(set stationSetting, lossy bool) {
	text := set.name + " " + set.value
	if set.most != "" {
		text += " of at most " + set.most
	}
	if lossy && set.command != "" {
		text += "  → " + set.command
	}
	t.line("      " + escape(text))
}

// maxLossy is how many sockets of a station are told one by one.
const maxLossy = 10

func (t *countersText) lossy(all []lossySocket) {
	for _, l := range all[:min(len(all), maxLossy)] {
		t.line("    ✗ " + t.paint.paint(bad, escape(lossyWords(l))))
	}
	if more := len(all) - maxLossy; more > 0 {
		t.line("      " + countOf(more, "more socket") + " (-o json)")
	}
}

func lossyWords(l lossySocket) string {
	ends := l.local.String()
	if l.remote.IsValid() {
		ends += " → " + l.remote.String()
	}
	text := fmt.Sprintf("%s %s  %s", l.protocol, ends, owner(l.owner))
	if l.drops > 0 {
		text += "  " + grouped(int(l.drops)) + " dropped"
	}
	if l.unread > 0 {
		text += "  " + grouped(int(l.unread)) + " bytes unread"
		switch {
		case l.buffer > 0:
			text += " of " + grouped(int(l.buffer))
		case l.usual > 0:
			text += " (by default at most " + grouped(int(l.usual)) + ")"
		}
	}
	return text
}

// pathChanges writes where packets were dropped lately.
func (t *countersText) pathChanges(w *packetWalk, over time.Duration) {
	lost := false
	for i := range w.stations {
		s := &w.stations[i]
		for _, d := range s.drops {
			if d.change != 0 {
				lost = true
				rate := formatRate(float64(d.change) / over.Seconds())
				t.line(fmt.Sprintf("  %-8s  %s  %s  %+d  %s", escape(s.way), escape(s.name), escape(d.name), d.change, rate))
			}
		}
		for _, l := range s.sockets {
			if l.change != 0 {
				lost = true
				t.line(fmt.Sprintf("  %-8s  %s  %s  %+d", escape(s.way), escape(s.name), escape(lossyWords(l)), l.change))
			}
		}
	}
	if !lost {
		t.line("  nothing was dropped in " + timeline.FormatDuration(over))
	}
}
