package lab

import (
	"encoding/binary"
	"fmt"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// RefuseAll gives an interface a queue that has no room, a pfifo with a limit of 0: what is to be sent by it is refused
// (NET_XMIT_DROP). The library cannot express that limit.
func (h *Host) RefuseAll(name string) error {
	return h.Do(func() error {
		link, err := netlink.LinkByName(name)
		if err != nil {
			return fmt.Errorf("look for %s of %s: %w", name, h.Name, err)
		}
		request := nl.NewNetlinkRequest(unix.RTM_NEWQDISC, unix.NLM_F_CREATE|unix.NLM_F_EXCL|unix.NLM_F_ACK)
		request.AddData(&nl.TcMsg{Family: nl.FAMILY_ALL, Ifindex: int32(link.Attrs().Index), Parent: netlink.HANDLE_ROOT})
		request.AddData(nl.NewRtAttr(nl.TCA_KIND, nl.ZeroTerminated("pfifo")))
		limit := binary.NativeEndian.AppendUint32(nil, 0) // struct tc_fifo_qopt
		request.AddData(nl.NewRtAttr(nl.TCA_OPTIONS, limit))
		if _, err := request.Execute(unix.NETLINK_ROUTE, 0); err != nil {
			return fmt.Errorf("give %s of %s a queue without room: %w", name, h.Name, err)
		}
		return nil
	})
}
