package sockets

import (
	"cmp"
	"slices"
)

// Judged is a socket with what is said of it.
type Judged struct {
	Socket
	Timer    LiveTimer
	Hidden   Timer // of keepalive, where another timer is the one that matters
	Forecast Forecast
	Trouble  Trouble
	Warnings []Warning // about its settings
}

// LiveTimer is the timer that matters, and how often it fired in vain.
type LiveTimer struct {
	Timer
	Retries int
}

// Judge says of a socket all there is to say.
func Judge(s *Socket, hz int) Judged {
	j := Judged{Socket: *s, Timer: LiveTimer{s.Live(), s.Retries()}, Forecast: s.Forecast(hz), Trouble: s.Trouble(), Warnings: s.warnings(hz)}
	if j.Timer.Timer != s.Keepalive {
		j.Hidden = s.Keepalive
	}
	return j
}

// Problem says whether anybody should look at the socket.
func (j *Judged) Problem() bool { return j.Trouble != "" || len(j.Warnings) > 0 }

// Sort puts those that hang first, by their trouble, and then what the kernel gives up first. Those that nothing ends come
// last; among equals, namespaces and addresses decide.
func Sort(all []Judged) {
	slices.SortFunc(all, func(a, b Judged) int {
		return cmp.Or(
			cmp.Compare(a.Trouble.rank(), b.Trouble.rank()),
			-compareBools(a.Forecast.Ends, b.Forecast.Ends),
			cmp.Compare(a.Forecast.GivesUp, b.Forecast.GivesUp),
			cmp.Compare(a.NetNS, b.NetNS),
			a.Local.Compare(b.Local),
			a.Remote.Compare(b.Remote),
		)
	})
}

func compareBools(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}
