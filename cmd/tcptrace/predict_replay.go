package main

import (
	"fmt"
	"slices"

	"tcptrace/tracer/lint"
	"tcptrace/tracer/schedule"
)

// predictionReplay prints a schedule that was recorded, once all of it is there.
type predictionReplay struct {
	app    *app
	output *outputFlags

	prediction prediction
	begun      bool
	steps      []schedule.Step
}

func newPredictionReplay(a *app, output *outputFlags) *predictionReplay {
	return &predictionReplay{app: a, output: output, prediction: prediction{unended: true}}
}

// handle takes a line. A schedule has only one beginning, and nothing follows its end.
func (r *predictionReplay) handle(line any, number int) error {
	switch line := line.(type) {
	case meta:
		return errAnother(number)
	case *stepLine:
		if r.begun && (line.Attempt == 0 || !r.prediction.unended) {
			return errAnother(number)
		}
		r.step(line)
	case *endLine:
		if !r.prediction.unended {
			return errAnother(number)
		}
		end, err := line.end()
		if err != nil {
			return fmt.Errorf("line %d: %w", number, err)
		}
		p := &r.prediction
		p.end, p.ends, p.notes, p.unended = end, moment{words: line.Words, about: line.About}, line.Notes, false
		for _, w := range line.Warnings {
			p.warnings = append(p.warnings, lint.Warning(w))
		}
	}
	r.begun = true
	return nil
}

func (r *predictionReplay) step(line *stepLine) {
	p := &r.prediction
	if line.Attempt == 0 {
		p.settings, p.begins = line.Settings, moment{words: line.Words, about: line.About, what: line.What}
		return
	}
	p.repeats = moment{words: line.Words, what: line.What}
	r.steps = append(r.steps, schedule.Step{
		Attempt: line.Attempt, Offset: fromMilliseconds(line.OffsetMS), Latest: fromMilliseconds(line.LatestMS),
	})
}

// finish prints it, and gives the exit status.
func (r *predictionReplay) finish() int {
	r.prediction.steps = slices.Values(r.steps)
	if err := r.app.printPrediction(r.output, &r.prediction); err != nil {
		panic(err) // the lines hold nothing that JSON cannot
	}
	return exitOK
}

// end is nil where there is none.
func (l *endLine) end() (*schedule.End, error) {
	if l.Never {
		return nil, nil
	}
	end := &schedule.End{Errno: l.Errno, Reset: l.Reset}
	if l.OffsetMS == nil || l.LatestMS == nil || l.EarliestMS == nil {
		return nil, fmt.Errorf("%s: it has neither a time nor \"never\"", typeEnd)
	}
	end.Offset, end.Latest, end.Earliest = fromMilliseconds(*l.OffsetMS), fromMilliseconds(*l.LatestMS), fromMilliseconds(*l.EarliestMS)
	for end.Rule.String() != l.Rule {
		if end.Rule == schedule.RuleSilence {
			return nil, fmt.Errorf("%s: no rule is called %q", typeEnd, l.Rule)
		}
		end.Rule++
	}
	return end, nil
}
