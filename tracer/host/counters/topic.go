package counters

// Topic is what a counter is about.
type Topic string

// The topics, in the order in which people should read them.
const (
	Connecting     Topic = "connecting"
	Listening      Topic = "listening"
	Retransmitting Topic = "retransmitting"
	Timers         Topic = "keepalive and timers"
	Aborts         Topic = "aborts and resets"
	Memory         Topic = "memory and buffers"
	Segments       Topic = "segments and acknowledgements"
	IP             Topic = "ip"
	ICMP           Topic = "icmp"
	UDP            Topic = "udp"
	Softirq        Topic = "softirq of the whole host"
	InUse          Topic = "sockets in use"
	Other          Topic = "not described here"
)

// Topics are all of them, in their order.
func Topics() []Topic {
	return []Topic{
		Connecting, Listening, Retransmitting, Timers, Aborts, Memory, Segments, IP, ICMP, UDP, Softirq, InUse, Other,
	}
}
