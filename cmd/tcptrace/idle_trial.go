package main

import (
	"cmp"
	"slices"
	"time"

	"tcptrace/tracer/event"
)

// fate is what became of a connection that was idle for some time. The zero fate is that this was not seen.
type fate int

const (
	fateUnknown   fate = iota
	fateSurvived       // it still worked
	fateSilent         // nothing came back any more
	fateReset          // a RST came back
	fateClosed         // the peer closed it meanwhile
	fateFailed         // it failed for another reason, which the errno says
	fateUnreached      // it did not connect
)

var fateNames = map[fate]string{
	fateSurvived: "survived", fateSilent: "silent", fateReset: "reset", fateClosed: "closed_by_peer", fateFailed: "failed",
	fateUnreached: "not_connected",
}

// idleTrial is one connection that was to be idle for so long.
type idleTrial struct {
	idle  time.Duration
	fate  fate
	held  time.Duration // how long it really was idle, where that is less
	errno event.Errno
	probe *event.Probe
	err   error // it could not even be tried
}

// judgeIdle says what became of a probe. After data, survival is the answer or the acknowledgement; after a keepalive
// probe, that the kernel has not given up when it should have.
func judgeIdle(idle time.Duration, sent bool, p *event.Probe) idleTrial {
	t := idleTrial{idle: idle, probe: p, errno: cmp.Or(p.HoldErrno, p.ExchangeErrno)}
	switch {
	case p.GaveUp == "interrupted":
	case !p.Connected:
		t.fate, t.errno = fateUnreached, p.Errno
	case p.PeerClosed && p.HeldFor < idle, p.PeerClosed && !sent:
		t.fate, t.held = fateClosed, p.HeldFor
	case t.errno == event.ETIMEDOUT, p.GaveUp != "":
		t.fate = fateSilent
	case t.errno == event.ECONNRESET, t.errno == event.EPIPE:
		t.fate = fateReset
		if p.HeldFor < idle {
			t.held = p.HeldFor // nobody had asked yet
		}
	case t.errno != 0:
		t.fate = fateFailed
	case p.PeerClosed:
		t.fate = fateClosed // in answer to the data
	default:
		t.fate = fateSurvived
	}
	return t
}

// idleLimit is what trials come to so far.
type idleLimit struct{ trials []idleTrial } // by their idle times

func (l *idleLimit) add(t idleTrial) {
	i, _ := slices.BinarySearchFunc(l.trials, t.idle, func(t idleTrial, idle time.Duration) int { return cmp.Compare(t.idle, idle) })
	l.trials = slices.Insert(l.trials, i, t)
}

func (l *idleLimit) ended() int { return len(l.trials) }

// lastSurvivor is the longest idle time that a connection survived, nil if none did.
func (l *idleLimit) lastSurvivor() *idleTrial {
	for i := len(l.trials) - 1; i >= 0; i-- {
		if l.trials[i].fate == fateSurvived {
			return &l.trials[i]
		}
	}
	return nil
}

// firstLoss is the shortest idle time that a connection did not survive, nil if all did.
func (l *idleLimit) firstLoss() *idleTrial {
	i := slices.IndexFunc(l.trials, func(t idleTrial) bool { return t.fate != fateSurvived })
	if i < 0 {
		return nil
	}
	return &l.trials[i]
}

// isClear says that of the times to try, two neighbours did not survive, and all shorter ones are known: the longer ones
// need not be waited for.
func (l *idleLimit) isClear(times []time.Duration) bool {
	lost := 0
	for i, idle := range times {
		switch {
		case i >= len(l.trials) || l.trials[i].idle != idle:
			return false
		case l.trials[i].fate == fateSurvived:
			lost = 0
		default:
			lost++
		}
		if lost == 2 {
			return true
		}
	}
	return true
}

// isMixed says that a connection survived longer than another one that did not.
func (l *idleLimit) isMixed() bool {
	survivor, loss := l.lastSurvivor(), l.firstLoss()
	return survivor != nil && loss != nil && survivor.idle > loss.idle
}

// exitStatus is that of a search: a limit is what was asked for, and no failure.
func (l *idleLimit) exitStatus() int {
	if loss := l.firstLoss(); loss != nil && loss.fate == fateUnreached {
		return exitFailed
	}
	return exitOK
}
