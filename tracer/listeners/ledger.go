package listeners

import (
	"cmp"
	"net/netip"
	"slices"

	"tcptrace/tracer/event"
)

// Ledger adds up what a trace sees of listeners, for each that can be told from the others. The zero value is ready to use.
// It is not safe for concurrent use.
type Ledger struct {
	accounts map[account]*Account
	byPort   map[port]*[]*Account
	opened   map[identity]bool
}

// account is what tells listeners apart that share a port: without function hooks, a refusal says no more.
type account struct {
	netns uint32
	local netip.AddrPort
	pid   int // of the first owner
}

type port struct {
	netns  uint32
	number uint16
}

// Account is what became of the clients of one listener, or of several that nothing tells apart.
type Account struct {
	NetNS uint32
	Local netip.AddrPort // not valid: nobody knows which of the namespace's listeners
	Owner event.Owner
	// Sockets is how many listeners they are; 0: it was not among those that were listed.
	Sockets  int
	Max      int // of the accept queue
	IPv6Only bool
	holders  []int // pids

	Received    uint64 // SYNs that were taken
	Accepted    uint64
	Waits       Waits  // of those accepted, as far as they are known
	Retransmits uint64 // SYN-ACKs that were sent again
	Expired     uint64 // half-open connections that were given up
	// Told is what events stood for, of refusals by each queue, and Ambiguous what of it may be another listener's of the port.
	Told, Ambiguous uint64
	Clients         Clients // of the refusals that were told one by one

	Refused Refused // exact, by the kernel's count
}

// Refused is what a listener has refused as a queue of its was full.
type Refused struct {
	SYNs      uint64 // dropped: the accept queue
	FinalACKs uint64 // dropped: the accept queue
	SYNDrops  uint64 // SYNs that were dropped: the SYN queue
	Cookies   uint64 // SYNs that were answered by a cookie: the SYN queue
	// UntoldOverflows and UntoldQueueFull are those of the first two and of the last two that no event stood for.
	UntoldOverflows, UntoldQueueFull uint64
}

// Total is all of it.
func (r Refused) Total() uint64 { return r.SYNs + r.FinalACKs + r.SYNDrops + r.Cookies }

// Untold is what no event stood for.
func (r Refused) Untold() uint64 { return r.UntoldOverflows + r.UntoldQueueFull }

// Overflows is what the listener adds to ListenOverflows of its network namespace.
func (r Refused) Overflows() uint64 { return r.SYNs + r.FinalACKs }

// Add adds what another listener has refused.
func (r *Refused) Add(more Refused) {
	r.SYNs += more.SYNs
	r.FinalACKs += more.FinalACKs
	r.SYNDrops += more.SYNDrops
	r.Cookies += more.Cookies
	r.UntoldOverflows += more.UntoldOverflows
	r.UntoldQueueFull += more.UntoldQueueFull
}

// Open makes an account for each listener, unless it has one.
func (g *Ledger) Open(all []*Listener) {
	if g.opened == nil {
		g.opened = make(map[identity]bool)
	}
	for _, l := range all {
		key := identity{l.NetNS, l.ID, l.Local}
		if g.opened[key] {
			continue
		}
		g.opened[key] = true
		a := g.account(l.NetNS, l.Local, l.Owner)
		a.Sockets++
		a.Max = max(a.Max, l.Backlog())
		a.IPv6Only = l.Listening.IPv6Only
		for _, o := range l.Owners() {
			a.holders = append(a.holders, o.PID)
		}
	}
}

func (g *Ledger) account(netns uint32, local netip.AddrPort, owner event.Owner) *Account {
	if g.accounts == nil {
		g.accounts, g.byPort = make(map[account]*Account), make(map[port]*[]*Account)
	}
	key := account{netns, local, owner.PID}
	a := g.accounts[key]
	if a != nil {
		return a
	}
	a = &Account{NetNS: netns, Local: local, Owner: owner}
	g.accounts[key] = a
	at := port{netns, local.Port()}
	if g.byPort[at] == nil {
		g.byPort[at] = new([]*Account)
	}
	*g.byPort[at] = append(*g.byPort[at], a)
	return a
}

