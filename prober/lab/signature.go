package lab

import (
	"errors"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"
)

// RequireSignature has the socket take only segments of a peer that carry a TCP MD5 signature (RFC 2385) made with the
// key. It is a [NotHereError] that the kernel knows of none.
func (q *Queue) RequireSignature(peer netip.Addr, key string) error {
	signature := unix.TCPMD5Sig{Addr: storage(peer)}
	signature.Keylen = uint16(copy(signature.Key[:], key))
	raw, err := q.listener.SyscallConn()
	if err != nil {
		return err
	}
	err = control(raw, func(fd int) error {
		return unix.SetsockoptTCPMD5Sig(fd, unix.IPPROTO_TCP, unix.TCP_MD5SIG, &signature)
	})
	if errors.Is(err, unix.ENOPROTOOPT) {
		return &NotHereError{"this kernel knows no TCP MD5 signatures (CONFIG_TCP_MD5SIG)"}
	}
	if err != nil {
		return fmt.Errorf("set TCP_MD5SIG: %w", err)
	}
	return nil
}

// storage is an address without a port in the kernel's form (struct sockaddr_in, struct sockaddr_in6).
func storage(addr netip.Addr) unix.SockaddrStorage {
	const afterPort, afterFlowInfo = 2, 6
	s := unix.SockaddrStorage{Family: unix.AF_INET}
	if addr.Is4() {
		copy(s.Data[afterPort:], addr.AsSlice())
		return s
	}
	s.Family = unix.AF_INET6
	copy(s.Data[afterFlowInfo:], addr.AsSlice())
	return s
}
