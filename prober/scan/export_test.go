package scan

import (
	"net/netip"

	"golang.org/x/sys/unix"
)

var anyIPv4 = netip.IPv4Unspecified()

// Restarts are the two ways of giving up an attempt and making another, n times: as a scan does, and by a new socket.
var Restarts = map[string]func(to unix.Sockaddr, n int) error{
	"same socket": func(to unix.Sockaddr, n int) error {
		return withEpoll(func(epoll int) error {
			fd, err := pendingConnect(epoll, to)
			if err != nil {
				return err
			}
			defer unix.Close(fd)
			for range n {
				if err := disconnect(fd); err != nil {
					return err
				}
				if err := unix.Connect(fd, to); !isUnderWay(err) {
					return err
				}
			}
			return nil
		})
	},
	"new socket": func(to unix.Sockaddr, n int) error {
		return withEpoll(func(epoll int) error {
			for range n {
				fd, err := pendingConnect(epoll, to)
				if err != nil {
					return err
				}
				unix.Close(fd)
			}
			return nil
		})
	},
}

func withEpoll(fn func(epoll int) error) error {
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return err
	}
	defer unix.Close(epoll)
	return fn(epoll)
}

// pendingConnect makes a socket as a scan does, and begins to connect it.
func pendingConnect(epoll int, to unix.Sockaddr) (int, error) {
	opts := Options{}
	fd, err := opts.newSocket(anyIPv4, new(addresses))
	if err != nil {
		return -1, err
	}
	if err := unix.Connect(fd, to); !isUnderWay(err) {
		unix.Close(fd)
		return -1, err
	}
	event := unix.EpollEvent{Events: unix.EPOLLOUT | unix.EPOLLET&0xffffffff, Fd: int32(fd)}
	return fd, unix.EpollCtl(epoll, unix.EPOLL_CTL_ADD, fd, &event)
}
