package verdict

import (
	"fmt"

	"tcptrace/tracer/event"
)

// describeLink says what the device is that the SYNs left by, where that matters.
func (s *story) describeLink() string {
	l := s.link()
	sent := s.last(event.SYNSent)
	switch {
	case sent == nil || sent.IfName != l.Name:
		return ""
	case l.NoCarrier:
		return ", which has no carrier"
	case l.Tunnel == "":
		return ""
	case l.Remote.IsValid():
		return fmt.Sprintf(", a tunnel (%s) to %s", l.Tunnel, l.Remote)
	}
	return fmt.Sprintf(", a tunnel (%s)", l.Tunnel)
}

// lookAtCarrier is the advice about a device without one.
func (s *story) lookAtCarrier() string {
	return fmt.Sprintf("see why it has none: ip -d link show %[1]s (NO-CARRIER), ethtool %[1]s; of a bond, /proc/net/bonding/%[1]s", s.link().Name)
}

// lookAtTunnel says how to find out whether a tunnel works.
func (s *story) lookAtTunnel() string {
	l := s.link()
	switch {
	case l.Tunnel == "wireguard":
		return fmt.Sprintf("wg show %s (latest handshake)", l.Name)
	case l.Remote.IsValid():
		return fmt.Sprintf("ip -s link show %s, ping %s, and ip route get %s", l.Name, l.Remote, l.Remote)
	}
	return fmt.Sprintf("ip -s -d link show %s", l.Name)
}

// routeGet is the command that asks the kernel for the route which the socket's packets take.
func (s *story) routeGet() string {
	command := "ip route get " + address(s.remote())
	o := s.options()
	switch {
	case s.link().VRF != "":
		command += s.ofVRF()
	case o != nil && o.Device != 0 && s.link().Name != "":
		command += " oif " + s.link().Name
	}
	if o != nil && o.Mark != 0 {
		command += fmt.Sprintf(" mark %#x", o.Mark)
	}
	return command
}

// ofVRF is the part of an ip command that has it ask the connection's VRF.
func (s *story) ofVRF() string {
	if s.link().VRF == "" {
		return ""
	}
	return " vrf " + s.link().VRF
}
