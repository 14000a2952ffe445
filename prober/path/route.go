package path

import (
	"net/netip"
	"slices"
	"time"

	"tcptrace/tracer/event"
)

// Route is what is known of the way to a destination. It holds no hop beyond the one that ends it.
type Route struct {
	Remote netip.AddrPort
	Hops   []Hop // of consecutive TTLs; those that nobody was asked about yet have no answers
}

// Hop is one place on a route: all answers to SYNs that might reach so many routers.
type Hop struct {
	TTL     int
	Answers []Answer // in the order in which they came
	Reached bool     // it is the destination that answered
}

// Add takes an answer in. It returns false for one that comes from beyond the route's end, and forgets what it knew
// from beyond when the answer is the new end.
func (r *Route) Add(a Answer) bool {
	if a.TTL > r.end() {
		return false
	}
	hop := r.hop(a.TTL)
	hop.Answers = append(hop.Answers, a)
	hop.Reached = hop.Reached || a.reached(r.Remote.Addr().WithZone(""))
	if a.final() {
		r.Hops = slices.DeleteFunc(r.Hops, func(h Hop) bool { return h.TTL > a.TTL })
	}
	return true
}

// hop finds a hop, or makes room for it and those between.
func (r *Route) hop(ttl int) *Hop {
	if len(r.Hops) == 0 {
		r.Hops = []Hop{{TTL: ttl}}
	}
	for first := r.Hops[0].TTL; first > ttl; first = r.Hops[0].TTL {
		r.Hops = slices.Insert(r.Hops, 0, Hop{TTL: first - 1})
	}
	for last := r.last().TTL; last < ttl; last++ {
		r.Hops = append(r.Hops, Hop{TTL: last + 1})
	}
	return &r.Hops[ttl-r.Hops[0].TTL]
}

func (r *Route) last() *Hop { return &r.Hops[len(r.Hops)-1] }

// end is the TTL of the hop that ends the route, and more than all while none does.
func (r *Route) end() int {
	if len(r.Hops) > 0 && r.last().final() != nil {
		return r.last().TTL
	}
	return MaxHops + 1
}

// Ended says that a SYN would not get further than the last hop, whatever its TTL.
func (r *Route) Ended() bool { return r.end() <= MaxHops }

// LastHeard is the last hop where anybody answered, nil if nobody did.
func (r *Route) LastHeard() *Hop {
	for i := len(r.Hops) - 1; i >= 0; i-- {
		if r.Hops[i].Heard() > 0 {
			return &r.Hops[i]
		}
	}
	return nil
}

// next is the first hop after a TTL where anybody answered, nil if nobody did.
func (r *Route) next(ttl int) *Hop {
	for i := range r.Hops {
		if h := &r.Hops[i]; h.TTL > ttl && h.Heard() > 0 {
			return h
		}
	}
	return nil
}

// Ports are the source ports that SYNs left from, in the order of their first use.
func (r *Route) Ports() []uint16 {
	var ports []uint16
	for _, h := range r.Hops {
		for _, a := range h.Answers {
			if port := a.Local.Port(); port != 0 && !slices.Contains(ports, port) {
				ports = append(ports, port)
			}
		}
	}
	return ports
}

// final is an answer that ends the route here, nil if there is none.
func (h *Hop) final() *Answer {
	for i := range h.Answers {
		if h.Answers[i].final() {
			return &h.Answers[i]
		}
	}
	return nil
}

// Heard is how many SYNs were answered.
func (h *Hop) Heard() int {
	heard := 0
	for i := range h.Answers {
		if h.Answers[i].Answered() {
			heard++
		}
	}
	return heard
}

// Loss is the share of SYNs that nobody answered, 0 when none were sent.
func (h *Hop) Loss() float64 {
	sent := 0
	for i := range h.Answers {
		if h.Answers[i].Kind != Unsent {
			sent++
		}
	}
	if sent == 0 {
		return 0
	}
	return float64(sent-h.Heard()) / float64(sent)
}

// Addrs are those who answered, the most frequent first, and otherwise in the order of their first answers.
func (h *Hop) Addrs() []netip.Addr {
	var addrs []netip.Addr
	times := make(map[netip.Addr]int)
	for _, a := range h.Answers {
		if !a.Answered() {
			continue
		}
		if times[a.From] == 0 {
			addrs = append(addrs, a.From)
		}
		times[a.From]++
	}
	slices.SortStableFunc(addrs, func(a, b netip.Addr) int { return times[b] - times[a] })
	return addrs
}

// Addr is who answered most often, invalid if nobody did.
func (h *Hop) Addr() netip.Addr {
	if addrs := h.Addrs(); len(addrs) > 0 {
		return addrs[0]
	}
	return netip.Addr{}
}

// RTTs are the round trips in the order of the queries.
func (h *Hop) RTTs() []time.Duration {
	answers := slices.SortedFunc(slices.Values(h.Answers), func(a, b Answer) int { return a.Query - b.Query })
	var rtts []time.Duration
	for _, a := range answers {
		if a.RTT > 0 {
			rtts = append(rtts, a.RTT)
		}
	}
	return rtts
}

// ICMP is an ICMP error other than an exceeded TTL, nil if there was none.
func (h *Hop) ICMP() *event.ICMP {
	for _, a := range h.Answers {
		if a.ICMP != nil && a.Kind != Expired {
			return a.ICMP
		}
	}
	return nil
}
