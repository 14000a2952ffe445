package scan

import (
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"tcptrace/prober"
	"tcptrace/tracer/event"
)

// A worker has a thread to itself, and a table of file descriptors. The table is a copy: what else the process has open
// stays open in it until the thread ends, so that the Go runtime, which may wait for its poller on any thread, still
// finds it. Nothing that a worker opens is known to anybody else.
type worker struct {
	scan     *Scan
	epoll    int
	wake     int // readable once the scan is to stop
	capacity int // connects in progress
	pace     pacer

	connections connectionTable
	serial      uint32
	pending     int
	held        int // a target that found no room; -1: none
	exhausted   bool

	deadlines queue // of targets
	refreshes queue // of attempts
	finished  queue // connected, told, and still to be closed

	sockaddrs addresses
	info      tcpInfo
	events    [256]unix.EpollEvent
	batch     []Result
	handed    time.Duration // when results were last handed over
}

const (
	// drainEvery is how many connects begin between two looks at the answers: an answer waits no longer than they take.
	drainEvery = 8
	// mostFinished is how many connections wait at the most for a moment to be closed in: a quarter of a second's worth.
	mostFinished = 8192
	// batchSize is how many results are handed over at a time, when they come that fast.
	batchSize = 128
	// batchDelay is how long a result may wait for others.
	batchDelay = 10 * time.Millisecond
)

// work is what a worker's thread does.
func (s *Scan) work(number, wake int) error {
	if s.room.ownTables {
		if err := unix.Unshare(unix.CLONE_FILES); err != nil {
			return fmt.Errorf("make a table of file descriptors: %w", err)
		}
	}
	w := &worker{scan: s, wake: wake, capacity: s.room.perWorker, held: -1}
	if s.opts.Rate > 0 {
		w.pace.interval = time.Duration(float64(time.Second) * float64(s.room.Workers) / s.opts.Rate)
		w.pace.next = w.pace.interval * time.Duration(number) / time.Duration(s.room.Workers)
	}
	if err := w.open(); err != nil {
		return err
	}
	defer unix.Close(w.epoll)
	err := w.run()
	w.abandon()
	w.handOver()
	return err
}

func (w *worker) open() (err error) {
	if w.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return fmt.Errorf("make an epoll instance: %w", err)
	}
	// Level-triggered and never read: it wakes every worker, and goes on doing so.
	event := unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(w.wake)}
	if err := unix.EpollCtl(w.epoll, unix.EPOLL_CTL_ADD, w.wake, &event); err != nil {
		unix.Close(w.epoll)
		return fmt.Errorf("watch an eventfd: %w", err)
	}
	return nil
}

// run goes on until every target that this worker took has ended and there are no more, or the scan is to stop.
func (w *worker) run() error {
	for !w.scan.stop.Load() {
		w.begin()
		if w.exhausted && w.held < 0 && w.pending == 0 {
			return nil
		}
		patience := w.patience()
		if patience > 0 && w.finished.len() > 0 {
			w.closeFinished()
			patience = 0
		}
		if err := w.drain(patience); err != nil {
			return err
		}
		if err := w.expire(); err != nil {
			return err
		}
		w.refresh()
	}
	return w.drain(0)
}

// begin begins a few connects, if it may.
func (w *worker) begin() {
	for range drainEvery {
		if !w.mayBegin() || !w.pace.due(w.scan.since()) {
			return
		}
		target := w.held
		w.held = -1
		if target < 0 {
			var ok bool
			if target, ok = w.scan.take(); !ok {
				w.exhausted = true
				return
			}
			w.scan.began.Add(1)
		}
		w.connect(target)
	}
}

func (w *worker) mayBegin() bool {
	return w.pending < w.capacity && (w.held >= 0 || !w.exhausted)
}

// patience is how long there is nothing to do but wait for answers.
func (w *worker) patience() time.Duration {
	const longest = time.Second
	now := w.scan.since()
	next := now + longest
	if w.mayBegin() {
		next = min(next, max(now, w.pace.next))
		if w.pace.interval == 0 {
			return 0
		}
	}
	if first, ok := w.deadlines.first(); ok {
		next = min(next, first.due)
	}
	if first, ok := w.refreshes.first(); ok {
		next = min(next, max(first.due, w.pace.next))
	}
	if len(w.batch) > 0 {
		next = min(next, w.handed+batchDelay)
	}
	return max(0, next-now)
}

