package schedule

import (
	"cmp"
	"iter"
	"slices"
	"testing"
	"time"
)

// Every row here was measured on a kernel 6.18 with HZ=250, over loopback in a network namespace whose firewall drops
// what arrives: packets by their capture time, the end by polling.

// softirqDelay is how long a timer softirq of that machine may have waited for its CPU, over one course.
const softirqDelay = 4 * time.Millisecond

// checkMeasured holds what was measured, the end being its last, against a prediction.
func checkMeasured(t *testing.T, name string, steps iter.Seq[Step], end End, measured []time.Duration) {
	t.Helper()
	sent, ended := measured[:len(measured)-1], measured[len(measured)-1]
	predicted := slices.Collect(steps)
	if len(predicted) != len(sent) {
		t.Errorf("%s: %d transmissions, measured %d", name, len(predicted), len(sent))
		return
	}
	for i, step := range predicted {
		if sent[i] < step.Offset || sent[i] > step.Latest+softirqDelay {
			t.Errorf("%s: transmission %d was at %v, want from %v to %v", name, i+1, sent[i], step.Offset, step.Latest)
		}
	}
	if ended < end.Earliest || ended > end.Latest+softirqDelay {
		t.Errorf("%s: it ended at %v, want from %v to %v", name, ended, end.Earliest, end.Latest)
	}
}

// eachHZ calls check with the kernel's HZ and with none.
func eachHZ(check func(hz int)) {
	check(250)
	check(0)
}

const ms = time.Millisecond

func TestKeepaliveHoldsWhatWasMeasured(t *testing.T) {
	tests := []struct {
		name      string
		keepalive Keepalive
		measured  []time.Duration // probes, then the end
	}{
		{"one probe", Keepalive{Idle: time.Second, Interval: time.Second, Count: 1}, seconds(1.0272, 2.0552)},
		{"three", Keepalive{Idle: time.Second, Interval: time.Second, Count: 3}, seconds(1.0309, 2.0548, 3.0789, 4.1028)},
		{"three, further apart", Keepalive{Idle: 2 * time.Second, Interval: 3 * time.Second, Count: 3}, seconds(2.0156, 5.1836, 8.2596, 11.3277)},
		{"two, far apart", Keepalive{Idle: 5 * time.Second, Interval: 8 * time.Second, Count: 2}, seconds(5.0753, 13.2632, 21.4552)},
		{"user timeout between probes", Keepalive{Idle: time.Second, Interval: 2 * time.Second, Count: 9, UserTimeout: 4500 * ms}, seconds(1.0032, 3.0231, 5.0352)},
		{"user timeout below the idle time", Keepalive{Idle: time.Second, Interval: time.Second, Count: 9, UserTimeout: 500 * ms}, seconds(1.0109, 2.0350)},
		{"user timeout far below the idle time", Keepalive{Idle: 3 * time.Second, Interval: time.Second, Count: 9, UserTimeout: time.Second}, seconds(3.2033, 4.2273)},
		{"user timeout at a probe", Keepalive{Idle: time.Second, Interval: time.Second, Count: 9, UserTimeout: 3 * time.Second}, seconds(1.0232, 2.0472, 3.0714)},
		{"user timeout longer than the count", Keepalive{Idle: 2 * time.Second, Interval: 5 * time.Second, Count: 2, UserTimeout: 13 * time.Second}, seconds(2.0071, 7.1591, 12.2791, 17.3991)},
		{"user timeout shorter than the count", Keepalive{Idle: 4 * time.Second, Interval: time.Second, Count: 127, UserTimeout: 9 * time.Second}, seconds(4.1878, 5.2118, 6.2358, 7.2598, 8.2838, 9.3078)},
	}
	for _, tt := range tests {
		eachHZ(func(hz int) {
			tt.keepalive.HZ = hz
			checkMeasured(t, tt.name, tt.keepalive.Probes(), tt.keepalive.End(), tt.measured)
		})
	}
}

// These were measured in other runs on the same kernel, and only the end was kept.
func TestKeepaliveHoldsTheMeasuredEnds(t *testing.T) {
	for _, tt := range []struct {
		userTimeout time.Duration
		count       int
		ended       time.Duration
	}{
		{0, 3, 11300 * ms},
		{7 * time.Second, 9, 8200 * ms},
		{8 * time.Second, 9, 8200 * ms},
		{time.Second, 9, 5200 * ms},
		{16 * time.Second, 2, 17400 * ms},
	} {
		keepalive := Keepalive{Idle: 2 * time.Second, Interval: 3 * time.Second, Count: tt.count, UserTimeout: tt.userTimeout, HZ: 250}
		if end := keepalive.End(); tt.ended < end.Offset || tt.ended > end.Latest {
			t.Errorf("with a user timeout of %v it ended at %v, want from %v to %v", tt.userTimeout, tt.ended, end.Offset, end.Latest)
		}
	}
}

