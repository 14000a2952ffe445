package scan

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/netip"
	"strconv"
	"strings"

	"tcptrace/prober"
)

// Spec is what one word of a list of targets stands for: a name or a network, with ports.
type Spec struct {
	Host    string       // a name; empty for a network
	Network netip.Prefix // a single address is a network of one
	Ports   []uint16
	Label   string
}

// maxAddresses bounds a network in a list: what is larger is most often a slip.
const maxAddresses = 1 << 20

// ParseSpec reads HOST:PORTS or NETWORK:PORTS, where PORTS are ports, their names, or ranges such as 8000-8010, with commas
// between them. IPv6 stands in brackets, as in [2001:db8::/120]:443. The error is a sentence that says how to write it.
func ParseSpec(text string) (Spec, error) {
	spec, err := parseSpec(text)
	if err != nil || spec.Host != "" {
		return spec, err
	}
	return spec, prober.CheckZone(spec.Network.Addr())
}

// parseSpec does the same for addresses that nobody connects to.
func parseSpec(text string) (Spec, error) {
	// What most lists are full of needs no more than this.
	if addr, err := netip.ParseAddrPort(text); err == nil && addr.Port() != 0 && addr.Addr().Zone() == "" {
		ip := addr.Addr().Unmap()
		return Spec{Network: netip.PrefixFrom(ip, ip.BitLen()), Ports: []uint16{addr.Port()}}, nil
	}
	host, ports, err := splitSpec(text)
	if err != nil {
		return Spec{}, err
	}
	spec := Spec{Host: host}
	if strings.Contains(host, "/") {
		if spec.Network, err = parseNetwork(host); err != nil {
			return Spec{}, err
		}
		spec.Host = ""
	} else if addr, err := netip.ParseAddr(host); err == nil {
		addr = addr.Unmap()
		spec.Host, spec.Network = "", netip.PrefixFrom(addr.WithZone(""), addr.BitLen())
		if addr.Zone() != "" {
			spec.Host = host // a network has no zone; as a name it keeps it
		}
	}
	spec.Ports, err = parsePorts(ports)
	if err != nil {
		return Spec{}, fmt.Errorf("%q: %w", text, err)
	}
	return spec, nil
}

// splitSpec finds the host, without brackets, and the ports.
func splitSpec(text string) (host, ports string, err error) {
	// With one port, and a network taken for its first address, it is a target like any other: that says what is wrong.
	plain, network := text, ""
	if slash := strings.IndexByte(text, '/'); slash >= 0 && !strings.Contains(text, "://") {
		if bits := strings.IndexAny(text[slash:], "]:"); bits > 0 {
			network = text[slash : slash+bits]
			plain = text[:slash] + text[slash+bits:]
		}
	}
	colon := strings.LastIndexByte(plain, ':')
	if colon >= 0 && colon+1 < len(plain) && !strings.HasSuffix(plain, "]") {
		ports = plain[colon+1:]
		plain = plain[:colon+1] + "1"
	}
	host, _, err = prober.ParseTarget(plain)
	if err != nil {
		return "", "", errors.New(strings.Replace(err.Error(), strconv.Quote(plain), strconv.Quote(text), 1))
	}
	return host + network, ports, nil
}

func parseNetwork(text string) (netip.Prefix, error) {
	network, err := netip.ParsePrefix(text)
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("%q is not a network: write it as 192.0.2.0/24 or [2001:db8::/120]", text)
	}
	network = network.Masked()
	if host := network.Addr().BitLen() - network.Bits(); host > 20 {
		return netip.Prefix{}, fmt.Errorf("%v has more than %d addresses: scan a part of it", network, maxAddresses)
	}
	return network, nil
}

// parsePorts reads a list such as 80,443,8000-8010.
func parsePorts(text string) ([]uint16, error) {
	var ports []uint16
	for item := range strings.SplitSeq(text, ",") {
		if item == "" {
			return nil, errors.New("a port is missing beside a comma")
		}
		first, last, isRange := strings.Cut(item, "-")
		if !isRange || strings.Trim(first, "0123456789") != "" {
			port, err := prober.ParsePort(item)
			if err != nil {
				return nil, err
			}
			ports = append(ports, port)
			continue
		}
		from, err := prober.ParsePort(first)
		if err != nil {
			return nil, err
		}
		to, err := prober.ParsePort(last)
		if err != nil {
			return nil, err
		}
		if to < from {
			return nil, fmt.Errorf("the range of ports %s ends before it begins", item)
		}
		for port := int(from); port <= int(to); port++ {
			ports = append(ports, uint16(port))
		}
	}
	return ports, nil
}

// Targets yields every address of a network with every port. A name has none: it must be resolved first.
func (s *Spec) Targets() iter.Seq[Target] {
	return func(yield func(Target) bool) {
		if s.Host != "" {
			return
		}
		for addr := s.Network.Addr(); s.Network.Contains(addr); addr = addr.Next() {
			for _, port := range s.Ports {
				if !yield(Target{Addr: netip.AddrPortFrom(addr, port), Label: s.Label}) {
					return
				}
			}
		}
	}
}

// Resolved yields the targets that a name stands for, given its addresses.
func (s *Spec) Resolved(addrs []netip.Addr) iter.Seq[Target] {
	return func(yield func(Target) bool) {
		for _, addr := range addrs {
			for _, port := range s.Ports {
				if !yield(Target{Addr: netip.AddrPortFrom(addr.Unmap(), port), Name: s.Host, Label: s.Label}) {
					return
				}
			}
		}
	}
}

// maxListLine bounds a line of a list.
const maxListLine = 64 << 10

// ReadList reads a list: a [Spec] a line, then, if anything, a label; # begins a comment, at the beginning of a line or
// after a blank. Lines that are no Spec have an error that names them by their number, and do not end the list; what
// cannot be read does, with the last error.
func ReadList(r io.Reader) iter.Seq2[Spec, error] {
	return func(yield func(Spec, error) bool) {
		for number, text := range listLines(r, yield) {
			word, label := firstWord(text)
			spec, err := ParseSpec(word)
			if err != nil {
				err = fmt.Errorf("line %d: %w", number, err)
			}
			spec.Label = label
			if !yield(spec, err) {
				return
			}
		}
	}
}

// listLines yields what a list says, with the number of the line, without comments and blanks around it. What went
// wrong in reading goes to fail.
func listLines[T any](r io.Reader, fail func(T, error) bool) iter.Seq2[int, string] {
	return func(yield func(int, string) bool) {
		lines := bufio.NewScanner(r)
		lines.Buffer(make([]byte, 0, 4096), maxListLine)
		number := 0
		for lines.Scan() {
			number++
			text := strings.TrimSpace(withoutComment(lines.Text()))
			if text != "" && !yield(number, text) {
				return
			}
		}
		if err := lines.Err(); err != nil {
			if errors.Is(err, bufio.ErrTooLong) {
				err = fmt.Errorf("line %d is longer than %d bytes: the rest is not read", number+1, maxListLine)
			}
			fail(*new(T), err)
		}
	}
}

// withoutComment ends a line before the first # at its beginning or after a blank.
func withoutComment(line string) string {
	for i := range len(line) {
		if line[i] == '#' && (i == 0 || isBlank(line[i-1])) {
			return line[:i]
		}
	}
	return line
}

func isBlank(c byte) bool { return c == ' ' || c == '\t' }

// firstWord splits a line after its first word.
func firstWord(line string) (word, rest string) {
	for i := range len(line) {
		if isBlank(line[i]) {
			return line[:i], strings.TrimSpace(line[i:])
		}
	}
	return line, ""
}
