package event

import (
	"net/netip"
	"strconv"

	"tcptrace/tracer/jsonline"
)

// Writer writes events like [Event.AppendLine], in a third of the time where there are many: what nearly all have is written by
// code of its own, and addresses, owners, settings and seconds are mostly those of an event before. It is not safe for
// concurrent use.
type Writer struct {
	object jsonline.Object[Event]
	clock  jsonline.Clock
	known  [places]knownConnection
}

// places is how many connections the text is kept of that was written of them lately: a power of two.
const places = 256

// knownConnection is what the events of a connection have in common, and how that is written.
type knownConnection struct {
	conn          ConnID
	cookie        uint64
	local, remote netip.AddrPort
	netns         uint32
	role          Role
	identity      []byte // from the key "conn" to "role"

	isn, peerISN uint32
	numbers      []byte // the keys "isn" and "peer_isn"
}

// The keys that a connection's events have in common.
var (
	identityKeys = eventObject.Keys("conn", "role")
	numberKeys   = eventObject.Keys("isn", "peer_isn")
)

// NewWriter makes a writer.
func NewWriter() *Writer {
	w := new(Writer)
	w.object = eventObject.Remembering().Instead("n", "peer_isn", w.appendWhoAndWhen)
	return w
}

// AppendLine is [Event.AppendLine].
func (w *Writer) AppendLine(dst []byte, e *Event, line string) []byte {
	return w.object.Append(dst, e, line)
}

// appendWhoAndWhen adds what [whoAndWhen] does.
func (w *Writer) appendWhoAndWhen(dst []byte, e *Event) []byte {
	if e.N != 0 {
		dst = strconv.AppendUint(append(dst, `,"n":`...), e.N, 10)
	}
	if e.Nth != 0 {
		dst = strconv.AppendUint(append(dst, `,"nth":`...), uint64(e.Nth), 10)
	}
	if jsonline.HasTime(e.Time) {
		dst = w.clock.AppendTime(append(dst, `,"time":`...), e.Time)
	}
	if e.Mono != 0 {
		dst = strconv.AppendInt(append(dst, `,"mono_ns":`...), int64(e.Mono), 10)
	}
	if e.N != 0 || e.Offset != 0 {
		dst = jsonline.AppendMillis(append(dst, `,"offset_ms":`...), e.Offset)
	}
	if e.Kind != KindUnknown {
		dst = appendName(dst, `,"kind":"`, e.Kind.String())
	}
	c := w.connection(e)
	dst = append(dst, c.identity...)
	dst = appendName(dst, `,"state":"`, e.State.String())
	dst = appendName(dst, `,"old_state":"`, e.OldState.String())
	return append(dst, c.numbers...)
}

// appendName adds one of the contract's names, which need no escape, unless it is empty.
func appendName(dst []byte, lead, name string) []byte {
	if name == "" {
		return dst
	}
	return append(append(append(dst, lead...), name...), '"')
}

// connection is how the event's connection is written, anew where another had its place or more is known of it by now.
func (w *Writer) connection(e *Event) *knownConnection {
	c := &w.known[e.Conn.Slot(places)]
	if !c.isOf(e) {
		c.conn, c.cookie, c.local, c.remote, c.netns, c.role = e.Conn, e.Cookie, e.Local, e.Remote, e.NetNS, e.Role
		c.identity = identityKeys.AppendKeys(c.identity[:0], e)
	}
	if c.isn != e.ISN || c.peerISN != e.PeerISN {
		c.isn, c.peerISN = e.ISN, e.PeerISN
		c.numbers = numberKeys.AppendKeys(c.numbers[:0], e)
	}
	return c
}

func (c *knownConnection) isOf(e *Event) bool {
	return c.conn == e.Conn && c.cookie == e.Cookie && c.local == e.Local && c.remote == e.Remote && c.netns == e.NetNS && c.role == e.Role
}
