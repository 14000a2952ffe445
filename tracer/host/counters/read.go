package counters

import (
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"
)

// Values are counters as they were read. A counter that the kernel does not have is not among them.
type Values map[Key]int64

// errNone says that a directory has none of the files.
var errNone = errors.New("this kernel shows no counters in /proc/net")

// files are those of /proc/net that hold counters, each with what reads it.
var files = []struct {
	name  string
	parse func(text string, into Values) error
}{
	{"netstat", parsePairs},
	{"snmp", parsePairs},
	{"snmp6", parseSNMP6},
	{"sockstat", parseSockstat},
	{"sockstat6", parseSockstat},
	{"softnet_stat", parseSoftnet},
}

// Read reads all counters from a /proc/net. Files that are not there, as without IPv6, are passed over.
func Read(dir fs.FS) (Values, error) {
	values, found := make(Values), false
	for _, file := range files {
		text, err := fs.ReadFile(dir, file.name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err == nil {
			found = true
			err = file.parse(string(text), values)
		}
		if err != nil {
			return nil, fmt.Errorf("read /proc/net/%s: %w", file.name, withoutPath(err))
		}
	}
	if !found {
		return nil, errNone
	}
	return values, nil
}

// withoutPath leaves out the file's name, which the sentence has said already.
func withoutPath(err error) error {
	if path, ok := errors.AsType[*fs.PathError](err); ok {
		return path.Err
	}
	return err
}

// parsePairs reads netstat and snmp: a line of names, then one of values, both with the group in front. A group may come
// several times, as IcmpMsg does with many types (icmpmsg_put).
func parsePairs(text string, into Values) error {
	var names []string
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) == 0 {
			continue
		}
		if names == nil {
			names = fields
			continue
		}
		if err := parsePair(names, fields, into); err != nil {
			return err
		}
		names = nil
	}
	if names != nil {
		return fmt.Errorf("the names of %q have no values", names[0])
	}
	return nil
}

func parsePair(names, values []string, into Values) error {
	group, ok := strings.CutSuffix(names[0], ":")
	if !ok || group == "" || values[0] != names[0] {
		return fmt.Errorf("%q and %q are no pair of lines", names[0], values[0])
	}
	if len(names) != len(values) {
		return fmt.Errorf("%s has %d names and %d values", group, len(names)-1, len(values)-1)
	}
	for i := 1; i < len(names); i++ {
		n, err := parseNumber(values[i])
		if err != nil {
			return fmt.Errorf("%s.%s: %w", group, names[i], err)
		}
		into[Key{group, names[i]}] = n
	}
	return nil
}

// parseSNMP6 reads snmp6: a name and a value a line, where the group is the beginning of the name.
func parseSNMP6(text string, into Values) error {
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) == 0 {
			continue
		}
		group, name, ok := strings.Cut(fields[0], "6")
		if !ok || group == "" || name == "" || len(fields) != 2 {
			return fmt.Errorf("%q is no counter of IPv6", strings.TrimSpace(line))
		}
		n, err := parseNumber(fields[1])
		if err != nil {
			return fmt.Errorf("%s: %w", fields[0], err)
		}
		into[Key{group + "6", name}] = n
	}
	return nil
}

// parseSockstat reads sockstat and sockstat6: a protocol, and what is to be said of it, a name and a value each.
func parseSockstat(text string, into Values) error {
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) == 0 {
			continue
		}
		protocol, ok := strings.CutSuffix(fields[0], ":")
		if !ok || protocol == "" || len(fields)%2 == 0 {
			return fmt.Errorf("%q does not count sockets", strings.TrimSpace(line))
		}
		for i := 1; i < len(fields); i += 2 {
			n, err := parseNumber(fields[i+1])
			if err != nil {
				return fmt.Errorf("%s %s: %w", protocol, fields[i], err)
			}
			into[Key{groupSockstat, protocol + "_" + fields[i]}] = n
		}
	}
	return nil
}

// parseNumber reads a kernel's long, which most of these files print as if it had no sign: what is briefly below 0, as
// sums over CPUs can be, is below 0 here too.
func parseNumber(text string) (int64, error) {
	if n, err := strconv.ParseInt(text, 10, 64); err == nil {
		return n, nil
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%q is not a number", text)
	}
	return int64(n), nil
}
