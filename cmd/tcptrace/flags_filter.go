package main

import (
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"tcptrace/tracer/event"
	"tcptrace/tracer/verdict"
)

// filterFlags say which connections to follow, and what of them to print. All that are set must hold; zero means
// not set. PID, comm, uid, cgroup and container are those of the socket's owner.
type filterFlags struct {
	PIDs       []int
	Comm       string
	UID        *uint32
	Port       uint16 // either side
	LocalPort  uint16
	RemotePort uint16
	Addr       netip.Prefix // either side
	NetNS      string
	Cgroup     string
	Container  string

	// These thin out what is printed, never what verdicts rest on.
	Kinds     []event.Kind
	Causes    []verdict.Cause
	Problems  bool // only connections with trouble
	Count     int  // end after so many verdicts
	MaxEvents int  // a second; the rest is counted

	Packets bool // show SYNs handed to a device too
}

// maxComm is the longest process name that the kernel keeps: TASK_COMM_LEN without its terminator.
const maxComm = 15

func (f *filterFlags) addTo(cmd *cobra.Command) {
	f.addOwnerAndEnds(cmd)
	flags := cmd.Flags()
	flags.Var(newList(&f.Kinds, "KIND,...", parseKind), "kind", "print only events of these kinds")
	flags.Var(newList(&f.Causes, "CAUSE,...", parseCause), "cause", "print only connections with these causes")
	flags.BoolVar(&f.Problems, "problems", false, "print only connections with trouble")
	flags.VarP(newValue(&f.Count, "N", parseBetween("a count", 1, math.MaxInt)), "count", "c", "end after N verdicts")
	flags.Var(newValue(&f.MaxEvents, "N/s", parseRate), "max-events", "print at most N events a second; count the rest")
	flags.BoolVar(&f.Packets, "packets", false, "also show each SYN handed to a network device")
}

// addOwnerAndEnds adds those that say which sockets are meant.
func (f *filterFlags) addOwnerAndEnds(cmd *cobra.Command) {
	f.addOwner(cmd)
	flags := cmd.Flags()
	flags.VarP(newValue(&f.Port, "PORT", parsePort), "port", "P", "only connections with that port on either side")
	flags.Var(newValue(&f.LocalPort, "PORT", parsePort), "lport", "only connections with that local port")
	flags.Var(newValue(&f.RemotePort, "PORT", parsePort), "rport", "only connections with that remote port")
	flags.Var(newValue(&f.Addr, "CIDR", parsePrefix), "addr", "only connections with an address in that network on either side")
	addNetNSFlag(cmd, &f.NetNS)
}

// addOwner adds those that say whose sockets are meant.
func (f *filterFlags) addOwner(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.VarP(newList(&f.PIDs, "PID,...", parseBetween("a process id", 1, math.MaxInt32)), "pid", "p", "only sockets of these processes")
	flags.Var(newValue(&f.Comm, "NAME", parseComm), "comm", "only sockets of processes of that name")
	flags.Var(newValue(&f.UID, "UID", parseUID), "uid", "only sockets of that user")
	flags.Var(newValue(&f.Cgroup, "PATH", nonEmpty("a cgroup")), "cgroup", "only sockets of processes in that cgroup (v2) or below")
	flags.Var(newValue(&f.Container, "ID", parseContainer), "container", "only sockets of that container")
}

func parseComm(text string) (string, error) {
	switch {
	case text == "":
		return "", fmt.Errorf("a process name cannot be empty")
	case len(text) > maxComm:
		return "", fmt.Errorf("the kernel keeps %d bytes of a process name; say %q", maxComm, text[:maxComm])
	}
	return text, nil
}

func parseUID(text string) (*uint32, error) {
	uid, err := parseUint32("a user id")(text)
	return &uid, err
}

// parseContainer takes an id, or the beginning that container tools show of it.
func parseContainer(text string) (string, error) {
	const least, most = 8, 64
	if len(text) < least || len(text) > most || strings.Trim(text, "0123456789abcdef") != "" {
		return "", fmt.Errorf("a container id is %d to %d digits of 0-9 and a-f", least, most)
	}
	return text, nil
}

func parseRate(text string) (int, error) {
	return parseBetween("a rate, such as 100/s,", 1, math.MaxInt32)(strings.TrimSuffix(text, "/s"))
}

func parseCause(text string) (verdict.Cause, error) {
	cause := verdict.Cause(text)
	if cause.Known() {
		return cause, nil
	}
	var known []string
	for _, m := range verdict.Causes() {
		known = append(known, string(m.Cause))
	}
	return "", noSuchName("cause", text, known)
}

// shows says whether a verdict is to be printed.
func (f *filterFlags) shows(v verdict.Verdict, about told) bool {
	if len(f.Causes) > 0 && !slices.Contains(f.Causes, v.Cause) {
		return false
	}
	return !f.Problems || isProblem(v) || len(about.warnings) > 0
}

// showsKind says whether an event of that kind is to be printed.
func (f *filterFlags) showsKind(kind event.Kind) bool {
	return len(f.Kinds) == 0 || slices.Contains(f.Kinds, kind)
}

// orderly are the causes of connections that nobody needs to look at.
var orderly = []verdict.Cause{
	verdict.Connected, verdict.ClosedByPeer, verdict.ClosedLocally, verdict.StillOpen, verdict.Superseded,
}

// isProblem says whether there was trouble with a connection, at its end or on the way.
func isProblem(v verdict.Verdict) bool {
	return v.Outcome == verdict.OutcomeFailed || len(v.Contributing) > 0 || !slices.Contains(orderly, v.Cause)
}