// A user timeout a little beyond a probe is over at it, because every timer is late.
func TestKeepaliveEndsAProbeEarlierBecauseOfLateTimers(t *testing.T) {
	keepalive := Keepalive{Idle: time.Second, Interval: time.Second, UserTimeout: 3020 * ms, HZ: 250}
	const measured = 3071100 * time.Microsecond
	end := keepalive.End()
	if end.Offset != 4*time.Second || measured < end.Earliest || measured > end.Latest {
		t.Errorf("the end is %+v, want 4s, and %v to be possible", end, measured)
	}
	if f := keepalive.After(2, 2047100*time.Microsecond); !f.Last || f.GivesUp != f.Due || measured < f.Due || measured > f.Latest {
		t.Errorf("the forecast from the second probe is %+v, it ended at %v", f, measured)
	}
}

func TestDataHoldsWhatWasMeasured(t *testing.T) {
	const rto, probe = 204 * ms, 204 * ms
	tests := []struct {
		name     string
		data     Data
		measured []time.Duration // retransmissions on the RTO timer, then the end
	}{
		{"no retries", Data{LossProbe: probe}, seconds(0.4158, 0.8278)},
		{"3 retries", Data{Retries2: 3}, seconds(0.2119, 0.6439, 1.4759, 3.1399, 6.6280)},
		{"3 retries after a loss probe", Data{Retries2: 3, LossProbe: probe}, seconds(0.4192, 0.8352, 1.6672, 3.3352, 6.6914)},
		{"5 retries", Data{Retries2: 5, LossProbe: probe}, seconds(0.4151, 0.8312, 1.6632, 3.3311, 6.6592, 13.3125)},
		{"6 retries of a thin stream", Data{Retries2: 6, LossProbe: probe, RTO: 208 * ms, ThinLinear: true},
			seconds(0.4187, 0.6307, 0.8387, 1.0467, 1.2547, 1.4627, 1.6707, 2.0827, 2.9147, 4.5787, 7.9107, 14.5667, 27.8788)},
		{"6 retries with a 1 s RTO maximum", Data{Retries2: 6, LossProbe: probe, RTOMax: time.Second},
			seconds(0.4196, 0.8315, 1.6676, 2.6916, 3.7116, 4.7356, 5.7597, 6.7876)},
		{"100 ms user timeout", Data{Retries2: 15, LossProbe: probe, UserTimeout: 100 * ms}, seconds(0.4155, 0.5196)},
		{"user timeout of one wait", Data{Retries2: 15, UserTimeout: 408 * ms}, seconds(0.2072, 0.6393)},
		{"1 s user timeout", Data{Retries2: 15, LossProbe: probe, UserTimeout: time.Second}, seconds(0.4196, 0.8398, 1.4478)},
		{"2.5 s user timeout", Data{Retries2: 15, UserTimeout: 2500 * ms}, seconds(0.2075, 0.6235, 1.4555, 2.7356)},
		{"5 s user timeout", Data{Retries2: 15, LossProbe: probe, UserTimeout: 5 * time.Second}, seconds(0.4198, 0.8398, 1.6717, 3.3357, 5.6719)},
		{"6.32 s user timeout", Data{Retries2: 15, LossProbe: probe, UserTimeout: 6320 * ms}, seconds(0.4165, 0.8485, 1.6805, 3.3445, 6.6445, 6.7409)},
		{"30 s user timeout with a 1 s RTO maximum", Data{Retries2: 15, LossProbe: probe, RTOMax: time.Second, UserTimeout: 30 * time.Second},
			seconds(0.4161, 0.8402, 1.6722, 2.6962, 3.7202, 4.7402, 5.7642, 6.7922, 7.8122, 8.8402, 9.8641, 10.8881, 11.9082, 12.9362, 13.9602, 14.9841,
				16.0042, 17.0322, 18.0522, 19.0801, 20.1002, 21.1242, 22.1482, 23.1722, 24.1962, 25.2202, 26.2482, 27.2682, 28.2922, 29.3162, 30.3401, 30.4203)},
		{"orphan with 2 retries", Data{Retries2: 15, LossProbe: 12 * ms, Orphan: true, OrphanRetries: 2}, seconds(0.2195, 0.6475, 1.4795, 3.1508)},
		{"orphan until its RTO is the maximum", Data{Retries2: 15, LossProbe: 12 * ms, Orphan: true, RTOMax: time.Second},
			seconds(0.2230, 0.6631, 1.4991, 2.5243)},
		{"orphan with a user timeout", Data{Retries2: 15, LossProbe: 12 * ms, Orphan: true, UserTimeout: 2 * time.Second},
			seconds(0.2190, 0.6390, 1.4670, 2.2402)},
	}
	for _, tt := range tests {
		eachHZ(func(hz int) {
			tt.data.HZ, tt.data.RTO = hz, cmp.Or(tt.data.RTO, rto)
			checkMeasured(t, tt.name, tt.data.Retransmits(), tt.data.End(), tt.measured)
		})
	}
}

