package verdict

import (
	"cmp"
	"slices"

	"tcptrace/tracer/event"
	"tcptrace/tracer/lint"
)

// warnings are the lints of these names that hold for the connection's settings as they were at its end, each as a piece
// of advice: what is so, and what to set instead. There are none where the settings are not known.
func (s *story) warnings(names ...string) []string {
	options, sysctls := s.options(), s.sysctls()
	if options == nil || sysctls == nil {
		return nil
	}
	var advice []string
	for _, w := range lint.Check(s.settings(options, sysctls)) {
		if slices.Contains(names, w.ID) {
			advice = append(advice, w.Sentence+": "+w.Advice)
		}
	}
	return advice
}

// settings are what ruled the connection, for package lint.
func (s *story) settings(options *event.Options, sysctls *event.Sysctls) lint.Settings {
	idle, interval, probes := s.keepaliveSettings()
	return lint.Settings{
		State:             event.StateEstablished,
		Local:             s.conn != nil && s.conn.Peer != nil || s.remote().Addr().IsLoopback() || s.remote().Addr() == s.local().Addr(),
		KeepAlive:         options.KeepAlive,
		KeepaliveIdle:     idle,
		KeepaliveInterval: interval,
		KeepaliveCount:    probes,
		UserTimeout:       options.UserTimeout,
		Retries2:          sysctls.Retries2,
		RTOMax:            cmp.Or(options.RTOMax, sysctls.RTOMax),
		Idle:              s.idleBeforeEnd(),
		InFlight:          s.pending.timer == retransmitTimer,
		Shut:              s.pending.timer == windowTimer && !s.keptHere(),
	}
}
