package host

import (
	"maps"
	"regexp"
	"slices"
	"strings"
	"sync"
)

// Drop is a number of packets that a device lost.
type Drop struct {
	Name    string // of its statistics; the sum of one kind over all queues has * where the queue's number was
	Packets int64
	Sending bool   // lost on the way out
	Means   string // what its name says
}

// dropNames tell by its name what a statistic counts, most telling first. Drivers choose names freely; these are what
// those of common network cards have in common.
var dropNames = sync.OnceValue(func() []dropName {
	return []dropName{
		{regexp.MustCompile(`^rx_dropped$`),
			"dropped by the driver or, before any protocol saw them, by the kernel: a full backlog, or nobody speaks their protocol"},
		{regexp.MustCompile(`xdp.*(drop|err)`), "an XDP program, or the sending of what it redirected, dropped them"},
		{regexp.MustCompile(`crc|fcs|frame_err|align|symbol|bad_bytes|length_err|jabber|undersize|oversize`),
			"damaged on the wire, or of a wrong length"},
		{regexp.MustCompile(`rx.*(miss|no_?buf|out_of_buf|no_dma|no_desc|fifo|over_|overrun|overflow|ring_full|alloc)|` +
			`^(missed|no_buff)`),
			"the ring, or the card's memory, was full: it is emptied too slowly"},
		{regexp.MustCompile(`carrier|heartbeat|window_err|aborted|collision`), "the link failed"},
		{regexp.MustCompile(`tx.*(fifo|under|ring_full|timeout|busy|hang)`), "the device did not take them in time"},
		{regexp.MustCompile(`drop|discard`), "the device or its driver dropped them"},
		{regexp.MustCompile(`(^|_)err(or)?s?$|_errors?_|_fail`), "errors of any kind"},
	}
})

// dropName is what the statistics mean whose names match.
type dropName struct {
	name  *regexp.Regexp
	means string
}

// queueNumber is the part of a statistic's name that says of which queue it is.
var queueNumber = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`[_.-]?(?:q|queue|ring)?[_.-]?[0-9]+|\[[0-9]+\]`)
})

// Drops are the statistics that count lost packets, those of all queues of a device added up. A sum that the statistics
// have themselves is told once.
func Drops(statistics map[string]int64) []Drop {
	sums := make(map[string]int64)
	for name, n := range statistics {
		sums[queueNumber().ReplaceAllString(strings.ToLower(name), "*")] += n
	}
	var drops []Drop
	for _, name := range slices.Sorted(maps.Keys(sums)) {
		whole := strings.ReplaceAll(name, "*", "")
		if _, told := sums[whole]; told && whole != name {
			continue
		}
		for _, kind := range dropNames() {
			if kind.name.MatchString(name) {
				drops = append(drops, Drop{name, sums[name], strings.Contains(name, "tx"), kind.means})
				break
			}
		}
	}
	return drops
}