// Late timers reach the limit with fewer retransmissions than exact ones: in both the next was due within a tenth of a
// second of it.
func TestDataWithFewerRetransmissionsBecauseOfLateTimers(t *testing.T) {
	tests := []struct {
		name     string
		data     Data
		nominal  int
		measured []time.Duration
	}{
		{"time model", Data{Retries2: 4}, 5, seconds(0.4147, 0.8307, 1.6627, 3.3267, 6.7828)},
		{"user timeout", Data{Retries2: 15, UserTimeout: 13 * time.Second}, 6, seconds(0.4161, 0.8401, 1.6721, 3.3361, 6.8281, 13.4805)},
	}
	for _, tt := range tests {
		tt.data.RTO, tt.data.LossProbe, tt.data.HZ = 204*ms, 204*ms, 250
		sent, ended := len(tt.measured)-1, tt.measured[len(tt.measured)-1]
		if got := len(slices.Collect(tt.data.Retransmits())); got != tt.nominal || sent >= got {
			t.Errorf("%s: %d retransmissions, want %d and more than the %d measured", tt.name, got, tt.nominal, sent)
		}
		if end := tt.data.End(); ended < end.Earliest || ended > end.Latest || end.Earliest == end.Offset {
			t.Errorf("%s: it ended at %v, want from %v to %v", tt.name, ended, end.Earliest, end.Latest)
		}
		f := tt.data.After(sent, tt.measured[sent-1], tt.measured[0], 0)
		if ended < f.Due || ended > f.Latest {
			t.Errorf("%s: the forecast from the last retransmission is %+v, it ended at %v", tt.name, f, ended)
		}
	}
}

// The real wait from the first transmission was half a second longer than the user timeout: the limit counts from the
// first retransmission, and that comes after a loss probe and an RTO.
func TestDataOutlivesItsUserTimeoutByTheFirstWaits(t *testing.T) {
	end := Data{UserTimeout: 5 * time.Second, RTO: 204 * ms, LossProbe: 204 * ms, HZ: 250}.End()
	if ended := 5560 * ms; end.Offset != 5408*ms || ended > end.Latest {
		t.Errorf("the end is %+v, want 5.408s, and %v to be possible", end, ended)
	}
}

