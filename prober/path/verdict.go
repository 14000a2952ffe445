package path

import (
	"fmt"
	"time"

	"tcptrace/tracer/event"
)

// Verdict says how far the SYNs got. Cause, Outcome and Confidence use the words of package verdict.
type Verdict struct {
	Cause      string
	Outcome    string
	Errno      event.Errno
	Summary    string // one sentence with the numbers in it
	Advice     []string
	Doubts     []string
	Confidence string

	RTT     time.Duration // of the handshake, where there was one: the shortest
	SYNSent int           // with those that the kernel repeated
}

// The words of package verdict that are used here.
const (
	failed    = "failed"
	connected = "connected"
	open      = "open"

	certain  = "certain"
	likely   = "likely"
	possible = "possible"
)

// Judge says what a route comes to. compare is the route to another port of the same host, nil if that was not asked for.
// interrupted says that not all was asked.
func Judge(route, compare *Route, interrupted bool) Verdict {
	s := &story{route: route, compare: compare, interrupted: interrupted, port: route.Remote.Port()}
	if h := len(route.Hops); h > 0 && route.Ended() {
		s.end = route.last()
		s.final = s.end.final()
	}
	for _, rule := range rules {
		if rule.match(s) {
			v := rule.judge(s)
			v.SYNSent = s.sent()
			v.Doubts = append(v.Doubts, s.doubts()...)
			v.Advice = append(v.Advice, s.remarks()...)
			return v
		}
	}
	return Verdict{}
}

// story is what a verdict is about.
type story struct {
	route, compare *Route
	interrupted    bool
	port           uint16
	end            *Hop    // where the route ended, nil if it did not
	final          *Answer // that ended it there
}

// rules are tried in this order; the last one always matches.
var rules = []struct {
	match func(*story) bool
	judge func(*story) Verdict
}{
	{func(s *story) bool { return s.ends(Unsent) }, judgeUnsent},
	{func(s *story) bool { return s.ends(Accepted) }, judgeAccepted},
	{func(s *story) bool { return s.ends(Refused) && s.compareGoesBeyond(s.end.TTL) }, judgeRefusedOnTheWay},
	{func(s *story) bool { return s.ends(Refused) }, judgeRefused},
	{func(s *story) bool { return s.ends(Rejected) }, judgeRejected},
	{func(s *story) bool { return len(s.route.Hops) == 0 || s.interrupted && s.unasked() }, judgeInterrupted},
	{func(s *story) bool { return s.route.LastHeard() == nil }, judgeNothingHeard},
	{func(s *story) bool { return s.route.LastHeard() == s.route.last() }, judgeTooFar},
	{func(*story) bool { return true }, judgeSilence},
}

func (s *story) ends(kind Kind) bool { return s.final != nil && s.final.Kind == kind }

// unasked says that there is a hop on which nothing can be said.
func (s *story) unasked() bool {
	return len(s.route.last().Answers) == 0 || s.route.LastHeard() == s.route.last()
}

// compareGoesBeyond says that the other port's SYNs were answered farther away.
func (s *story) compareGoesBeyond(ttl int) bool {
	return s.compare != nil && s.compare.next(ttl) != nil
}

func (s *story) sent() int {
	sent := 0
	for _, h := range s.route.Hops {
		for _, a := range h.Answers {
			if a.Kind != Unsent {
				sent += 1 + a.Retries
			}
		}
	}
	return sent
}

// unsentCauses says what it means that connect() failed before anything could be answered.
var unsentCauses = map[event.Errno]string{
	event.ENETUNREACH:   "no_route",
	event.EHOSTUNREACH:  "no_route",
	event.EINVAL:        "no_route", // a blackhole route
	event.EACCES:        "no_route", // a prohibit route, or a policy
	event.EPERM:         "denied_by_policy",
	event.EADDRNOTAVAIL: "ports_exhausted",
}

