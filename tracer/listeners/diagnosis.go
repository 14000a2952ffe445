package listeners

import (
	"fmt"
	"time"

	"tcptrace/tracer/timeline"
)

// Waits that tell a small backlog from a slow application.
const (
	shortWait = 100 * time.Millisecond
	longWait  = time.Second
)

// Diagnosis says what the refusals of an accept queue are due to, in one sentence. It is empty where there were none.
func (a *Account) Diagnosis() string {
	if a.Refused.Overflows() == 0 || !a.Local.IsValid() {
		return ""
	}
	usual := timeline.FormatDuration(a.Waits.Within(0.99))
	switch {
	case a.Accepted == 0:
		return a.who() + " accepted nothing in all that time: it hangs, or does something else; a longer backlog would not help"
	case a.Waits.Count == 0:
		return ""
	case a.Waits.Within(0.99) <= shortWait:
		return fmt.Sprintf("connections were accepted within %s: bursts are longer than the backlog (%d); raise what listen() is asked for, and "+
			"net.core.somaxconn if that is less", usual, a.Max)
	case a.Waits.Within(0.5) >= longWait:
		return fmt.Sprintf("half of the connections waited for longer than %s: %s accepts too slowly; a longer backlog would make them wait longer",
			timeline.FormatDuration(longWait), a.who())
	}
	return fmt.Sprintf("connections waited for up to %s: %s is slow at times to accept; a longer backlog (now %d) helps only over such times",
		usual, a.who(), a.Max)
}

func (a *Account) who() string {
	if a.Owner.Comm == "" {
		return "the application"
	}
	return a.Owner.Comm
}
