package sockdiag

import (
	"fmt"
	"net/netip"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"tcptrace/tracer/event"
)

// Ends visits the two ends of every TCP socket of the network namespace of the calling thread, those in TIME_WAIT
// included: who holds which port. The remote end is invalid where a socket has none. It is several times as fast as [List].
func Ends(visit func(local, remote netip.AddrPort, state event.State)) error {
	conn, err := netlink.Dial(unix.NETLINK_SOCK_DIAG, nil)
	if err != nil {
		return fmt.Errorf("open sock_diag: %w", err)
	}
	defer conn.Close()
	for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
		request := request(family, 1<<maxStates-1)
		request[2] = 0 // no attributes
		messages, err := conn.Execute(netlink.Message{
			Header: netlink.Header{Type: sockDiagByFamily, Flags: netlink.Request | netlink.Dump},
			Data:   request,
		})
		if err != nil {
			return fmt.Errorf("list ports by sock_diag: %w", err)
		}
		for _, message := range messages {
			s, err := decoder{}.socket(message.Data)
			if err != nil {
				return fmt.Errorf("list ports by sock_diag: %w", err)
			}
			visit(s.Local, s.Remote, s.State)
		}
	}
	return nil
}