func judgeUnsent(s *story) Verdict {
	v := Verdict{Outcome: failed, Errno: s.final.Errno, Confidence: likely}
	if icmp := s.final.ICMP; icmp != nil {
		v.Cause = "neighbour_unresolved"
		v.Summary = fmt.Sprintf("the SYN got no further than this host: %s (%s, from this host's own IP layer)", icmp.Name, s.final.Errno)
		v.Advice = []string{"look at ip neigh, and for a reject rule in nft list ruleset (output)"}
		return v
	}
	v.Cause = unsentCauses[s.final.Errno]
	if v.Cause == "" {
		v.Cause = "unexplained"
	}
	v.Summary = fmt.Sprintf("no SYN left this host: connect failed at once with %s", s.final.Errno)
	v.Advice = []string{"tcptrace connect says why"}
	return v
}

func judgeAccepted(s *story) Verdict {
	v := Verdict{Cause: "connected", Outcome: connected, Confidence: certain, RTT: s.fastest()}
	v.Summary = fmt.Sprintf("reached at hop %d: it answers with a SYN-ACK%s%s", s.end.TTL, after(v.RTT), s.comparison())
	return v
}

func judgeRefused(s *story) Verdict {
	v := Verdict{Cause: "refused", Outcome: failed, Errno: event.ECONNREFUSED, Confidence: certain}
	v.Summary = fmt.Sprintf("reached at hop %d, which refuses: it answers with a RST%s%s", s.end.TTL, after(s.fastest()), s.comparison())
	v.Advice = []string{fmt.Sprintf("nothing listens there on port %d, or a firewall rejects with a reset: on the peer, ss -ltn 'sport = :%d'",
		s.port, s.port)}
	return v
}

func judgeRefusedOnTheWay(s *story) Verdict {
	v := Verdict{Cause: "refused", Outcome: failed, Errno: event.ECONNREFUSED, Confidence: likely}
	v.Summary = fmt.Sprintf("something at hop %d answers SYNs to port %d with RSTs in the destination's name; SYNs to port %d get to hop %d",
		s.end.TTL, s.port, s.compare.Remote.Port(), s.compare.LastHeard().TTL)
	v.Advice = []string{fmt.Sprintf("look for a firewall that rejects port %d with a reset between hop %d and the destination", s.port, s.end.TTL-1)}
	return v
}

func judgeRejected(s *story) Verdict {
	icmp, who := s.final.ICMP, s.place(s.end)
	if s.end.Reached {
		who = fmt.Sprintf("the destination itself (hop %d)", s.end.TTL)
	} else if earlier := s.hopOf(s.final); earlier != nil {
		who = s.place(earlier)
	}
	return Verdict{
		Cause: "rejected_by_icmp", Outcome: failed, Errno: s.final.Errno, Confidence: certain,
		Summary: fmt.Sprintf("%s rejects SYNs to port %d: %s (ICMP type %d, code %d)%s",
			who, s.port, icmp.Name, icmp.Type, icmp.Code, s.comparison()),
		Advice: []string{"ask whoever runs it: this is a rule or a route there, not a loss"},
	}
}

// hopOf is where the sender of an answer was met as a router, nil if it was not.
func (s *story) hopOf(a *Answer) *Hop {
	for i := range s.route.Hops {
		for _, earlier := range s.route.Hops[i].Answers {
			if earlier.Kind == Expired && earlier.From == a.From {
				return &s.route.Hops[i]
			}
		}
	}
	return nil
}

func judgeInterrupted(s *story) Verdict {
	v := Verdict{Cause: "no_answer", Outcome: open, Confidence: possible, Summary: "interrupted before anybody answered"}
	if last := s.route.LastHeard(); last != nil {
		v.Summary = fmt.Sprintf("interrupted: so far %s is the last that answers", s.place(last))
	}
	return v
}