// Add takes an event of a server's connection or a listener, and gives the account that it belongs to, nil if it says nothing
// about a listener.
func (g *Ledger) Add(ev *event.Event) *Account {
	if !says(ev) {
		return nil
	}
	a := g.of(ev)
	n := uint64(max(1, ev.Count))
	switch ev.Kind {
	case event.SYNReceived:
		a.Received += n
	case event.Accept:
		a.Accepted += n
		if ev.Waited > 0 {
			a.Waits.Add(ev.Waited)
		}
	case event.SYNACKRetransmit:
		a.Retransmits += n
	case event.SYNACKTimeout:
		a.Expired += n
	case event.AcceptQueueFull, event.SYNQueueFull:
		a.Told += n
		if ev.Ambiguous {
			a.Ambiguous += n
		}
		a.Clients.Add(ev.Remote.Addr())
	}
	return a
}

func says(ev *event.Event) bool {
	return told[ev.Kind] && ev.Role != event.RoleClient && ev.Local.IsValid()
}

// told are the kinds that say something about a listener.
var told = map[event.Kind]bool{
	event.SYNReceived: true, event.Accept: true, event.SYNACKRetransmit: true, event.SYNACKTimeout: true,
	event.AcceptQueueFull: true, event.SYNQueueFull: true,
}

// of finds the listener that a connection came by: one bound to its address rather than one that takes any, and among several
// the owner's.
func (g *Ledger) of(ev *event.Event) *Account {
	if best := g.best(ev); best != nil {
		return best
	}
	// It listens only since, or is gone already.
	return g.account(ev.NetNS, ev.Local, ev.Owner)
}

// Misses says that an event is about a listener that has no account yet.
func (g *Ledger) Misses(ev *event.Event) bool { return says(ev) && g.best(ev) == nil }

func (g *Ledger) best(ev *event.Event) *Account {
	var best *Account
	bestFit := 0
	if at := g.byPort[port{ev.NetNS, ev.Local.Port()}]; at != nil {
		for _, a := range *at {
			if fit := a.fit(ev); fit > bestFit {
				best, bestFit = a, fit
			}
		}
	}
	return best
}

func (a *Account) fit(ev *event.Event) int {
	to, bound := ev.Local.Addr(), a.Local.Addr()
	fit := 0
	switch {
	case bound == to:
		fit = 4
	case !bound.IsUnspecified(), bound.Is4() != to.Is4() && (bound.Is4() || a.IPv6Only):
		return 0
	default:
		fit = 2
	}
	if slices.Contains(a.holders, ev.Owner.PID) {
		fit++
	}
	return fit
}

// Settle sets what a listener has refused, by the kernel's count. The zero AddrPort stands for what is nobody's.
func (g *Ledger) Settle(netns uint32, local netip.AddrPort, owner event.Owner, longest int, refused Refused) {
	a := g.holding(netns, local, owner)
	a.Max = max(a.Max, longest)
	a.Refused.Add(refused)
}

// holding finds the account of a listener that one of its owners opened: not always the one that is listed first.
func (g *Ledger) holding(netns uint32, local netip.AddrPort, owner event.Owner) *Account {
	if at := g.byPort[port{netns, local.Port()}]; at != nil {
		for _, a := range *at {
			if a.Local == local && slices.Contains(a.holders, owner.PID) {
				return a
			}
		}
	}
	return g.account(netns, local, owner)
}

// Accounts are those of listeners to which something has happened, those that refused the most first. What is nobody's comes
// last.
func (g *Ledger) Accounts() []*Account {
	var all []*Account
	for _, a := range g.accounts {
		if a.busy() {
			all = append(all, a)
		}
	}
	slices.SortFunc(all, func(a, b *Account) int {
		return cmp.Or(
			-cmp.Compare(a.known(), b.known()),
			-cmp.Compare(a.Refused.Total(), b.Refused.Total()),
			-cmp.Compare(a.Told+a.Expired+a.Retransmits, b.Told+b.Expired+b.Retransmits),
			-cmp.Compare(a.Accepted+a.Received, b.Accepted+b.Received),
			cmp.Compare(a.NetNS, b.NetNS), a.Local.Compare(b.Local), cmp.Compare(a.Owner.PID, b.Owner.PID),
		)
	})
	return all
}

// known is 1 for a listener that is known, and 0 for what is nobody's.
func (a *Account) known() int {
	if a.Local.IsValid() {
		return 1
	}
	return 0
}

func (a *Account) busy() bool {
	return a.Received+a.Accepted+a.Retransmits+a.Expired+a.Told+a.Refused.Total() > 0
}

// Accepted sets how many connections each listener has accepted. [Since] goes before.
func (g *Ledger) Accepted(all []*Listener) {
	for _, l := range all {
		l.Recent.HasAccepted = true
		if a := g.accounts[account{l.NetNS, l.Local, l.Owner.PID}]; a != nil {
			l.Recent.Accepted, l.Recent.Sharing = int(a.Accepted), a.Sockets
		}
	}
}
