package main

import (
	"fmt"
	"os"

	"charm.land/lipgloss/v2"
)

// tone is what a piece of text is, which a terminal may show by colour. It never says anything that the words do
// not.
type tone int

const (
	plain tone = iota
	faint
	good
	bad
	warning
	strong
)

// toneStyles uses the 16 colours that every terminal has and every user's theme has chosen.
var toneStyles = map[tone]lipgloss.Style{
	faint:   lipgloss.NewStyle().Faint(true),
	good:    lipgloss.NewStyle().Foreground(lipgloss.Green),
	bad:     lipgloss.NewStyle().Foreground(lipgloss.Red),
	warning: lipgloss.NewStyle().Foreground(lipgloss.Yellow),
	strong:  lipgloss.NewStyle().Bold(true),
}

// painter renders text by its tone; the zero painter leaves it as it is.
type painter struct{ colour bool }

// paint shows s, which must have been escaped, in its tone.
func (p painter) paint(t tone, s string) string {
	if !p.colour || s == "" {
		return s
	}
	style, ok := toneStyles[t]
	if !ok {
		return s
	}
	return style.Render(s)
}

// repaint is paint of what a row has from start on.
func (p painter) repaint(row []byte, start int, t tone) []byte {
	if !p.colour {
		return row
	}
	return append(row[:start], p.paint(t, string(row[start:]))...)
}

// colorMode is the value of --color.
type colorMode string

const (
	colorAuto   colorMode = "auto"
	colorAlways colorMode = "always"
	colorNever  colorMode = "never"
)

func parseColorMode(s string) (colorMode, error) {
	switch mode := colorMode(s); mode {
	case colorAuto, colorAlways, colorNever:
		return mode, nil
	}
	return "", fmt.Errorf("say auto, always or never")
}

// enabled says whether to colour what is written to a stream that is, or is not, a terminal. NO_COLOR (no-color.org)
// and a dumb terminal turn colour off; --color always is stronger than both.
func (m colorMode) enabled(terminal bool) bool {
	switch m {
	case colorAlways:
		return true
	case colorNever:
		return false
	}
	return terminal && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
}

// paragraph gives the lines of a text that stands under an entry of a list; of an empty one there are none.
func (p painter) paragraph(tone tone, text string) []string {
	if text == "" {
		return nil
	}
	const indent = "      "
	lines := wrap(escape(text), textWidth-len(indent))
	for i, line := range lines {
		lines[i] = indent + p.paint(tone, line)
	}
	return lines
}
