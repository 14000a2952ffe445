package sockets

import (
	"cmp"
	"time"

	"tcptrace/tracer/event"
	"tcptrace/tracer/schedule"
)

// Forecast is what becomes of a socket if nothing comes from its peer any more. All times count from the moment at which
// the socket was read.
type Forecast struct {
	Next Next
	// Ends says that the kernel gives up, or lets the socket go, without anybody's doing. Otherwise nothing but the
	// application or the peer ever ends it.
	Ends    bool
	GivesUp time.Duration // with exact timers
	Latest  time.Duration // with timers as late as the timer wheel makes them
	// Earliest is GivesUp, save where late timers can reach a time limit one or more transmissions sooner.
	Earliest time.Duration
	Rule     Rule
	Errno    event.Errno // what the application reads then; 0 where there is none to read it
	Reset    bool        // the peer is told, by a RST

	// Answered is about a window that is shut: what comes of it if the peer goes on to answer probes.
	Answered Answered
}

// Next is the fire of a timer that does something. The zero value says that none is armed.
type Next struct {
	What    What
	In      time.Duration // negative: overdue
	Latest  time.Duration // the latest that the timer wheel allows
	Attempt int           // which one it is, from 1; 0 where that says nothing
	Of      int           // how many there will be; 0: unknown, or no end of them
}

// What is what a timer does when it fires, by a name that outputs have.
type What string

// What timers do.
const (
	SYNRetransmit    What = "syn_retransmit"
	SYNACKRetransmit What = "synack_retransmit"
	Retransmit       What = "retransmit"
	LossProbe        What = "loss_probe"
	ReorderTimeout   What = "reorder_timeout"
	WindowProbe      What = "window_probe"
	KeepaliveProbe   What = "keepalive_probe"
	GiveUp           What = "give_up"
	Release          What = "release" // an orderly end: of TIME_WAIT, or of FIN_WAIT2
)

// Rule is by which clause the kernel ends a socket.
type Rule string

// The rules: those of package schedule, by their names, and some that are no timer's of transmissions.
const (
	RuleSilence    Rule = "silence"     // that of schedule
	RuleFinTimeout Rule = "fin_timeout" // tcp_fin_timeout, or TCP_LINGER2: the peer's FIN never came
	RuleTimeWait   Rule = "time_wait"   // a minute in TIME_WAIT
)

// Answered is how a shut window ends while the peer answers every probe.
type Answered string

// The ends of a window that stays shut.
const (
	AnsweredNever Answered = "never"        // it lives as long as the peer answers
	AnsweredSame  Answered = "user_timeout" // TCP_USER_TIMEOUT ends it all the same
)

// Forecast says what becomes of the socket. hz is the kernel's ticks a second; 0 means unknown.
func (s *Socket) Forecast(hz int) Forecast {
	switch {
	case s.State == event.StateListen:
		return Forecast{}
	case s.State == event.StateTimeWait:
		return s.released(0, hz)
	case s.State == event.StateNewSYNRecv:
		return s.halfOpen(hz)
	case s.Options == nil || s.Sysctls == nil:
		return s.unruled(hz)
	}
	switch live := s.Live(); live.Name {
	case TimerRetransmit:
		return s.retransmission(hz)
	case TimerTLP:
		return s.beforeRetransmission(LossProbe, hz)
	case TimerReorder:
		return s.beforeRetransmission(ReorderTimeout, hz)
	case TimerPersist:
		return s.shutWindow(hz)
	case TimerKeepalive:
		return s.idle(hz)
	case TimerFinWait2:
		return s.released(s.afterFinWait2(hz), hz)
	}
	return Forecast{}
}

// unruled is what can be said without knowing the options and sysctls: when the timer fires.
func (s *Socket) unruled(hz int) Forecast {
	live := s.Live()
	what, ok := firesAs[live.Name]
	if !ok {
		return Forecast{}
	}
	if s.State == event.StateSYNSent {
		what = SYNRetransmit
	}
	return Forecast{Next: Next{What: what, In: live.Left, Latest: live.Left + schedule.WheelDelay(s.RTO, hz), Attempt: s.Retries() + 1}}
}

