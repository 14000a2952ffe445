package verdict

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"tcptrace/tracer/event"
)

// setters read the details of a scenario line: key=value, or a bare key.
type setters map[string]func(value string) error

func set(words []string, keys setters) error {
	for _, word := range words {
		key, value, _ := strings.Cut(word, "=")
		setter := keys[key]
		if setter == nil {
			return fmt.Errorf("no detail is called %q", key)
		}
		if err := setter(value); err != nil {
			return err
		}
	}
	return nil
}

func eventKeys(ev *event.Event) setters {
	return setters{
		"attempt":      number(&ev.Attempt),
		"retransmits":  number(&ev.Retransmits),
		"backoff":      number(&ev.Backoff),
		"trigger":      text(&ev.Trigger),
		"idle":         span(&ev.Idle),
		"elapsed":      span(&ev.Elapsed),
		"traffic":      parsed(&ev.Traffic, parseTraffic),
		"probes_out":   number(&ev.ProbesOut),
		"isn":          sequence(&ev.ISN),
		"peer_isn":     sequence(&ev.PeerISN),
		"total":        sequence(&ev.Total),
		"ifname":       text(&ev.IfName),
		"reason":       text(&ev.Reason),
		"pre_existing": flag(&ev.PreExisting),
		"unseen":       flag(&ev.Unseen),
		"role":         parsed(&ev.Role, event.ParseRole),
		"rto":          span(&ev.RTO),
		"state":        parsed(&ev.State, event.ParseState),
		"old":          parsed(&ev.OldState, event.ParseState),
		"errno":        parsed(&ev.Errno, event.ParseErrno),
		"owner":        parsed(&ev.Owner, parseOwner),
		"icmp":         parsed(&ev.ICMP, parseICMP),
		"stage":        text(&ev.Stage),
		"action":       text(&ev.Action),
		"queue":        parsed(&ev.Queue, parseQueue),
		"direction":    text(&ev.Direction),
		"flags":        text(&ev.TCPFlags),
		"hook":         text(&ev.Hook),
		"location":     text(&ev.Location),
		"neighbour":    parsed(&ev.Neighbour, netip.ParseAddr),
		"netns":        sequence(&ev.NetNS),
		"ttl":          number(&ev.TTL),
		"len":          number(&ev.Len),
		"count":        number(&ev.Count),
		"by_cookie":    flag(&ev.ByCookie),
		"kept_here":    flag(&ev.KeptHere),

		"local_congestion": flag(&ev.LocalCongestion),
		"ambiguous":        flag(&ev.Ambiguous),
	}
}

// hostKeys read what the host said when it was asked.
func hostKeys(h *Host) setters {
	return setters{
		"route":     parsed(&h.Route, parseRoute),
		"ports":     parsed(&h.Ports, parsePorts),
		"conntrack": parsed(&h.Conntrack, parseConntrack),
		"somaxconn": number(&h.Somaxconn),
		"neighbour": parsed(&h.Neighbour, parseNeighbour),
		"link":      parsed(&h.Link, parseLink),
		"xdp":       text(&h.XDP),
		"nfqueue":   parsed(&h.NFQueue, parseNFQueue),
		"backlog":   parsed(&h.Backlog, parseBacklog),
	}
}

// parseRoute reads the errno of the lookup, or the device.
func parseRoute(s string) (*Route, error) {
	if errno, err := event.ParseErrno(s); err == nil {
		return &Route{Errno: errno}, nil
	}
	if s == "source_gone" {
		return &Route{Errno: event.EINVAL, SourceGone: true}, nil
	}
	return &Route{Device: s}, nil
}

// parseNeighbour reads address/STATE.
func parseNeighbour(s string) (*Neighbour, error) {
	address, state, _ := strings.Cut(s, "/")
	addr, err := netip.ParseAddr(address)
	return &Neighbour{addr, state}, err
}

// parseLink reads a name, and then /no_carrier, /vrf/name, /kind or /kind/remote.
func parseLink(s string) (*Link, error) {
	name, rest, _ := strings.Cut(s, "/")
	kind, of, _ := strings.Cut(rest, "/")
	l := Link{Name: name}
	switch kind {
	case "no_carrier":
		l.NoCarrier = true
	case "vrf":
		l.VRF = of
	default:
		l.Tunnel = kind
	}
	if of == "" || kind == "vrf" {
		return &l, nil
	}
	var err error
	l.Remote, err = netip.ParseAddr(of)
	return &l, err
}

// parseNFQueue reads number/port/waiting.
func parseNFQueue(s string) (*NFQueue, error) {
	var q NFQueue
	_, err := fmt.Sscanf(s, "%d/%d/%d", &q.Number, &q.Port, &q.Waiting)
	return &q, err
}

// parseBacklog reads device/queue/waiting.
func parseBacklog(s string) (*Backlog, error) {
	device, rest, _ := strings.Cut(s, "/")
	queue, waiting, _ := strings.Cut(rest, "/")
	n, err := strconv.Atoi(waiting)
	return &Backlog{device, queue, n}, err
}

// parsePorts reads first-last/in use/in TIME_WAIT.
func parsePorts(s string) (*Ports, error) {
	var p Ports
	_, err := fmt.Sscanf(s, "%d-%d/%d/%d", &p.First, &p.Last, &p.InUse, &p.TimeWait)
	return &p, err
}

