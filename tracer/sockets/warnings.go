package sockets

import (
	"cmp"
	"time"

	"tcptrace/tracer/lint"
)

// Warning is one thing about a socket's settings that is wrong, or a surprise.
type Warning lint.Warning

// warnings are about the settings that rule the socket. Where those are not known there are none.
func (s *Socket) warnings(hz int) []Warning {
	if s.Options == nil || s.Sysctls == nil {
		return nil
	}
	var all []Warning
	for _, w := range lint.Check(s.lintSettings(hz)) {
		all = append(all, Warning(w))
	}
	return all
}

func (s *Socket) lintSettings(hz int) lint.Settings {
	return lint.Settings{
		State:             s.State,
		Local:             s.isLocal(),
		KeepAlive:         s.Options.KeepAlive,
		KeepaliveIdle:     cmp.Or(s.Options.KeepaliveIdle, s.Sysctls.KeepaliveIdle),
		KeepaliveInterval: cmp.Or(s.Options.KeepaliveInterval, s.Sysctls.KeepaliveInterval),
		KeepaliveCount:    cmp.Or(s.Options.KeepaliveCount, s.Sysctls.KeepaliveCount),
		UserTimeout:       s.Options.UserTimeout,
		Retries2:          s.Sysctls.Retries2,
		RTO:               s.firstRTO(),
		RTOMax:            s.rtoMax(),
		HZ:                hz,
		Orphan:            s.Orphan,
		Idle:              s.Idle(),
		InFlight:          s.InFlight > 0,
		Shut:              s.isShut(),
	}
}

// firstRTO is the RTO before it backed off.
func (s *Socket) firstRTO() time.Duration { return s.RTO >> min(max(s.Backoff, 0), 30) }

// isLocal says whether both ends have the same address, or one that never leaves the host.
func (s *Socket) isLocal() bool {
	return s.Remote.Addr().IsLoopback() || s.Remote.Addr() == s.Local.Addr()
}
