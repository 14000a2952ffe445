package prober

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"tcptrace/tracer/event"
)

// ParseTarget takes HOST:PORT apart. HOST is a name or an address, in brackets if it is IPv6; PORT is a number from 1 to
// 65535 or the name of a TCP service. The error is one sentence that says how to write it.
func ParseTarget(target string) (host string, port uint16, err error) {
	if strings.Contains(target, "://") {
		return "", 0, fmt.Errorf("%q is a URL: write HOST:PORT", target)
	}
	if !printable(target) {
		return "", 0, fmt.Errorf("%q has blanks or control characters: write HOST:PORT", target)
	}
	host, service, err := splitTarget(target)
	if err != nil {
		return "", 0, err
	}
	port, err = ParsePort(service)
	if err != nil {
		return "", 0, fmt.Errorf("%q: %w", target, err)
	}
	return host, port, nil
}

// CheckZone refuses an address of a link without its interface, which connect() does not take. The error is a sentence that says
// what to write.
func CheckZone(addr netip.Addr) error {
	if !event.IsOfALink(addr) || addr.Zone() != "" {
		return nil
	}
	return fmt.Errorf("%v is a link-local address, which says nothing without the interface: add it, as in %v%%eth0", addr, addr)
}

// printable says whether s has neither blanks nor control characters, which no target contains.
func printable(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r == 0x7f })
}

// splitTarget finds the host, without brackets, and the port as it was written.
func splitTarget(target string) (host, service string, err error) {
	if strings.HasPrefix(target, "[") {
		return splitBracketed(target)
	}
	host, service, found := strings.Cut(target, ":")
	switch {
	case strings.Contains(service, ":"):
		return "", "", fmt.Errorf("%q has several colons: write an IPv6 address in brackets, as in [2001:db8::1]:443", target)
	case host == "":
		return "", "", fmt.Errorf("%q has no host: write HOST:PORT", target)
	case !found || service == "":
		return "", "", fmt.Errorf("%q has no port: write HOST:PORT, as in %s:443", target, host)
	case strings.ContainsAny(host, "[]"):
		return "", "", fmt.Errorf("%q has a bracket in the host: write HOST:PORT", target)
	}
	return host, service, nil
}

// splitBracketed is splitTarget for [HOST]:PORT.
func splitBracketed(target string) (host, service string, err error) {
	host, rest, closed := strings.Cut(target[1:], "]")
	if !closed {
		return "", "", fmt.Errorf("%q has no closing bracket: write [HOST]:PORT", target)
	}
	if addr, err := netip.ParseAddr(host); err != nil || !addr.Is6() {
		return "", "", fmt.Errorf("%q has something else than an IPv6 address in its brackets", target)
	}
	service, found := strings.CutPrefix(rest, ":")
	if !found || service == "" {
		return "", "", fmt.Errorf("%q has no port: write [HOST]:PORT, as in [%s]:443", target, host)
	}
	return host, service, nil
}

// ParsePort reads a port's number or its name.
func ParsePort(service string) (uint16, error) {
	if strings.Trim(service, "0123456789") == "" {
		port, err := strconv.ParseUint(service, 10, 16)
		if err != nil || port == 0 {
			return 0, fmt.Errorf("port %s is not from 1 to 65535", service)
		}
		return uint16(port), nil
	}
	if port, ok := lookupService(service); ok {
		return port, nil
	}
	return 0, fmt.Errorf("no TCP service is called %q: write a port from 1 to 65535, or a name such as https", service)
}

// lookupService is the port of a service by its name.
func lookupService(name string) (uint16, bool) {
	if strings.ContainsAny(name[:1], "+-") {
		return 0, false // net.LookupPort would take it for a number with a sign
	}
	port, err := net.LookupPort("tcp", name)
	if err != nil || port < 1 || port > 65535 {
		return 0, false
	}
	return uint16(port), true
}