func judgeNothingHeard(s *story) Verdict {
	v := Verdict{Cause: "no_answer", Outcome: failed, Confidence: possible}
	first := s.route.Hops[0].TTL
	if h := s.beyond(0); h != nil {
		v.Confidence = likely
		v.Summary = fmt.Sprintf("nobody answers: %s drops SYNs to port %d but not to port %d", s.blamed(first, h.TTL), s.port, s.compare.Remote.Port())
		return v
	}
	v.Summary = fmt.Sprintf("nobody answers: hop %d or the link to it drops SYNs to port %d%s, or no ICMP error finds its way back", first, s.port, s.alike())
	v.Advice = []string{"look at this host's own firewall and routes: nft list ruleset, ip route get " + s.route.Remote.Addr().String()}
	return v
}

func judgeTooFar(s *story) Verdict {
	last := s.route.last()
	v := Verdict{Cause: "no_answer", Outcome: failed, Confidence: likely}
	if from, to := s.loop(); from != nil {
		v.Summary = fmt.Sprintf("the SYNs go in a circle: %s comes again as hop %d", s.place(from), to.TTL)
		v.Advice = []string{"two routers there send packets for this destination to each other: their routes are wrong"}
		return v
	}
	v.Summary = fmt.Sprintf("the route is longer than %d hops: %s is the last that was asked", last.TTL, s.place(last))
	v.Advice = []string{"ask more: --max-hops"}
	return v
}

// loop finds a router that comes twice with another in between.
func (s *story) loop() (from, to *Hop) {
	seen := make(map[string]*Hop)
	for i := range s.route.Hops {
		h := &s.route.Hops[i]
		if h.Heard() == 0 {
			continue
		}
		earlier := seen[h.Addr().String()]
		if earlier != nil && h.TTL-earlier.TTL > 1 {
			return earlier, h
		}
		seen[h.Addr().String()] = h
	}
	return nil, nil
}

func judgeSilence(s *story) Verdict {
	last := s.route.LastHeard()
	v := Verdict{Cause: "no_answer", Outcome: failed, Confidence: likely}
	v.Summary = fmt.Sprintf("%s is the last that answers; ", s.place(last))
	v.Advice = []string{fmt.Sprintf("hop %d itself may drop what it should forward: that looks the same", last.TTL)}
	switch next := s.beyond(last.TTL); {
	case next != nil:
		v.Summary += fmt.Sprintf("%s drops SYNs to port %d but not to port %d", s.blamed(last.TTL+1, next.TTL), s.port, s.compare.Remote.Port())
		v.Advice = append(v.Advice, fmt.Sprintf("look for a firewall that filters by port, from hop %d to hop %d", last.TTL, next.TTL))
	default:
		v.Summary += fmt.Sprintf("%s drops SYNs to port %d%s", s.blamed(last.TTL+1, last.TTL+1), s.port, s.alike())
		v.Doubts = []string{fmt.Sprintf("if hop %d is a router that never answers, it may be one behind it, or the destination", last.TTL+1)}
		if s.compare == nil {
			v.Advice = append(v.Advice, "is it only this port? --compare-port 80 asks for another beside it")
		}
	}
	v.Doubts = append(v.Doubts, "answers that get lost on their way back look the same")
	return v
}

// blamed names the hops that may drop what gets past the one before them.
func (s *story) blamed(from, to int) string {
	if from >= to {
		return fmt.Sprintf("hop %d or the link to it", from)
	}
	return fmt.Sprintf("one of the hops %d to %d, or a link between them,", from, to)
}

// beyond is where the other port's SYNs were answered after a TTL, nil if they were not.
func (s *story) beyond(ttl int) *Hop {
	if s.compare == nil {
		return nil
	}
	return s.compare.next(ttl)
}

// alike adds the other port to what is said of this one.
func (s *story) alike() string {
	switch {
	case s.compare == nil:
		return ""
	case s.compare.LastHeard() == nil:
		return fmt.Sprintf(", and to port %d nobody answers at all", s.compare.Remote.Port())
	case s.route.LastHeard() != nil && s.compare.LastHeard().TTL < s.route.LastHeard().TTL:
		return fmt.Sprintf(", and those to port %d get no further than %s", s.compare.Remote.Port(), s.place(s.compare.LastHeard()))
	}
	return fmt.Sprintf(", and to port %d alike", s.compare.Remote.Port())
}