// firesAs is what the timers do, most often: any may give up instead.
var firesAs = map[string]What{
	TimerRetransmit: Retransmit,
	TimerTLP:        LossProbe,
	TimerReorder:    ReorderTimeout,
	TimerPersist:    WindowProbe,
	TimerKeepalive:  KeepaliveProbe,
}

// from turns a forecast of package schedule, whose times are offsets, into one that counts from now, an offset too.
func from(f schedule.Forecast, now time.Duration, what What, attempt int) Forecast {
	next := Next{What: what, In: f.Due - now, Latest: f.Latest - now, Attempt: attempt, Of: f.Total}
	if f.Last {
		next.What, next.Attempt, next.Of = GiveUp, 0, 0
	}
	if f.GivesUp == 0 {
		return Forecast{Next: next}
	}
	return Forecast{
		Next: next, Ends: true,
		GivesUp: f.GivesUp - now, Latest: f.GivesUpLatest - now, Earliest: f.GivesUpEarliest - now,
		Rule: Rule(f.Rule.String()),
	}
}

// dies adds how a socket that a timer kills tells it.
func (s *Socket) dies(f Forecast) Forecast {
	if f.Ends && !s.Orphan {
		f.Errno = cmp.Or(s.SoftError, event.ETIMEDOUT)
	}
	return f
}

// rtoMax is the longest wait between retransmissions, of those that the kernel takes (TCP_RTO_MAX_MS). Kernels without such
// a setting have a constant.
func (s *Socket) rtoMax() time.Duration {
	const least, most = time.Second, 2 * time.Minute // TCP_RTO_MAX_MIN_SEC, TCP_RTO_MAX
	return min(max(cmp.Or(s.Options.RTOMax, s.Sysctls.RTOMax, most), least), most)
}

// retransmission is the forecast of a socket whose retransmission timer is armed.
func (s *Socket) retransmission(hz int) Forecast {
	switch {
	case s.State == event.StateSYNSent:
		return s.dies(s.connecting(hz))
	case s.State == event.StateSYNRecv:
		return s.unruled(hz) // Fast Open's, whose timer goes by the rules of a request that is gone
	case s.shutInFlight():
		return s.dies(s.shrunkWindow(hz))
	}
	return s.dies(s.dataInFlight(hz))
}

// connecting forecasts an unanswered SYN. The timer was armed with the RTO, so that is when the last SYN left.
func (s *Socket) connecting(hz int) Forecast {
	syn := schedule.SYN{
		Retries:        cmp.Or(s.Options.SYNRetries, s.Sysctls.SYNRetries),
		LinearTimeouts: s.Sysctls.SYNLinearTimeouts,
		UserTimeout:    s.Options.UserTimeout,
		RTOMax:         s.rtoMax(),
		HZ:             hz,
	}
	now, at := s.within(s.Retransmitting, s.RTO)
	return from(syn.After(s.Retransmits, at, s.RTO), now, SYNRetransmit, s.Retransmits+1)
}

// sinceArmed is how long ago the live timer was armed, had it been for so long.
func (s *Socket) sinceArmed(wait time.Duration) time.Duration { return max(0, wait-s.Live().Left) }

// within gives the present as an offset from what the kernel counts elapsed time from, and when its timer was armed, had it
// been for so long. One that TCP_USER_TIMEOUT shortened was armed later than that, to fire at the same time: the forecast is
// the same. Where the kernel does not say what has elapsed, the timer was armed at the beginning.
func (s *Socket) within(elapsed, wait time.Duration) (now, at time.Duration) {
	armed := s.sinceArmed(wait)
	if elapsed <= 0 || armed > elapsed && s.Options.UserTimeout == 0 {
		return armed, 0
	}
	return elapsed, max(0, elapsed-armed)
}

// data is what rules the retransmission of data.
func (s *Socket) data(hz int) schedule.Data {
	return schedule.Data{
		Retries2:      s.Sysctls.Retries2,
		UserTimeout:   s.Options.UserTimeout,
		RTO:           s.RTO,
		RTOMax:        s.rtoMax(),
		Orphan:        s.Orphan,
		OrphanRetries: s.Sysctls.OrphanRetries,
		ThinLinear:    s.ThinLinear && s.InFlight < thinStream && s.State == event.StateEstablished,
		HZ:            hz,
	}
}

