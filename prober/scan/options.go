package scan

import (
	"fmt"
	"net/netip"
	"time"

	"tcptrace/prober"
)

// DefaultTimeout ends a connect where Options say nothing.
const DefaultTimeout = 10 * time.Second

// Options is how a scan connects. The zero value is as fast as this host allows.
type Options struct {
	// Timeout is each target's own, from its first connect(). 0 means [DefaultTimeout].
	Timeout time.Duration
	// Refresh restarts a connect that is still unanswered after that long, and again each time: a SYN from a new source
	// port. 0 leaves all retries to the kernel.
	Refresh time.Duration
	// Rate bounds how many connects begin in a second, restarts included. 0 is no bound.
	Rate float64
	// MaxPending bounds how many are in progress at a time. 0 leaves that to what the host has room for.
	MaxPending int
	// Source is the address to connect from; that a target is of the other family is a local error.
	Source netip.Addr
	// SYNRetries is TCP_SYNCNT, 1 to 127; 0 leaves it to the sysctl.
	SYNRetries int
	// Orderly closes connections by a FIN, which leaves a TIME_WAIT socket behind for each; otherwise they are reset.
	Orderly bool
	// NetNS is the network namespace to connect in; nil is this one. It must stay open until Run has returned.
	NetNS *prober.NetNS
	// Workers is how many threads share the work; 0 means as many as are of use.
	Workers int
}

// Validate says in one sentence what makes no sense.
func (o *Options) Validate() error {
	connect := prober.Options{Timeout: o.Timeout, SYNRetries: o.SYNRetries}
	if err := connect.Validate(); err != nil {
		return err
	}
	switch {
	case o.Refresh < 0:
		return fmt.Errorf("the refresh interval must not be negative, but is %v", o.Refresh)
	case o.Rate < 0:
		return fmt.Errorf("the rate must not be negative, but is %v", o.Rate)
	case o.MaxPending < 0:
		return fmt.Errorf("how many may be in progress must not be negative, but is %d", o.MaxPending)
	case o.Workers < 0:
		return fmt.Errorf("the number of workers must not be negative, but is %d", o.Workers)
	}
	return nil
}

func (o *Options) timeout() time.Duration {
	if o.Timeout == 0 {
		return DefaultTimeout
	}
	return o.Timeout
}
