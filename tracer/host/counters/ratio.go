package counters

import "strings"

// Ratio is a share that people compute of counters. The kernel counts both of its sides; neither is a part of the other,
// so that it may well be more than 1.
type Ratio struct {
	Name  string // what it is a share of what
	Of    []Key  // added up
	Less  []Key  // taken off again
	Among []Key  // added up
	Means string
}

// Ratios are those that tell something.
func Ratios() []Ratio { return ratios }

var ratios = []Ratio{
	{
		Name: "retransmission rate", Of: keys("Tcp.RetransSegs"), Among: keys("Tcp.OutSegs"),
		Means: "the one that most tools show; OutSegs has ACKs in it, and no retransmissions of data",
	},
	{
		Name: "data sent again", Of: keys("Tcp.RetransSegs"), Less: keys("TcpExt.TCPSynRetrans"),
		Among: keys("TcpExt.TCPOrigDataSent"),
		Means: "of segments of data alone; above about 1% something loses packets",
	},
	{
		Name: "handshakes sent again", Of: keys("TcpExt.TCPSynRetrans"), Among: keys("Tcp.ActiveOpens", "Tcp.PassiveOpens"),
		Means: "SYNs and SYN-ACKs; each costs a connection a second or more",
	},
	{
		Name: "handshakes failed", Of: keys("Tcp.AttemptFails"), Among: keys("Tcp.ActiveOpens", "Tcp.PassiveOpens"),
		Means: "refused, timed out, or given up",
	},
	{
		Name: "retransmissions in vain", Of: keys("TcpExt.TCPDSACKRecvSegs"), Among: keys("Tcp.RetransSegs"),
		Means: "peers say that these segments arrived twice",
	},
	{
		Name: "UDP dropped at sockets", Of: keys("Udp.RcvbufErrors", "Udp6.RcvbufErrors"),
		Among: keys("Udp.InDatagrams", "Udp6.InDatagrams", "Udp.RcvbufErrors", "Udp6.RcvbufErrors"),
		Means: "of the datagrams that reached a socket, those for which its buffer had no room",
	},
	{
		Name: "UDP damaged", Of: keys("Udp.InCsumErrors", "Udp6.InCsumErrors"),
		Among: keys("Udp.InDatagrams", "Udp6.InDatagrams", "Udp.InErrors", "Udp6.InErrors"),
		Means: "of the datagrams that reached a socket, those with a wrong checksum",
	},
}

// keys reads names as [Key.String] writes them.
func keys(names ...string) []Key {
	all := make([]Key, len(names))
	for i, name := range names {
		all[i].Group, all[i].Name, _ = strings.Cut(name, ".")
	}
	return all
}

// Compute takes the two sides from values, which may be counters or what they have grown by. It is false where the kernel
// lacks one of the counters, or where there is nothing to have a share of.
func (r *Ratio) Compute(values Values) (part, whole int64, ok bool) {
	part, has := sum(values, r.Of)
	less, hasLess := sum(values, r.Less)
	whole, hasWhole := sum(values, r.Among)
	part = max(0, part-less)
	return part, whole, has && hasWhole && (hasLess || r.Less == nil) && whole > 0
}

// sum adds up the counters that are there; it is false if none is.
func sum(values Values, keys []Key) (total int64, any bool) {
	for _, key := range keys {
		n, ok := values[key]
		total += n
		any = any || ok
	}
	return total, any
}
