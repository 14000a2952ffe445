package verdict

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"tcptrace/tracer/event"
)

// OfName is the verdict for a name: it is connected when any of its addresses is, and what ails the others is told as
// contributing; otherwise the failure that tells most about the target speaks for all. The addresses' verdicts come
// in the order in which they were tried.
func OfName(target string, r event.Resolution, addresses []Verdict) Verdict {
	if r.Err != "" || len(addresses) == 0 {
		return unresolved(target, r)
	}
	best := slices.MinFunc(addresses, func(a, b Verdict) int { return cmp.Compare(rank(a), rank(b)) })
	v := best
	v.Conn, v.Target, v.Resolve = 0, target, r.Took
	v.Contributing, v.Evidence, v.Doubts, v.SYNSent = nil, nil, nil, 0
	for _, a := range addresses {
		v.SYNSent += a.SYNSent
		v.Evidence = append(v.Evidence, a.Evidence...)
		v.addDoubts(a, len(addresses) > 1)
		v.Confidence = lower(v.Confidence, a.Confidence, best.connected())
	}
	slices.Sort(v.Evidence)
	v.Evidence = slices.Compact(v.Evidence)
	v.Contributing = slices.Concat(best.Contributing, others(best, addresses))
	v.Summary = nameSummary(target, best, addresses)
	return v
}

func unresolved(target string, r event.Resolution) Verdict {
	why := cmp.Or(r.Err, "no address")
	name := cmp.Or(r.Name, target)
	return Verdict{
		Target: target, Cause: NameNotResolved, Outcome: OutcomeFailed, Confidence: Certain, Resolve: r.Took,
		Summary: fmt.Sprintf("%s did not resolve: %s, after %s; nothing was sent", name, why, duration(r.Took)),
		Advice:  []string{fmt.Sprintf("ask the resolver yourself: getent ahosts %s; then look at /etc/resolv.conf, /etc/hosts and nsswitch.conf", name)},
	}
}

// telling ranks the causes by how much they say about the target, the most first: an answer, even a no, says that the
// way there works; that this host has no route for one family says the least.
var telling = []Cause{
	Connected, ConnectedAfterRetries, Refused, ResetByOverflow, RejectedByICMP, ResetByPeer, BrokenPipe, ClosedByPeer,
	ClosedAwaitingReply, DroppedWhileIdle, KeepaliveTimeout, UserTimeout, RetransmissionTimeout, ZeroWindowTimeout,
	UnreachableWhileConnected, AcceptQueueFull, SYNQueueFull, OldConnectionInTheWay, MD5OrAOMismatch, DroppedByLocalInput,
	DroppedByLocalOutput, ConntrackFull, NoAnswer, NeighbourUnresolved, PortsExhausted, DeniedByPolicy,
	AbandonedByApplication, StillOpen, Unexplained, NoRoute,
}

// connected says that what a probe was asked for went well: the handshake, or the hold that came after it.
func (v *Verdict) connected() bool {
	return v.Outcome == OutcomeConnected || v.Cause == StillOpen && v.IdleBeforeEnd > 0
}

func rank(v Verdict) int {
	if v.connected() {
		return 0
	}
	if i := slices.Index(telling, v.Cause); i >= 0 {
		return i
	}
	return slices.Index(telling, Unexplained)
}

// addDoubts merges the doubts of an address, said once each; which address they are about is said when they are not
// all of one.
func (v *Verdict) addDoubts(a Verdict, several bool) {
	for _, doubt := range a.Doubts {
		if several {
			doubt = where(a) + ": " + doubt
		}
		if !slices.Contains(v.Doubts, doubt) {
			v.Doubts = append(v.Doubts, doubt)
		}
	}
}

// lower merges confidences: the name's is the worst of its addresses', because another could have been the most
// telling; but that one connected stays as sure as it is.
func lower(a, b Confidence, connected bool) Confidence {
	order := []Confidence{Possible, Likely, Certain}
	if connected || slices.Index(order, a) <= slices.Index(order, b) {
		return a
	}
	return b
}

// others tells the addresses that failed, unless they speak for the name.
func others(best Verdict, addresses []Verdict) []Contribution {
	var list []Contribution
	for _, a := range addresses {
		if a.Remote == best.Remote && a.Conn == best.Conn || a.connected() {
			continue
		}
		list = append(list, Contribution{Cause: a.Cause, Evidence: a.Evidence, Summary: where(a) + ": " + a.Summary})
	}
	return list
}

func where(v Verdict) string { return v.Remote.String() }

func nameSummary(target string, best Verdict, addresses []Verdict) string {
	text := best.Summary
	if len(addresses) == 1 {
		return text
	}
	failed := slices.DeleteFunc(slices.Clone(addresses), func(a Verdict) bool { return a.connected() })
	if !best.connected() {
		return fmt.Sprintf("none of the %d addresses of %s connected; %s: %s", len(addresses), target, where(best), text)
	}
	text = fmt.Sprintf("%s: %s", where(best), text)
	if len(failed) == 0 {
		return fmt.Sprintf("all %d addresses of %s connected; %s", len(addresses), target, text)
	}
	text += fmt.Sprintf("; %d of %d addresses failed", len(failed), len(addresses))
	if silent := silentFamily(addresses); silent != "" {
		text += ": " + silent + " is silent"
	}
	return text
}

// silentFamily is the address family of which no address answered at all, while the other one connected.
func silentFamily(addresses []Verdict) string {
	silent := make(map[string]bool)
	for _, a := range addresses {
		f := family(a.Remote.Addr())
		if known, seen := silent[f]; !seen || known {
			silent[f] = a.Cause == NoAnswer
		}
	}
	var families []string
	for f, is := range silent {
		if is {
			families = append(families, f)
		}
	}
	slices.Sort(families)
	return strings.Join(families, " and ")
}