// thinStream is how many segments in flight are none too few for a thin stream (tcp_stream_is_thin).
const thinStream = 4

func (s *Socket) dataInFlight(hz int) Forecast {
	if s.Retransmits == 0 {
		return from(s.data(hz).After(0, 0, 0, s.RTO), s.sinceArmed(s.RTO), Retransmit, 1)
	}
	now, at := s.within(s.Retransmitting, s.RTO)
	return from(s.data(hz).After(s.Retransmits, at, 0, s.RTO), now, Retransmit, s.Retransmits+1)
}

// beforeRetransmission forecasts a socket whose timer does something else first, from which the RTO then begins
// (tcp_send_loss_probe, tcp_rack_reo_timeout).
func (s *Socket) beforeRetransmission(what What, hz int) Forecast {
	data := s.data(hz)
	data.LossProbe = max(s.Retransmit.Left, 1)
	f := s.dies(from(data.After(0, 0, 0, s.RTO), 0, Retransmit, 1))
	f.Next = Next{What: what, In: s.Retransmit.Left, Latest: s.Retransmit.Left + schedule.WheelDelay(s.RTO, hz)}
	return f
}

// shutInFlight says whether the peer shut its window on data in flight, so that its retransmission is the window probe.
func (s *Socket) shutInFlight() bool {
	handshake := s.State == event.StateSYNSent || s.State == event.StateSYNRecv
	return !handshake && !s.Orphan && s.InFlight > 0 && s.Traffic != nil && s.Traffic.SendWindow == 0
}

// shrunkWindow forecasts data in flight on which the window was shut.
func (s *Socket) shrunkWindow(hz int) Forecast {
	window := schedule.ShrunkWindow{
		UserTimeout: s.Options.UserTimeout, RTO: s.RTO, RTOMax: s.rtoMax(),
		Left: s.Retransmit.Left, Stuck: s.sinceArmed(s.RTO), Silent: s.LastACK, HZ: hz,
	}
	if s.Retransmitted {
		window.Stuck, window.Retransmitted = s.Retransmitting, true
	}
	scheduled := window.Forecast()
	f := Forecast{
		Next: Next{What: WindowProbe, In: scheduled.Due, Latest: scheduled.Latest}, Ends: true,
		GivesUp: scheduled.GivesUp, Latest: scheduled.GivesUpLatest, Earliest: scheduled.GivesUpEarliest,
		Rule: Rule(scheduled.Rule.String()), Answered: AnsweredNever,
	}
	if scheduled.Last {
		f.Next.What = GiveUp
	}
	if s.Options.UserTimeout > 0 {
		f.Answered = AnsweredSame
	}
	return f
}

// shutWindow forecasts a socket that probes a window which is shut.
func (s *Socket) shutWindow(hz int) Forecast {
	window := schedule.ZeroWindow{
		Retries2:      s.Sysctls.Retries2,
		UserTimeout:   s.Options.UserTimeout,
		RTO:           s.RTO,
		RTOMax:        s.rtoMax(),
		Orphan:        s.Orphan,
		OrphanRetries: s.Sysctls.OrphanRetries,
		HZ:            hz,
	}
	if s.refusedHere() {
		now, at := s.within(s.probing(), schedule.ResourceProbe)
		return s.dies(from(window.AfterRefused(s.Backoff, s.Probes, at, 0), now, WindowProbe, s.Probes+1))
	}
	now, at := s.within(s.probing(), s.probeWait())
	f := s.dies(from(window.After(s.Backoff, s.Probes, at, 0), now, WindowProbe, s.Backoff+1))
	if s.isKeptHere() {
		return f // what the peer never gets it does not answer
	}
	window.Answered = true
	f.Answered = AnsweredNever
	if window.After(s.Backoff, 0, at, 0).GivesUp > 0 {
		f.Answered = AnsweredSame
	}
	return f
}

// refusedHere says that a queue or a filter of this host refused the latest window probe: it is counted, but the timer was not
// doubled for it.
func (s *Socket) refusedHere() bool {
	return !s.Orphan && s.Probes > s.Backoff && s.Backoff < s.Sysctls.Retries2
}