// comparison says how it went with the other port, where this one's SYNs were answered.
func (s *story) comparison() string {
	if s.compare == nil || len(s.compare.Hops) == 0 {
		return ""
	}
	port := s.compare.Remote.Port()
	last := s.compare.LastHeard()
	switch {
	case last == nil:
		return fmt.Sprintf("; SYNs to port %d are answered by nobody", port)
	case !s.compare.Ended():
		return fmt.Sprintf("; SYNs to port %d get no further than %s", port, s.place(last))
	}
	switch final := s.compare.last().final(); final.Kind {
	case Accepted:
		return fmt.Sprintf("; port %d accepts, at hop %d", port, last.TTL)
	case Refused:
		return fmt.Sprintf("; port %d refuses, at hop %d", port, last.TTL)
	default:
		return fmt.Sprintf("; SYNs to port %d are rejected by %s", port, final.From)
	}
}

// place names a hop by its number and who answers there.
func (s *story) place(h *Hop) string {
	if addr := h.Addr(); addr.IsValid() {
		return fmt.Sprintf("hop %d (%v)", h.TTL, addr)
	}
	return fmt.Sprintf("hop %d", h.TTL)
}

// fastest is the shortest round trip to the route's end, 0 if none is known.
func (s *story) fastest() time.Duration {
	var shortest time.Duration
	for _, rtt := range s.end.RTTs() {
		if shortest == 0 || rtt < shortest {
			shortest = rtt
		}
	}
	return shortest
}

// after is how long an answer took, in three digits or so.
func after(rtt time.Duration) string {
	switch {
	case rtt == 0:
		return ""
	case rtt < time.Millisecond:
		rtt = rtt.Round(time.Microsecond)
	case rtt < 100*time.Millisecond:
		rtt = rtt.Round(10 * time.Microsecond)
	default:
		rtt = rtt.Round(time.Millisecond)
	}
	return " after " + rtt.String()
}

// doubts are about every verdict.
func (s *story) doubts() []string {
	var doubts []string
	if s.interrupted {
		doubts = append(doubts, "interrupted: not every hop was asked as often as it should have been")
	}
	for i := range s.route.Hops {
		if h := &s.route.Hops[i]; len(h.Addrs()) > 1 && len(s.route.Ports()) > 1 {
			return append(doubts, fmt.Sprintf("several routers answer as hop %d: the SYNs left from different ports and may have gone "+
				"different ways; --sequential asks all hops from one port", h.TTL))
		}
	}
	return doubts
}

// remarks say what a loss means, where one could mistake it.
func (s *story) remarks() []string {
	lossy := s.firstLoss()
	switch behind := s.lossBehind(lossy); {
	case behind == nil:
		return nil
	case *behind:
		return []string{fmt.Sprintf("from %s on, some SYNs, or the answers to them, get lost", s.place(lossy))}
	}
	return []string{fmt.Sprintf("%s answers only some SYNs, while hops behind it answer all: routers limit their ICMP errors; no SYN is lost there",
		s.place(lossy))}
}

// firstLoss is the first hop that answers, but not always.
func (s *story) firstLoss() *Hop {
	for i := range s.route.Hops {
		if h := &s.route.Hops[i]; h.Heard() > 0 && h.Loss() > 0 {
			return h
		}
	}
	return nil
}

// lossBehind says whether every hop that answers behind a lossy one is lossy too; nil if none answers there.
func (s *story) lossBehind(lossy *Hop) *bool {
	if lossy == nil || s.route.next(lossy.TTL) == nil {
		return nil
	}
	shared := true
	for h := s.route.next(lossy.TTL); h != nil; h = s.route.next(h.TTL) {
		shared = shared && h.Loss() > 0
	}
	return &shared
}
