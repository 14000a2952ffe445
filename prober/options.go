package prober

import (
	"cmp"
	"fmt"
	"math"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"tcptrace/tracer/event"
)

// What the kernel takes (include/net/tcp.h, tcp_sock_set_keepidle_locked and do_tcp_setsockopt).
const (
	maxSYNCount         = 127               // MAX_TCP_SYNCNT
	maxKeepaliveIdle    = 32767             // MAX_TCP_KEEPIDLE, in seconds
	maxKeepaliveCount   = 127               // MAX_TCP_KEEPCNT
	maxUserTimeout      = math.MaxInt32     // milliseconds
	maxLinger           = math.MaxInt32     // seconds
	maxHopLimit         = 255               // one byte of the IP header
	maxInterfaceNameLen = unix.IFNAMSIZ - 1 // one byte ends the name
)

// Options is how a probe's socket is set up and what it does once connected. The zero value leaves every choice to
// the kernel and closes the connection as soon as it is established.
type Options struct {
	Source     netip.Addr // address to connect from
	SourcePort uint16     // port to connect from
	Interface  string     // SO_BINDTODEVICE

	// HopLimit is how many routers may pass on what the socket sends (IP_TTL, IPV6_UNICAST_HOPS), 1 to 255; 0 leaves it
	// to the system. With it any ICMP error is the answer and ends the probe, also one that the kernel would only
	// remember because it came while connect() held the socket.
	HopLimit int

	SYNRetries  int           // TCP_SYNCNT, 1 to 127
	UserTimeout time.Duration // TCP_USER_TIMEOUT, in whole milliseconds

	// KeepAlive is SO_KEEPALIVE, which any of the three after it sets too. What they leave out is the namespace's.
	KeepAlive         bool
	KeepaliveIdle     time.Duration // TCP_KEEPIDLE, in whole seconds, 1s to 32767s
	KeepaliveInterval time.Duration // TCP_KEEPINTVL, likewise
	KeepaliveCount    int           // TCP_KEEPCNT, 1 to 127

	// Linger is SO_LINGER, in whole seconds; nil leaves it off. With 0 the close is a reset; with more, closing
	// waits that long for unacknowledged data.
	Linger *time.Duration

	Mark    uint32 // SO_MARK, which needs CAP_NET_ADMIN
	MarkSet bool   // whether Mark counts

	// FastOpen sets TCP_FASTOPEN_CONNECT. With a cookie of an earlier connection the SYN carries Send.
	FastOpen bool

	// Send is written once connected. Without Expect the probe then waits until the peer's kernel has acknowledged all
	// of it, or the connection dies.
	Send []byte
	// Expect is awaited once connected, among whatever the peer sends, until the peer closes.
	Expect []byte
	// Then is what follows on the connection, step by step, once Send and Expect have succeeded. The connection's end, or
	// a step that fails, ends the steps. If the connection is dead then, one more write tells what an application would get.
	Then []Step

	// Timeout ends the probe that long after connect(), the exchange and the steps included. With 0 the kernel's own schedule decides.
	Timeout time.Duration

	// NetNS is the network namespace to connect in; nil is this one. It must stay open until the probe has its socket.
	NetNS *NetNS
}

// Validate says in one sentence what the kernel would refuse.
func (o *Options) Validate() error {
	return cmp.Or(
		validCount("the hop limit", o.HopLimit, maxHopLimit),
		validCount("SYN retries", o.SYNRetries, maxSYNCount),
		validCount("the keepalive count", o.KeepaliveCount, maxKeepaliveCount),
		validTime("the user timeout", o.UserTimeout, time.Millisecond, maxUserTimeout),
		validTime("the keepalive idle time", o.KeepaliveIdle, time.Second, maxKeepaliveIdle),
		validTime("the keepalive interval", o.KeepaliveInterval, time.Second, maxKeepaliveIdle),
		o.validLinger(),
		o.validInterface(),
		o.validTimeout(),
		o.validSteps(),
	)
}

// validCount accepts 0, which is "not set", to limit.
func validCount(what string, n, limit int) error {
	if n < 0 || n > limit {
		return fmt.Errorf("%s must be 1 to %d, not %d", what, limit, n)
	}
	return nil
}

// validTime accepts 0, which is "not set", to limit times unit, in whole units.
func validTime(what string, d, unit time.Duration, limit int64) error {
	if d < 0 || d > time.Duration(limit)*unit || d%unit != 0 {
		return fmt.Errorf("%s must be a multiple of %v, at most %v, not %v", what, unit, time.Duration(limit)*unit, d)
	}
	return nil
}