// connect makes the first attempt for a target.
func (w *worker) connect(target int) {
	if w.pending+w.finished.len() >= w.capacity || w.finished.len() >= mostFinished {
		w.closeFinished()
	}
	addr := w.scan.targets[target].Addr
	fd, err := w.scan.opts.newSocket(addr.Addr(), &w.sockaddrs)
	began := w.scan.since()
	if err != nil {
		w.refuse(target, began, err)
		return
	}
	w.serial = max(w.serial+1, 1)
	c := w.connections.room(fd)
	*c = connection{serial: w.serial, target: int32(target), attempts: 1, began: began, attempt: began}
	w.pending++
	w.scan.started.Add(1)
	err = unix.Connect(fd, w.sockaddrs.of(fd, addr))
	if !isUnderWay(err) {
		w.finishAtOnce(fd, err)
		return
	}
	// Only now: epoll reports a socket that has not begun to connect as hung up.
	event := unix.EpollEvent{Events: unix.EPOLLOUT | unix.EPOLLET&0xffffffff, Fd: int32(fd)}
	if err := unix.EpollCtl(w.epoll, unix.EPOLL_CTL_ADD, fd, &event); err != nil {
		w.finishAtOnce(fd, err)
		return
	}
	w.deadlines.push(waiting{due: began + w.scan.opts.timeout(), fd: int32(fd), serial: c.serial})
	w.awaitRefresh(fd, c)
}

func (w *worker) awaitRefresh(fd int, c *connection) {
	if every := w.scan.opts.Refresh; every > 0 && every < w.scan.opts.timeout() {
		w.refreshes.push(waiting{due: c.attempt + every, fd: int32(fd), serial: c.serial})
	}
}

// isUnderWay says whether connect() has begun a handshake, or even completed it.
func isUnderWay(err error) bool {
	return err == nil || errors.Is(err, unix.EINPROGRESS) || errors.Is(err, unix.EINTR)
}

// live is the connection that an entry of a queue is about, nil if it has ended.
func (w *worker) live(entry waiting) *connection {
	if c := w.connections.at(int(entry.fd)); c.serial == entry.serial {
		return c
	}
	return nil
}

// refuse deals with a socket that could not be had. As long as there are others, there is hope that one of them makes
// room.
func (w *worker) refuse(target int, began time.Duration, err error) {
	if held := w.pending + w.finished.len(); held > 0 && isShortage(err) {
		w.held, w.capacity = target, held
		w.closeFinished()
		return
	}
	w.add(Result{Target: int32(target), Outcome: LocalError, Errno: errnoOf(err), Began: began, Attempts: 1})
}

// isShortage says that an error is about something that others use up.
func isShortage(err error) bool {
	switch {
	case errors.Is(err, unix.EMFILE), errors.Is(err, unix.ENFILE), errors.Is(err, unix.ENOBUFS), errors.Is(err, unix.ENOMEM):
		return true
	}
	return false
}

// drain takes the answers that there are, after waiting for the first of them that long. It goes on until there are no
// more, so that no deadline is looked at before the answers that came in time.
func (w *worker) drain(patience time.Duration) error {
	if len(w.batch) > 0 && w.handed+batchDelay <= w.scan.since() {
		w.handOver()
	}
	for {
		n, err := unix.EpollWait(w.epoll, w.events[:], milliseconds(patience))
		if errors.Is(err, unix.EINTR) {
			n, err = 0, nil
		}
		if err != nil {
			return fmt.Errorf("wait for answers: %w", err)
		}
		noticed := w.scan.since()
		for _, e := range w.events[:n] {
			if int(e.Fd) != w.wake && !w.settle(int(e.Fd), noticed) {
				w.connections.at(int(e.Fd)).errors = true
			}
		}
		if n < len(w.events) {
			return nil
		}
		patience = 0
	}
}

// milliseconds is what epoll_wait takes, rounded up so that the time has come when it returns.
func milliseconds(d time.Duration) int { return int((d + time.Millisecond - 1) / time.Millisecond) }

// settle ends a connection if its handshake has ended. Not what epoll says decides, but the state of the TCP: an ICMP error
// that comes while connect() holds the socket is reported, but the kernel goes on.
func (w *worker) settle(fd int, noticed time.Duration) bool {
	c := w.connections.at(fd)
	if c.serial == 0 {
		return false
	}
	w.info.read(fd)
	result := w.result(c, noticed)
	switch w.info.state() {
	case event.StateSYNSent, event.StateSYNRecv:
		return false
	case event.StateClose:
		result.Errno = pendingError(fd)
		queued, icmp, _ := prober.QueuedError(fd)
		if result.Errno == 0 {
			result.Errno = queued
		}
		result.ICMP = icmp
		result.Outcome = outcomeOf(result.Errno, icmp)
	default:
		result.Outcome = Connected
		w.measure(&result, c)
	}
	w.end(fd, result)
	return true
}

// measure takes the kernel's own time of a handshake. With a retry it would be no good: it is in milliseconds then, and
// counts from the retry.
func (w *worker) measure(result *Result, c *connection) {
	if w.info.Total_retrans != 0 || w.info.Rtt == 0 {
		return
	}
	rtt := time.Duration(w.info.Rtt) * time.Microsecond
	if connect := c.attempt - c.began + rtt; connect <= result.Noticed {
		result.RTT, result.Connect, result.Clock = rtt, connect, InfoClock
	}
}

// result begins the result of a connection by what the last look at it says.
func (w *worker) result(c *connection, noticed time.Duration) Result {
	return Result{
		Target: c.target, Began: c.began, Connect: noticed - c.began, Noticed: noticed - c.began,
		SYNs: c.syns + w.info.syns(), Attempts: c.attempts,
	}
}

