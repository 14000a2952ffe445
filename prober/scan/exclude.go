package scan

import (
	"fmt"
	"io"
	"net/netip"
	"slices"
)

// Exclusions are addresses that must not be connected to. The zero value has none.
type Exclusions struct {
	networks map[netip.Prefix][]uint16 // the ports; nil means all
	lengths  [129]bool                 // prefix lengths that occur, IPv4's 96 bits longer
}

// Add excludes an address or a network, with ports or with all of them: 192.0.2.1, 192.0.2.0/24 or 192.0.2.0/24:25.
func (e *Exclusions) Add(text string) error {
	if network, err := parseExcluded(text); err == nil {
		e.add(network, nil)
		return nil
	}
	spec, err := parseSpec(text)
	if err != nil || spec.Host != "" {
		return fmt.Errorf("%q is nothing to exclude: write an address or a network, with ports or without", text)
	}
	e.add(spec.Network, spec.Ports)
	return nil
}

// parseExcluded reads an address or a network without ports.
func parseExcluded(text string) (netip.Prefix, error) {
	if addr, err := netip.ParseAddr(text); err == nil {
		addr = addr.Unmap().WithZone("")
		return netip.PrefixFrom(addr, addr.BitLen()), nil
	}
	network, err := netip.ParsePrefix(text)
	return network.Masked(), err
}

func (e *Exclusions) add(network netip.Prefix, ports []uint16) {
	if e.networks == nil {
		e.networks = make(map[netip.Prefix][]uint16)
	}
	known, found := e.networks[network]
	switch {
	case ports == nil || found && known == nil:
		e.networks[network] = nil
	default:
		e.networks[network] = append(known, ports...)
	}
	e.lengths[lengthOf(network)] = true
}

func lengthOf(network netip.Prefix) int {
	return network.Bits() + 128 - network.Addr().BitLen()
}

// Read adds what a list says, a line each, with comments as in [ReadList]. The error names the first line that is wrong:
// an exclusion that is not understood must not be passed over.
func (e *Exclusions) Read(r io.Reader) (err error) {
	fail := func(_ struct{}, failure error) bool {
		err = failure
		return false
	}
	for number, text := range listLines(r, fail) {
		word, _ := firstWord(text)
		if err := e.Add(word); err != nil {
			return fmt.Errorf("line %d: %w", number, err)
		}
	}
	return err
}

// Has says whether a target is excluded.
func (e *Exclusions) Has(target netip.AddrPort) bool {
	if len(e.networks) == 0 {
		return false
	}
	addr := target.Addr().Unmap().WithZone("")
	for bits := 0; bits <= addr.BitLen(); bits++ {
		if !e.lengths[bits+128-addr.BitLen()] {
			continue
		}
		network, err := addr.Prefix(bits)
		if err != nil {
			return false
		}
		ports, found := e.networks[network]
		if found && (ports == nil || slices.Contains(ports, target.Port())) {
			return true
		}
	}
	return false
}
