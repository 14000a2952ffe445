package main

// doctorReplay prints what can be traced on the kernel of a recording, once it has said it all: the end says how much that is.
type doctorReplay struct {
	out   diagnosis
	hooks []hookLine
}

// handle takes a line.
func (r *doctorReplay) handle(line any, number int) error {
	switch line := line.(type) {
	case meta:
		return errAnother(number)
	case *hookLine:
		if len(line.Host) > 0 && len(r.hooks) > 0 {
			return errAnother(number)
		}
		r.hooks = append(r.hooks, *line)
	}
	return nil
}

// finish prints it, and gives the exit status.
func (r *doctorReplay) finish() int {
	for _, f := range r.hooks[0].Host {
		r.out.finding(f)
	}
	if r.out.hooks(r.hooks) == 0 {
		return exitNoTrace
	}
	return exitOK
}
