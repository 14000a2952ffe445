package scan

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"tcptrace/prober"
)

// Scan is one round over a list of targets.
type Scan struct {
	targets []Target
	opts    Options
	room    Room
	epoch   time.Time

	next    atomic.Int64 // the first target that no worker has taken
	began   atomic.Int64
	ended   atomic.Int64
	started atomic.Int64 // connects, restarts included
	stop    atomic.Bool
	results chan []Result
	free    chan []Result // batches that can be filled again
}

// batches is how many batches of results wait for each other at the most, before workers do.
const batches = 64

// New prepares a scan of targets, which must differ in their addresses and stay as they are. An error means that this
// host has no room for even one.
func New(targets []Target, opts Options) (*Scan, error) {
	if err := opts.Validate(); err != nil {
		return nil, err
	}
	s := &Scan{targets: targets, opts: opts, results: make(chan []Result, batches), free: make(chan []Result, batches)}
	err := opts.NetNS.Do(func() (err error) {
		s.room, err = measureRoom(len(targets), &opts)
		return err
	})
	return s, err
}

// Room is what the host has room for, and with how many threads the scan uses it.
func (s *Scan) Room() Room { return s.room }

// Progress is how far a scan has come. It may be asked for at any time, by any goroutine.
type Progress struct {
	Began    int // targets whose connect has begun
	Ended    int // targets that have a result
	Connects int // connects, restarts included
}

// Progress counts what has happened so far.
func (s *Scan) Progress() Progress {
	return Progress{Began: int(s.began.Load()), Ended: int(s.ended.Load()), Connects: int(s.started.Load())}
}

// Began is when Run was called.
func (s *Scan) Began() time.Time { return s.epoch }

// Run connects to all targets and hands the results to report, in batches, in the order in which targets end. It returns
// when every target has a result, or soon after ctx has ended: then what was in progress has none, but whatever had an
// answer by then is reported. A scan runs once.
//
// report is called by this goroutine; the batch is its own only until it returns.
func (s *Scan) Run(ctx context.Context, report func([]Result)) error {
	s.epoch = time.Now()
	wake, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return fmt.Errorf("make an eventfd: %w", err)
	}
	defer unix.Close(wake)
	// The workers have copies of the eventfd, in tables of their own.
	defer context.AfterFunc(ctx, func() { s.interrupt(wake) })()

	var group sync.WaitGroup
	failures := make([]error, s.room.Workers)
	for number := range s.room.Workers {
		group.Go(func() {
			failures[number] = s.opts.NetNS.DoAlone(func() error { return s.work(number, wake) })
			if failures[number] != nil {
				s.interrupt(wake) // the others cannot take over what was in progress: an end that is known is better
			}
		})
	}
	go func() {
		group.Wait()
		close(s.results)
	}()
	for batch := range s.results {
		report(batch)
		select {
		case s.free <- batch:
		default: // there are enough
		}
	}
	return errors.Join(failures...)
}

// interrupt has all workers end.
func (s *Scan) interrupt(wake int) {
	s.stop.Store(true)
	_, _ = unix.Write(wake, []byte{1, 0, 0, 0, 0, 0, 0, 0}) // it fails only when it is readable already
}

// since is the time from the scan's beginning, by CLOCK_MONOTONIC.
func (s *Scan) since() time.Duration { return time.Since(s.epoch) }

// take gives the next target that nobody has taken.
func (s *Scan) take() (target int, ok bool) {
	n := int(s.next.Add(1)) - 1
	return n, n < len(s.targets)
}

// alone runs fn on a thread that ends with it.
func alone(fn func() error) error {
	var here *prober.NetNS
	return here.DoAlone(fn)
}
