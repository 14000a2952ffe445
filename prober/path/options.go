package path

import (
	"cmp"
	"errors"
	"fmt"
	"time"

	"tcptrace/prober"
)

// What the zero [Options] stand for.
const (
	DefaultMaxHops = 30
	DefaultQueries = 3
	// DefaultWait ends before the kernel repeats a SYN, which it does after a second (TCP_TIMEOUT_INIT).
	DefaultWait = 900 * time.Millisecond
)

// The largest values.
const (
	MaxHops    = 255 // one byte of the IP header
	MaxQueries = 100
	MaxWait    = time.Minute
)

// Options says how to look for a route. The zero value takes the defaults above.
type Options struct {
	FirstHop int           // 0 means 1
	MaxHops  int           // 0 means DefaultMaxHops
	Queries  int           // SYNs for each hop; 0 means DefaultQueries
	Wait     time.Duration // for the answer to one SYN; 0 means DefaultWait

	// Sequential asks one hop after the other, all from one source port, so that routers with several paths of equal cost
	// take the same for all. Otherwise hops are asked at once, each from a port of its own. A SourcePort implies it: two
	// connections cannot have the same ends at a time.
	Sequential bool

	// Probe sets up the sockets: Source, SourcePort, Interface, Mark and NetNS count.
	Probe prober.Options
}

// Validate says in one sentence what is wrong.
func (o *Options) Validate() error {
	set := o.withDefaults()
	return cmp.Or(
		between("the first hop", set.FirstHop, 1, MaxHops),
		between("the last hop", set.MaxHops, 1, MaxHops),
		between("the number of queries", set.Queries, 1, MaxQueries),
		set.validHops(),
		set.validWait(),
		set.Probe.Validate(),
	)
}

func between(what string, n, least, most int) error {
	if n < least || n > most {
		return fmt.Errorf("%s must be %d to %d, not %d", what, least, most, n)
	}
	return nil
}

func (o *Options) validHops() error {
	if o.FirstHop > o.MaxHops {
		return fmt.Errorf("the first hop, %d, is beyond the last, %d", o.FirstHop, o.MaxHops)
	}
	return nil
}

func (o *Options) validWait() error {
	if o.Wait < 0 || o.Wait > MaxWait {
		return errors.New("the wait for an answer must be at most " + MaxWait.String())
	}
	return nil
}

func (o *Options) withDefaults() Options {
	set := *o
	set.FirstHop = cmp.Or(o.FirstHop, 1)
	set.MaxHops = cmp.Or(o.MaxHops, DefaultMaxHops)
	set.Queries = cmp.Or(o.Queries, DefaultQueries)
	set.Wait = cmp.Or(o.Wait, DefaultWait)
	set.Sequential = o.Sequential || o.Probe.SourcePort != 0
	return set
}

// probe is how the socket of a SYN with that hop limit is set up.
func (o *Options) probe(ttl int) prober.Options {
	set := o.Probe
	set.HopLimit, set.Timeout, set.SYNRetries = ttl, o.Wait, synRetries(o.Wait)
	// A reset leaves no TIME_WAIT, so the same ends can be used again at once, and nothing for the peer to wait for.
	set.Linger = new(time.Duration)
	return set
}

// synRetries is the least TCP_SYNCNT with which the kernel does not give up within wait: with n it does after
// 2^(n+1)-1 seconds at the earliest (tcp_write_timeout). Fewer would end the wait, none would leave it to a sysctl.
func synRetries(wait time.Duration) int {
	n := 1
	for time.Duration(1<<(n+1)-1)*time.Second <= wait {
		n++
	}
	return n
}
