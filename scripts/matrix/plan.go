package main

import "time"

// A plan is what a guest does, one step after the other.
type plan struct {
	Steps []step
}

const planPath = "/plan.json"

// A step is a program to run in the guest.
type step struct {
	Name      string
	Mechanism string // empty: whichever is best
	Args      []string
	Dir       string
	Env       []string
	Timeout   time.Duration
}

// A message is what the guest says on its second serial line: an output, the end of a step, or that it has done all.
type message struct {
	Step    int
	Text    string        `json:",omitempty"`
	Ended   bool          `json:",omitempty"`
	Status  int           `json:",omitempty"` // of the step that has ended; -1: it ran out of time
	Took    time.Duration `json:",omitempty"`
	AllDone bool          `json:",omitempty"`
}