func TestZeroWindowHoldsWhatWasMeasured(t *testing.T) {
	tests := []struct {
		name     string
		window   ZeroWindow
		measured []time.Duration // probes, then the end
	}{
		{"3 retries", ZeroWindow{Retries2: 3, RTO: 212 * ms}, seconds(0.2160, 0.6480, 1.5080, 3.2368)},
		{"3 retries of a longer RTO", ZeroWindow{Retries2: 3, RTO: 712 * ms}, seconds(0.7400, 2.1800, 5.1240, 11.0122)},
		{"6 retries with a 1 s RTO maximum", ZeroWindow{Retries2: 6, RTO: 712 * ms, RTOMax: time.Second},
			seconds(0.7200, 1.7440, 2.7680, 3.7920, 4.8160, 5.8400, 6.8641)},
		{"50 ms user timeout", ZeroWindow{Retries2: 15, RTO: 212 * ms, UserTimeout: 50 * ms}, seconds(0.2161, 0.2722)},
		{"3.5 s user timeout", ZeroWindow{Retries2: 15, RTO: 212 * ms, UserTimeout: 3500 * ms}, seconds(0.2160, 0.6720, 1.5360, 3.2640, 3.7499)},
		{"answered, 3.5 s user timeout", ZeroWindow{Retries2: 15, Answered: true, RTO: 208 * ms, UserTimeout: 3500 * ms},
			seconds(0.2119, 0.6519, 1.5160, 3.2119, 3.7240)},
		{"answered, 4.2 s user timeout, 1 s RTO maximum", ZeroWindow{Retries2: 15, Answered: true, RTO: 708 * ms, RTOMax: time.Second, UserTimeout: 4200 * ms},
			seconds(0.7320, 1.7560, 2.7800, 3.8080, 4.8280, 4.9361)},
		{"answered, 6.01 s user timeout", ZeroWindow{Retries2: 15, Answered: true, RTO: 208 * ms, UserTimeout: 6010 * ms},
			seconds(0.2160, 0.6480, 1.5160, 3.2120, 6.3801)},
		{"answered, 6.01 s user timeout, again", ZeroWindow{Retries2: 15, Answered: true, RTO: 208 * ms, UserTimeout: 6010 * ms},
			seconds(0.2120, 0.6400, 1.5041, 3.2000, 6.2455)},
		{"answered, 6.01 s user timeout of a longer RTO", ZeroWindow{Retries2: 15, Answered: true, RTO: 712 * ms, UserTimeout: 6010 * ms},
			seconds(0.7400, 2.1800, 5.1881, 6.7561)},
		{"answered, 12 s user timeout", ZeroWindow{Retries2: 15, Answered: true, RTO: 212 * ms, UserTimeout: 12 * time.Second},
			seconds(0.2160, 0.6600, 1.5240, 3.2520, 6.7720, 12.4041)},
		{"answered orphan until its wait is the maximum", ZeroWindow{Retries2: 15, Answered: true, Orphan: true, RTO: 308 * ms, RTOMax: time.Second},
			seconds(0.3199, 0.9599, 1.9905)},
		{"answered orphan with 2 retries", ZeroWindow{Retries2: 15, Answered: true, Orphan: true, OrphanRetries: 2, RTO: 312 * ms, RTOMax: 2 * time.Second},
			seconds(0.3160, 0.9560, 2.2360, 4.2534)},
	}
	for _, tt := range tests {
		eachHZ(func(hz int) {
			tt.window.HZ = hz
			end, ends := tt.window.End()
			if !ends {
				t.Errorf("%s: no end, measured one", tt.name)
				return
			}
			checkMeasured(t, tt.name, tt.window.Probes(), end, tt.measured)
		})
	}
}

// tcp_retries2 bounds how often the wait of a window probe doubles, answered or not.
func TestZeroWindowProbesStayAsFarApartAsTheRetriesAllow(t *testing.T) {
	window := ZeroWindow{Retries2: 2, Answered: true, RTO: 208 * ms, UserTimeout: 12 * time.Second, HZ: 250}
	end, _ := window.End()
	checkMeasured(t, "2 retries", window.Probes(), end, seconds(0.2120, 0.6600, 1.5240, 2.3880, 3.2520, 4.1160, 4.9799, 5.8440, 6.7080, 7.5719,
		8.4400, 9.2999, 10.1680, 11.0280, 11.8920, 12.2440))
}

func TestSYNACKHoldsWhatWasMeasured(t *testing.T) {
	tests := []struct {
		name     string
		synack   SYNACK
		measured []time.Duration // retransmissions, then the end
	}{
		{"1 retry", SYNACK{Retries: 1}, seconds(1.0116, 3.0296)},
		{"2 retries", SYNACK{Retries: 2}, seconds(1.0034, 3.0233, 7.2520)},
		{"3 retries", SYNACK{Retries: 3}, seconds(1.0228, 3.0428, 7.1068, 15.2984)},
		{"4 retries", SYNACK{Retries: 4}, seconds(1.0236, 3.0396, 7.1995, 15.3916, 31.5295)},
		{"deferred by 1 s", SYNACK{Retries: 2, Deferred: time.Second, Acked: true}, seconds(1.0071, 3.0231, 7.1246)},
		{"deferred by 5 s", SYNACK{Retries: 2, Deferred: 5 * time.Second, Acked: true}, seconds(7.2477, 15.4419)},
		{"deferred beyond the retries", SYNACK{Retries: 1, Deferred: 7 * time.Second, Acked: true}, seconds(7.1862, 15.3843)},
	}
	for _, tt := range tests {
		eachHZ(func(hz int) {
			tt.synack.HZ = hz
			checkMeasured(t, tt.name, tt.synack.Retransmits(), tt.synack.End(), tt.measured)
		})
	}
}

func TestFinWait2HoldsWhatWasMeasured(t *testing.T) {
	for timeout, ended := range map[time.Duration]time.Duration{
		3 * time.Second:  3114 * ms,
		8 * time.Second:  8043 * ms,
		62 * time.Second: 4054 * ms,
		70 * time.Second: 20369 * ms,
	} {
		end := FinWait2{FinTimeout: timeout, RTO: 204 * ms, HZ: 250}.End()
		if ended < end.Offset || ended > end.Latest+softirqDelay {
			t.Errorf("with tcp_fin_timeout %v it ended at %v, want from %v to %v", timeout, ended, end.Offset, end.Latest)
		}
	}
}
