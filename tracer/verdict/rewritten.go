package verdict

import (
	"fmt"
	"net/netip"
)

// rewritten tells of a probe whose target was not what its socket connected to: a BPF program of its cgroup had put another
// address, or port, in its place (BPF_CGROUP_INET4_CONNECT), as load balancers of containers do.
func (s *story) rewritten() string {
	if s.probe == nil || s.conn == nil {
		return ""
	}
	asked, took := bare(s.probe.Remote), bare(s.conn.Remote)
	if !asked.IsValid() || !took.IsValid() || asked == took {
		return ""
	}
	hook := "connect4"
	if asked.Addr().Is6() {
		hook = "connect6"
	}
	return fmt.Sprintf("; a BPF program of the cgroup had put %s in the place of %s (bpftool cgroup tree: %s)", took, asked, hook)
}

// bare is an end without what can be written in several ways.
func bare(end netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(end.Addr().Unmap().WithZone(""), end.Port())
}
