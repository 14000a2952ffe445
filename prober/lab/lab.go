package lab

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"tcptrace/prober"
)

// Lab is one failure that can be made on demand.
type Lab struct {
	Name    string   // the cause that it reproduces, with - for _; labs beyond the causes have names of their own
	Summary string   // one line
	Steps   []string // what is set up and what then happens, in order
	Expect  string   // the cause that a tracer should find for each target
	Beside  []string // causes that it may find as well, which the lab is not about; Expect must be among what it finds
	Blindly string   // the cause that is found, with doubts, on kernels that give no reasons for drops (before 5.17); empty: the same
	Needs   string   // what not every machine has, and that this lab cannot do without; empty for most labs

	// Build sets the lab up in an empty network, but leaves the scene's NetNS to the function [Build]. What it has made
	// when it fails is left for the network's Close. It fails with a [NotHereError] where the machine lacks what it Needs.
	Build func(context.Context, *Network) (*Scene, error)

	ipv6 func(context.Context, *Network) (*Scene, error) // Build of the same lab over IPv6, where there is one
}

// IPv6 is the same lab over IPv6. It is not ok that a lab has no such twin.
func (l Lab) IPv6() (twin Lab, ok bool) {
	if l.ipv6 == nil {
		return Lab{}, false
	}
	l.Build, l.ipv6 = l.ipv6, nil
	return l, true
}

// Scene is a lab that is ready: where to connect from, and to what.
type Scene struct {
	Client  *Host          // connects are to be made from here
	Targets []string       // what to connect to: HOST:PORT, where HOST may be a name
	Options prober.Options // of the probe that connects: it is made in Client's namespace, and ends in seconds
	DNS     netip.AddrPort // who resolves the targets' names, as seen from Client; the zero value where all are addresses
	// Act, unless nil, is what happens instead of connects to targets, of which there are none: an application does
	// something in Client's namespace. Then it is the connections of the lab's hosts that are to be judged.
	Act func(context.Context) error
	// Crowded says that there are other connections than those to Targets, on the same ports or for the same queue.
	Crowded bool
	// Race says that once one target is connected, the other connects are given up: they are [prober.ErrSuperseded].
	Race bool
}

// NotHereError says that a lab cannot be had on this machine.
type NotHereError struct{ Why string }

func (e *NotHereError) Error() string { return "not on this machine: " + e.Why }

// Build sets a lab up. The network is the caller's to close. After an error nothing of it is left.
func Build(ctx context.Context, l Lab) (*Network, *Scene, error) {
	network := new(Network)
	scene, err := l.Build(ctx, network)
	if err != nil {
		return nil, nil, fmt.Errorf("build lab %s: %w", l.Name, errors.Join(err, network.Close()))
	}
	scene.Options.NetNS = scene.Client.NetNS()
	return network, scene, nil
}

// Labs lists every lab there is, by name.
func Labs() []Lab {
	return slices.SortedFunc(slices.Values(labs), func(a, b Lab) int { return cmp.Compare(a.Name, b.Name) })
}

// Find is the lab of that name; the name of its cause will do, too. The error for any other name suggests the one that may
// have been meant.
func Find(name string) (Lab, error) {
	wanted := strings.ReplaceAll(name, "_", "-")
	for _, l := range labs {
		if l.Name == wanted {
			return l, nil
		}
	}
	return Lab{}, fmt.Errorf("no lab is called %q", name)
}
