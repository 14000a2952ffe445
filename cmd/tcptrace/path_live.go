package main

import (
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/charmbracelet/x/ansi"
	"golang.org/x/term"

	"tcptrace/tracer/event"
	"tcptrace/tracer/verdict"
)

// terminalSize asks for the columns and rows of the terminal that o writes to; ok is false when it is none, or one that
// cannot move its cursor.
func (o *output) terminalSize() (size func() (columns, rows int), ok bool) {
	if !o.isTerminal() || os.Getenv("TERM") == "dumb" {
		return nil, false
	}
	fd := int(o.file.(*os.File).Fd())
	return func() (int, int) {
		columns, rows, err := term.GetSize(fd)
		if err != nil || columns <= 0 || rows <= 0 {
			return 80, 24
		}
		return columns, rows
	}, true
}

// redrawEvery is how often hops that fill in are drawn again.
const redrawEvery = 50 * time.Millisecond

// pathLive shows journeys that are under way below everything else, and draws them again as they change.
type pathLive struct {
	*pathText
	out  flusher
	size func() (columns, rows int)

	drawn []string // what is on the screen for now
	last  time.Time
}

// Watch draws the journeys, not more often than people can see, and no more of them than the screen has room for.
func (p *pathLive) Watch(journeys []*journey) {
	if len(journeys) > 0 && time.Since(p.last) < redrawEvery {
		return
	}
	p.last = time.Now()
	columns, rows := p.size()
	var lines []string
	for _, j := range journeys {
		for _, line := range p.block(j) {
			lines = append(lines, ansi.Truncate(line, columns-1, "…"))
		}
	}
	lines = lines[:min(len(lines), rows-1)]
	if slices.Equal(lines, p.drawn) {
		return
	}
	p.erase()
	for _, line := range lines {
		p.line(line)
	}
	p.drawn = lines
}

// erase takes what Watch drew off the screen. What stays is written only after that.
func (p *pathLive) erase() {
	if len(p.drawn) > 0 {
		fmt.Fprint(p.out, "\r"+ansi.CursorUp(len(p.drawn))+ansi.EraseScreenBelow)
	}
	p.drawn = nil
}

func (p *pathLive) Resolution(r *event.Resolution) {
	p.erase()
	p.pathText.Resolution(r)
}

func (p *pathLive) Lost(l lost) {
	p.erase()
	p.pathText.Lost(l)
}

func (p *pathLive) Journey(j *journey) {
	p.erase()
	p.pathText.Journey(j)
}

func (p *pathLive) Verdict(v verdict.Verdict, about told) {
	p.erase()
	p.pathText.Verdict(v, about)
}

func (p *pathLive) Summary(s *summary) {
	p.erase()
	p.pathText.Summary(s)
}
