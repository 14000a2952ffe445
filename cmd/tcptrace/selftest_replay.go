package main

// labsReplay prints what is recorded of labs: what came of them, or, if they were not run, what they are about.
type labsReplay struct {
	app    *app
	output *outputFlags
	table  trialTable
	of     int // labs of the table
}

func newLabsReplay(a *app, output *outputFlags) *labsReplay {
	return &labsReplay{app: a, output: output, table: trialTable{app: a, paint: output.painter(a.stdout), format: output.Format}}
}

// handle takes a line.
func (r *labsReplay) handle(line any, number int) error {
	switch line := line.(type) {
	case meta:
		return errAnother(number)
	case *labLine:
		if line.OK == nil && line.NotRun == "" {
			r.app.tellLab(line, r.output)
		} else {
			r.table.add(line)
			r.of = line.Of
		}
	}
	return nil
}

// finish ends the replay, and gives the exit status: of a recording that was cut short, that of the labs that it tells of.
func (r *labsReplay) finish() int {
	if r.table.wrong > 0 {
		return exitFailed
	}
	if told := r.table.ran + r.table.notRun; told > 0 && told >= r.of {
		r.table.end()
	}
	return exitOK
}