// probing is how long ago the first window probe was; 0: there was none, or that is not known.
func (s *Socket) probing() time.Duration {
	if s.Backoff+s.Probes > 0 && s.Probed {
		return s.Probing
	}
	return 0
}

// probeWait is for how long the timer of window probes is armed (tcp_probe0_when).
func (s *Socket) probeWait() time.Duration {
	wait := max(s.RTO, 200*time.Millisecond) // tcp_probe0_base
	longest := s.rtoMax()
	for range s.Backoff {
		if wait >= longest {
			break
		}
		wait *= 2
	}
	return min(wait, longest)
}

// idle forecasts a socket with keepalive, nothing in flight and nothing to send.
func (s *Socket) idle(hz int) Forecast {
	k := s.keepalive(hz)
	now := s.Idle()
	at := now
	if s.Probes > 0 {
		at = max(0, now-s.sinceArmed(k.Interval))
	} else {
		// The timer may have been armed before an option, or a sysctl, made the wait shorter: then it fires late.
		k.Idle = max(k.Idle, now+s.Keepalive.Left)
	}
	f := s.dies(from(k.After(s.Probes, at), now, KeepaliveProbe, s.Probes+1))
	f.Reset = f.Ends
	return f
}

// keepalive is what rules the probes of an idle connection.
func (s *Socket) keepalive(hz int) schedule.Keepalive {
	return schedule.Keepalive{
		Idle:        cmp.Or(s.Options.KeepaliveIdle, s.Sysctls.KeepaliveIdle),
		Interval:    cmp.Or(s.Options.KeepaliveInterval, s.Sysctls.KeepaliveInterval),
		Count:       cmp.Or(s.Options.KeepaliveCount, s.Sysctls.KeepaliveCount),
		UserTimeout: s.Options.UserTimeout,
		HZ:          hz,
	}
}

// halfOpen forecasts a request, whose settings are its listener's.
func (s *Socket) halfOpen(hz int) Forecast {
	synack := schedule.SYNACK{HZ: hz}
	if s.Options == nil || s.Sysctls == nil {
		return Forecast{Next: Next{What: SYNACKRetransmit, In: s.Lifetime.Left, Latest: s.Lifetime.Left, Attempt: s.Retransmits + 1}}
	}
	synack.Retries = cmp.Or(s.Options.SYNRetries, s.Sysctls.SYNACKRetries)
	if s.Sysctls.SYNACKRTOMax {
		synack.RTOMax = s.rtoMax()
	}
	f := synack.After(s.Backoff, 0)
	f.Total += s.Retransmits - s.Backoff // those that answered SYNs which came again
	return from(f, f.Due-s.Lifetime.Left, SYNACKRetransmit, s.Retransmits+1)
}

// afterFinWait2 is how long a mini-socket stays in FIN_WAIT2 for an orphan that has waited there already: the kernel
// keeps a full socket for what exceeds a minute (tcp_rcv_state_process, tcp_keepalive_timer).
func (s *Socket) afterFinWait2(hz int) time.Duration {
	if s.Linger2 < 0 {
		return 0
	}
	wait := schedule.FinWait2{Linger2: s.Linger2, FinTimeout: s.Sysctls.FinTimeout, RTO: s.RTO, HZ: hz}.Wait()
	return max(0, wait-schedule.TimeWait)
}

// released forecasts a socket whose timer ends it in an orderly way, or hands it on to a mini-socket for as long as rest.
func (s *Socket) released(rest time.Duration, hz int) Forecast {
	live := s.Live()
	if !live.Armed() {
		return Forecast{}
	}
	rule := RuleFinTimeout
	if s.State == event.StateTimeWait && s.Substate != event.StateFinWait2 {
		rule = RuleTimeWait
	}
	end := live.Left + rest
	latest := end + schedule.WheelDelay(schedule.TimeWait, hz)
	return Forecast{
		Next: Next{What: Release, In: end, Latest: latest},
		Ends: true, GivesUp: end, Latest: latest, Earliest: end, Rule: rule,
		Reset: s.State == event.StateFinWait2 && rest == 0,
	}
}
