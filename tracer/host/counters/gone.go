package counters

// Gone is a counter that old descriptions tell of and today's kernels do not have.
type Gone struct {
	Key
	Since string // the first kernel without it
	Means string // what it was, and what became of it
}

// AllGone are those that people still look for.
func AllGone() []Gone { return gone }

var gone = []Gone{
	{
		tcpExt("TCPPrequeued"), "4.14",
		"segments that waited for a reader in a queue of their own: there is no prequeue any more",
	},
	{
		tcpExt("TCPDirectCopyFromBacklog"), "4.14",
		"bytes that a reader took straight from the backlog: there is no prequeue any more",
	},
	{
		tcpExt("TCPDirectCopyFromPrequeue"), "4.14",
		"bytes that a reader took straight from the prequeue: there is none any more",
	},
	{
		tcpExt("TCPPrequeueDropped"), "4.14",
		"segments for which the prequeue had no room: there is none any more",
	},
	{
		tcpExt("TCPHPHitsToUser"), "4.14",
		"predicted segments that went straight to a reader: TCPHPHits counts them like others",
	},
	{
		tcpExt("TCPForwardRetrans"), "4.14",
		"retransmissions of what no SACK had told of: the kernel does none of these any more",
	},
	{
		tcpExt("PAWSPassive"), "4.12",
		"SYNs that a per-host timestamp check refused: it went with tcp_tw_recycle",
	},
	{
		tcpExt("TCPFACKReorder"), "4.15",
		"reordering that forward acknowledgement found: RACK and SACK took its place",
	},
	{
		tcpExt("TCPAbortOnSyn"), "3.6",
		"connections that a SYN within the window reset: it is answered now, and counted by TCPSYNChallenge",
	},
}

func tcpExt(name string) Key { return Key{"TcpExt", name} }
