package main

import (
	"net/netip"
	"slices"
	"time"

	"tcptrace/prober/scan"
	"tcptrace/tracer"
	"tcptrace/tracer/host"
)

// kernelTimes is what the kernel says of a scan's targets: when each answer came, and after how many SYNs. A target is
// known by its address and port, of which a scan has each once.
//
// The kernel makes its record before it wakes the socket, so whoever has a result and then reads has the record, too.
type kernelTimes struct {
	handshakes *tracer.Handshakes
	targets    []scan.Target
	byRemote   []int32 // the numbers of targets, sorted by their addresses: a map would be as large as the targets themselves
	answers    []kernelAnswer
	scan       *scan.Scan // the round
}

// kernelAnswer is the kernel's side of what a target answered last. Times are CLOCK_MONOTONIC; the zero value is that
// nothing is known.
type kernelAnswer struct {
	began, ended time.Duration
	syns         int32
	refused      bool // it was an error
}

func newKernelTimes(handshakes *tracer.Handshakes, targets []scan.Target) *kernelTimes {
	k := &kernelTimes{
		handshakes: handshakes, targets: targets,
		byRemote: make([]int32, len(targets)), answers: make([]kernelAnswer, len(targets)),
	}
	for i := range targets {
		k.byRemote[i] = int32(i)
	}
	slices.SortFunc(k.byRemote, func(a, b int32) int { return k.remote(a).Compare(k.remote(b)) })
	return k
}

// remote is a target's address as the kernel's records have it: without a zone.
func (k *kernelTimes) remote(target int32) netip.AddrPort {
	addr := k.targets[target].Addr
	return netip.AddrPortFrom(addr.Addr().WithZone(""), addr.Port())
}

// find is the number of the target that has this address.
func (k *kernelTimes) find(remote netip.AddrPort) (target int32, ok bool) {
	place, ok := slices.BinarySearchFunc(k.byRemote, remote, func(target int32, to netip.AddrPort) int {
		return k.remote(target).Compare(to)
	})
	if !ok {
		return 0, false
	}
	return k.byRemote[place], true
}

// begin forgets what was seen so far: a round begins.
func (k *kernelTimes) begin(sc *scan.Scan) {
	k.read()
	clear(k.answers)
	k.scan = sc
}

// read takes the records that there are. What cannot be read is not known, which is what the answers say then.
func (k *kernelTimes) read() {
	var h tracer.Handshake
	for {
		ok, err := k.handshakes.Read(&h)
		if !ok || err != nil {
			return
		}
		k.add(&h)
	}
}

func (k *kernelTimes) add(h *tracer.Handshake) {
	if target, ok := k.find(h.Remote); ok {
		k.answers[target] = kernelAnswer{h.Began, h.Ended, int32(h.SYNs), h.Errno != 0}
	}
}

// improve puts the kernel's times into a result, where it has them.
func (k *kernelTimes) improve(r *scan.Result) {
	answer := k.answers[r.Target]
	switch r.Outcome {
	case scan.Connected, scan.Reset:
		if answer.refused {
			return
		}
	case scan.Refused, scan.Unreachable:
		if !answer.refused {
			return
		}
	default:
		return
	}
	began := answer.began
	if r.Attempts > 1 {
		began = k.began(r) // of the first attempt, not of the one that was answered
	} else {
		r.SYNs = max(r.SYNs, answer.syns)
	}
	if answer.ended > began {
		r.Connect, r.Clock = answer.ended-began, scan.KernelClock
	}
}

// began is when the first connect() for a result was called, on CLOCK_MONOTONIC.
func (k *kernelTimes) began(r *scan.Result) time.Duration {
	return host.Monotonic() - time.Since(k.scan.Began()) + r.Began
}
