package host

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
)

// PortRange is an inclusive range of ports.
type PortRange struct{ First, Last int }

// ReservedPorts reads net.ipv4.ip_local_reserved_ports of the network namespace of the calling thread: ports that the
// kernel gives to nobody who does not ask for them by number.
func ReservedPorts() ([]PortRange, error) { return readReservedPorts(os.DirFS(ipv4Sysctls)) }

func readReservedPorts(dir fs.FS) ([]PortRange, error) {
	const name = "ip_local_reserved_ports"
	text, err := fs.ReadFile(dir, name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, sysctlError(name, ErrNoSysctl)
	}
	if err != nil {
		return nil, sysctlError(name, withoutPath(err))
	}
	var ranges []PortRange
	for part := range strings.SplitSeq(strings.TrimSpace(string(text)), ",") {
		if part == "" {
			continue
		}
		r, err := parsePortRange(part)
		if err != nil {
			return nil, sysctlError(name, err)
		}
		ranges = append(ranges, r)
	}
	return ranges, nil
}

// parsePortRange reads what the kernel writes: 8080, or 9148-9150.
func parsePortRange(text string) (PortRange, error) {
	low, high, span := strings.Cut(text, "-")
	if !span {
		high = low
	}
	first, firstErr := strconv.ParseUint(low, 10, 16)
	last, lastErr := strconv.ParseUint(high, 10, 16)
	if firstErr != nil || lastErr != nil || first > last {
		return PortRange{}, fmt.Errorf("%q is no range of ports", text)
	}
	return PortRange{int(first), int(last)}, nil
}