// outcomeOf says what an errno means that came from the network.
func outcomeOf(errno event.Errno, icmp *event.ICMP) Outcome {
	switch {
	case icmp != nil:
		return Unreachable
	case errno == event.ECONNREFUSED:
		return Refused
	case errno == event.ECONNRESET, errno == event.EPIPE:
		return Reset
	case errno == event.ETIMEDOUT:
		return TimedOut
	case errno == event.EHOSTUNREACH:
		return Unreachable // the last link found nobody
	}
	return LocalError
}

// finishAtOnce ends a connection whose connect() returned an error. Only a refusal can have come from the peer that fast.
func (w *worker) finishAtOnce(fd int, err error) {
	c := w.connections.at(fd)
	w.info = tcpInfo{}
	result := w.result(c, w.scan.since())
	result.Errno, result.Outcome = errnoOf(err), LocalError
	if result.Errno == event.ECONNREFUSED {
		result.Outcome = Refused
	} else {
		result.SYNs = c.syns
	}
	w.end(fd, result)
}

// end keeps the result of a connection. To close one that was made takes as long as to begin half of another, so that waits
// until there is nothing better to do.
func (w *worker) end(fd int, result Result) {
	w.connections.at(fd).serial = 0
	w.pending--
	if result.Outcome == Connected {
		w.finished.push(waiting{fd: int32(fd)})
	} else {
		_ = unix.Close(fd) // whatever it says, the descriptor is gone
	}
	w.add(result)
}

// closeFinished closes a few of the connections that wait for it.
func (w *worker) closeFinished() {
	for range drainEvery {
		connection, ok := w.finished.first()
		if !ok {
			return
		}
		w.finished.drop()
		if w.scan.opts.Orderly {
			_ = unix.Close(int(connection.fd))
		} else {
			closeByReset(int(connection.fd))
		}
	}
}

func (w *worker) add(result Result) {
	w.scan.ended.Add(1)
	w.batch = append(w.batch, result)
	if len(w.batch) >= batchSize {
		w.handOver()
	}
}

// handOver passes the results on.
func (w *worker) handOver() {
	w.handed = w.scan.since()
	if len(w.batch) == 0 {
		return
	}
	w.scan.results <- w.batch
	select {
	case used := <-w.scan.free:
		w.batch = used[:0]
	default:
		w.batch = make([]Result, 0, batchSize)
	}
}

// expire ends what nobody answered in time, after one more look: what was answered in time but is noticed late counts.
func (w *worker) expire() error {
	first, ok := w.deadlines.first()
	if !ok || first.due > w.scan.since() {
		return nil
	}
	if err := w.drain(0); err != nil {
		return err
	}
	for now := w.scan.since(); ok && first.due <= now; first, ok = w.deadlines.first() {
		w.deadlines.drop()
		c := w.live(first)
		if c == nil || w.settle(int(first.fd), now) {
			continue
		}
		result := w.result(c, now)
		result.Outcome = TimedOut
		// The kernel outlives an ICMP error that comes while connect() is at work, and goes on sending SYNs. Here it is all
		// that is known of the target.
		if c.errors {
			if errno, icmp, _ := prober.QueuedError(int(first.fd)); icmp != nil {
				result.Outcome, result.Errno, result.ICMP = Unreachable, errno, icmp
			}
		}
		w.end(int(first.fd), result)
	}
	return nil
}

// refresh restarts the attempts whose time has come, a few at a time.
func (w *worker) refresh() {
	for range drainEvery {
		first, ok := w.refreshes.first()
		if !ok || first.due > w.scan.since() {
			return
		}
		c := w.live(first)
		if c == nil {
			w.refreshes.drop()
			continue
		}
		if !w.pace.due(w.scan.since()) {
			return
		}
		w.refreshes.drop()
		if !w.settle(int(first.fd), w.scan.since()) {
			w.restart(int(first.fd), c)
		}
	}
}

// restart gives an attempt up and makes another with the same socket, which costs half of a new one. The last look at
// the connection was just now.
func (w *worker) restart(fd int, c *connection) {
	c.syns += w.info.syns()
	c.attempts++
	c.attempt = w.scan.since()
	w.scan.started.Add(1)
	err := disconnect(fd)
	if err == nil {
		err = unix.Connect(fd, w.sockaddrs.of(fd, w.scan.targets[c.target].Addr))
	}
	if !isUnderWay(err) {
		w.finishAtOnce(fd, err)
		return
	}
	w.awaitRefresh(fd, c)
}

// abandon closes what is still open.
func (w *worker) abandon() {
	for w.finished.len() > 0 {
		w.closeFinished()
	}
	for fd, c := range w.connections.all() {
		c.serial = 0
		_ = unix.Close(fd)
	}
}

// pendingError is SO_ERROR.
func pendingError(fd int) event.Errno {
	errno, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR)
	if err != nil {
		return errnoOf(err)
	}
	return event.Errno(errno)
}

// errnoOf is the number of a syscall's error.
func errnoOf(err error) event.Errno {
	if errno, ok := errors.AsType[unix.Errno](err); ok {
		return event.Errno(errno)
	}
	return event.EIO
}