// parseConntrack reads count/max.
func parseConntrack(s string) (*Conntrack, error) {
	var c Conntrack
	_, err := fmt.Sscanf(s, "%d/%d", &c.Count, &c.Max)
	return &c, err
}

// parseQueue reads length/limit.
func parseQueue(s string) (*event.Queue, error) {
	var q event.Queue
	_, err := fmt.Sscanf(s, "%d/%d", &q.Len, &q.Max)
	return &q, err
}

func probeKeys(p *event.Probe) setters {
	return setters{
		"target":         text(&p.Target),
		"remote":         parsed(&p.Remote, netip.ParseAddrPort),
		"local":          parsed(&p.Local, netip.ParseAddrPort),
		"connected":      flag(&p.Connected),
		"synchronous":    flag(&p.Synchronous),
		"errno":          parsed(&p.Errno, event.ParseErrno),
		"exchange_errno": parsed(&p.ExchangeErrno, event.ParseErrno),
		"gave_up":        text(&p.GaveUp),
		"timeout":        span(&p.Timeout),
		"connect":        span(&p.Connect),
		"lifetime":       span(&p.Lifetime),
		"rtt":            span(&p.RTT),
		"info":           flag(&p.HasInfo),
		"total_retrans":  number(&p.TotalRetrans),
		"expected":       text(&p.Expected),
		"expect_met":     flag(&p.ExpectMet),
		"icmp":           parsed(&p.ICMP, parseICMP),
		"held":           span(&p.HeldFor),
		"hold_errno":     parsed(&p.HoldErrno, event.ParseErrno),
		"write_errno":    parsed(&p.WriteErrno, event.ParseErrno),
		"peer_closed":    flag(&p.PeerClosed),
		"sent":           bytes(&p.BytesSent),
		"acked":          bytes(&p.BytesAcked),
		"received":       bytes(&p.BytesReceived),
		"retransmits":    number(&p.Retransmits),
		"user_timeout":   probeOption(p, func(o *event.Options) func(string) error { return span(&o.UserTimeout) }),
		"keepalive":      probeOption(p, func(o *event.Options) func(string) error { return flag(&o.KeepAlive) }),
	}
}

func probeOption(p *event.Probe, setter func(*event.Options) func(string) error) func(string) error {
	return func(value string) error {
		if p.Options == nil {
			p.Options = &event.Options{}
		}
		return setter(p.Options)(value)
	}
}

func optionKeys(o *event.Options) setters {
	return setters{
		"keepalive":    flag(&o.KeepAlive),
		"keepidle":     span(&o.KeepaliveIdle),
		"keepintvl":    span(&o.KeepaliveInterval),
		"keepcnt":      number(&o.KeepaliveCount),
		"user_timeout": span(&o.UserTimeout),
		"device":       number(&o.Device),
	}
}

func bytes(to *int64) func(string) error {
	return parsed(to, func(s string) (int64, error) { return strconv.ParseInt(s, 10, 64) })
}

// parseTraffic reads sent/acked/received/unacked/unsent/window/retransmits, as many as are given.
func parseTraffic(s string) (*event.Traffic, error) {
	var t event.Traffic
	var unacked, unsent, window, retransmits int64
	to := []*int64{&t.BytesSent, &t.BytesAcked, &t.BytesReceived, &unacked, &unsent, &window, &retransmits}
	for i, word := range strings.Split(s, "/") {
		if i >= len(to) {
			return nil, fmt.Errorf("traffic is at most %d numbers, not %q", len(to), s)
		}
		if err := bytes(to[i])(word); err != nil {
			return nil, err
		}
	}
	t.Unacked, t.Unsent, t.SendWindow, t.Retransmits = int(unacked), int(unsent), int(window), int(retransmits)
	return &t, nil
}

func number(to *int) func(string) error { return parsed(to, strconv.Atoi) }

func span(to *time.Duration) func(string) error { return parsed(to, time.ParseDuration) }

func text(to *string) func(string) error {
	return func(value string) error { *to = value; return nil }
}

func flag(to *bool) func(string) error {
	return func(string) error { *to = true; return nil }
}

func sequence(to *uint32) func(string) error {
	return func(value string) error {
		n, err := strconv.ParseUint(value, 10, 32)
		*to = uint32(n)
		return err
	}
}

func parsed[T any](to *T, parse func(string) (T, error)) func(string) error {
	return func(value string) (err error) {
		*to, err = parse(value)
		return err
	}
}

// parseOwner reads comm[pid].
func parseOwner(s string) (event.Owner, error) {
	comm, rest, _ := strings.Cut(s, "[")
	pid, err := strconv.Atoi(strings.TrimSuffix(rest, "]"))
	return event.Owner{PID: pid, Comm: comm}, err
}

// parseICMP reads type/code/name@from.
func parseICMP(s string) (*event.ICMP, error) {
	what, from, _ := strings.Cut(s, "@")
	parts := strings.SplitN(what, "/", 3)
	if len(parts) != 3 {
		return nil, fmt.Errorf("an ICMP error is type/code/name@from, not %q", s)
	}
	var icmp event.ICMP
	var err error
	if icmp.Type, err = strconv.Atoi(parts[0]); err != nil {
		return nil, err
	}
	if icmp.Code, err = strconv.Atoi(parts[1]); err != nil {
		return nil, err
	}
	icmp.Name = parts[2]
	icmp.From, err = netip.ParseAddr(from)
	return &icmp, err
}