func (o *Options) validLinger() error {
	if o.Linger == nil {
		return nil
	}
	return validTime("the linger time", *o.Linger, time.Second, maxLinger)
}

func (o *Options) validInterface() error {
	if len(o.Interface) > maxInterfaceNameLen {
		return fmt.Errorf("the interface name %q is longer than %d bytes", o.Interface, maxInterfaceNameLen)
	}
	return nil
}

func (o *Options) validTimeout() error {
	if o.Timeout < 0 {
		return fmt.Errorf("the timeout must not be negative, but is %v", o.Timeout)
	}
	return nil
}

// keepalive says whether SO_KEEPALIVE is to be set.
func (o *Options) keepalive() bool {
	return o.KeepAlive || o.KeepaliveIdle != 0 || o.KeepaliveInterval != 0 || o.KeepaliveCount != 0
}

// exchanges says whether there is something to do on the connection.
func (o *Options) exchanges() bool { return len(o.Send) > 0 || len(o.Expect) > 0 }

// report is what the options change of a socket's life, and of its way, and nil when that is nothing.
func (o *Options) report(s *socket) *event.Options {
	set := event.Options{
		SYNRetries:        o.SYNRetries,
		UserTimeout:       o.UserTimeout,
		KeepAlive:         o.keepalive(),
		KeepaliveIdle:     o.KeepaliveIdle,
		KeepaliveInterval: o.KeepaliveInterval,
		KeepaliveCount:    o.KeepaliveCount,
		Mark:              o.Mark,
	}
	if o.Interface != "" {
		set.Device = s.device()
	}
	if set == (event.Options{}) {
		return nil
	}
	return &set
}

// setting is one integer socket option.
type setting struct {
	name       string
	wanted     bool
	level, opt int
	value      int
	refused    unix.Errno // an error of the kernel that hint explains
	hint       string
}

// settings lists the integer options in the order in which they are set.
func (o *Options) settings() []setting {
	return []setting{
		{name: "TCP_SYNCNT", wanted: o.SYNRetries != 0,
			level: unix.SOL_TCP, opt: unix.TCP_SYNCNT, value: o.SYNRetries},
		{name: "TCP_USER_TIMEOUT", wanted: o.UserTimeout != 0,
			level: unix.SOL_TCP, opt: unix.TCP_USER_TIMEOUT, value: int(o.UserTimeout / time.Millisecond)},
		{name: "TCP_KEEPIDLE", wanted: o.KeepaliveIdle != 0,
			level: unix.SOL_TCP, opt: unix.TCP_KEEPIDLE, value: int(o.KeepaliveIdle / time.Second)},
		{name: "TCP_KEEPINTVL", wanted: o.KeepaliveInterval != 0,
			level: unix.SOL_TCP, opt: unix.TCP_KEEPINTVL, value: int(o.KeepaliveInterval / time.Second)},
		{name: "TCP_KEEPCNT", wanted: o.KeepaliveCount != 0,
			level: unix.SOL_TCP, opt: unix.TCP_KEEPCNT, value: o.KeepaliveCount},
		{name: "SO_KEEPALIVE", wanted: o.keepalive(),
			level: unix.SOL_SOCKET, opt: unix.SO_KEEPALIVE, value: 1},
		{name: "SO_MARK", wanted: o.MarkSet,
			level: unix.SOL_SOCKET, opt: unix.SO_MARK, value: int(o.Mark),
			refused: unix.EPERM, hint: "it needs CAP_NET_ADMIN"},
		{name: "TCP_FASTOPEN_CONNECT", wanted: o.FastOpen,
			level: unix.SOL_TCP, opt: unix.TCP_FASTOPEN_CONNECT, value: 1,
			refused: unix.EOPNOTSUPP, hint: "the sysctl net.ipv4.tcp_fastopen does not allow clients"},
	}
}

// apply sets the options on s. An error names the option that the kernel refused.
func (o *Options) apply(s *socket) error {
	for _, opt := range o.settings() {
		if !opt.wanted {
			continue
		}
		if err := s.set(opt); err != nil {
			return err
		}
	}
	if o.Linger != nil {
		linger := unix.Linger{Onoff: 1, Linger: int32(*o.Linger / time.Second)}
		if err := unix.SetsockoptLinger(s.fd, unix.SOL_SOCKET, unix.SO_LINGER, &linger); err != nil {
			return fmt.Errorf("set SO_LINGER: %w", err)
		}
	}
	if o.Interface != "" {
		if err := unix.BindToDevice(s.fd, o.Interface); err != nil {
			return fmt.Errorf("bind to interface %q: %w", o.Interface, err)
		}
	}
	return nil
}
