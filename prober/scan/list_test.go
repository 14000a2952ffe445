package scan

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"
)

func TestSpecsStandForTargets(t *testing.T) {
	for _, c := range []struct {
		text string
		host string
		want []string
	}{
		{"192.0.2.1:80", "", []string{"192.0.2.1:80"}},
		{"192.0.2.1:80,443", "", []string{"192.0.2.1:80", "192.0.2.1:443"}},
		{"192.0.2.1:8000-8002,22", "", []string{"192.0.2.1:8000", "192.0.2.1:8001", "192.0.2.1:8002", "192.0.2.1:22"}},
		{"192.0.2.5/31:80", "", []string{"192.0.2.4:80", "192.0.2.5:80"}},
		{"192.0.2.4/31:80,443", "", []string{"192.0.2.4:80", "192.0.2.4:443", "192.0.2.5:80", "192.0.2.5:443"}},
		{"[2001:db8::1]:443", "", []string{"[2001:db8::1]:443"}},
		{"[2001:db8::/127]:443", "", []string{"[2001:db8::]:443", "[2001:db8::1]:443"}},
		{"255.255.255.254/31:1", "", []string{"255.255.255.254:1", "255.255.255.255:1"}},
		{"[::ffff:192.0.2.1]:80", "", []string{"192.0.2.1:80"}},
		{"example.com:443", "example.com", nil},
		{"[fe80::1%eth0]:443", "fe80::1%eth0", nil},
	} {
		spec, err := ParseSpec(c.text)
		if err != nil {
			t.Errorf("ParseSpec(%q): %v", c.text, err)
			continue
		}
		var got []string
		for target := range spec.Targets() {
			got = append(got, target.Addr.String())
		}
		if diff := cmp.Diff(c.want, got); diff != "" || spec.Host != c.host {
			t.Errorf("ParseSpec(%q) is of the host %q (-want +got):\n%s", c.text, spec.Host, diff)
		}
	}
}

func TestSpecsThatAreWrongAreNamedAsWritten(t *testing.T) {
	for text, want := range map[string]string{
		"":                        `no host`,
		"192.0.2.1":               `"192.0.2.1" has no port`,
		"192.0.2.1:":              `"192.0.2.1:" has no port`,
		"192.0.2.1:80,":           `"192.0.2.1:80,": a port is missing beside a comma`,
		"192.0.2.1:0":             `port 0 is not from 1 to 65535`,
		"192.0.2.1:90-80":         `the range of ports 90-80 ends before it begins`,
		"192.0.2.1:80-70000":      `port 70000 is not from 1 to 65535`,
		"192.0.2.0/33:80":         `"192.0.2.0/33" is not a network`,
		"name/24:80":              `"name/24" is not a network`,
		"10.0.0.0/8:80":           `10.0.0.0/8 has more than 1048576 addresses`,
		"2001:db8::1:80":          `"2001:db8::1:80" has several colons`,
		"[2001:db8::/64]:80":      `more than 1048576 addresses`,
		"https://example.com/:80": `is a URL`,
		"[fe80::1]:80":            `fe80::1 is a link-local address`,
		"[fe80::/120]:80":         `add it, as in fe80::%eth0`,
	} {
		_, err := ParseSpec(text)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("ParseSpec(%q): %v; want %q in it", text, err, want)
		}
	}
}

func TestListsGoOnAfterLinesThatAreWrong(t *testing.T) {
	list := "# peers\n\n192.0.2.1:80 alice\n  192.0.2.2:80\tbob the builder  # not yet\nnonsense\n[::1]:80#no comment\n192.0.2.3:80"
	type line struct{ Host, Label, Err string }
	var got []line
	for spec, err := range ReadList(strings.NewReader(list)) {
		l := line{Label: spec.Label}
		if spec.Network.IsValid() {
			l.Host = spec.Network.Addr().String()
		}
		if err != nil {
			l.Err, _, _ = strings.Cut(err.Error(), ": ")
		}
		got = append(got, l)
	}
	want := []line{
		{"192.0.2.1", "alice", ""}, {"192.0.2.2", "bob the builder", ""}, {"", "", "line 5"}, {"", "comment", "line 6"}, {"192.0.2.3", "", ""},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("list (-want +got):\n%s", diff)
	}
}

func TestAListSaysThatALineIsTooLong(t *testing.T) {
	var last error
	for _, err := range ReadList(strings.NewReader("192.0.2.1:80\n" + strings.Repeat("x", maxListLine+1))) {
		last = err
	}
	if last == nil || !strings.Contains(last.Error(), "line 2 is longer") {
		t.Errorf("the last error is %v; want line 2 named", last)
	}
}

func TestExclusions(t *testing.T) {
	e := new(Exclusions)
	list := "192.0.2.7\n198.51.100.0/24 # all\n198.51.100.0/24:25\n203.0.113.0/24:25,80\n2001:db8::/32\n203.0.113.9:443\n"
	if err := e.Read(strings.NewReader(list)); err != nil {
		t.Fatal(err)
	}
	for target, want := range map[string]bool{
		"192.0.2.7:1": true, "192.0.2.8:1": false, "198.51.100.200:80": true, "203.0.113.5:80": true, "203.0.113.5:443": false,
		"203.0.113.9:443": true, "[2001:db8:1::5]:80": true, "[2001:db9::5]:80": false,
	} {
		if got := e.Has(netip.MustParseAddrPort(target)); got != want {
			t.Errorf("%s excluded: %v; want %v", target, got, want)
		}
	}
	for _, wrong := range []string{"example.com", "example.com:80", "192.0.2.0/40", "192.0.2.1:nothing"} {
		if err := new(Exclusions).Read(strings.NewReader("# fine\n" + wrong)); err == nil || !strings.HasPrefix(err.Error(), "line 2: ") {
			t.Errorf("%q is excluded without an error that names its line: %v", wrong, err)
		}
	}
}

func TestMergeKeepsTheFirstOfEach(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var targets []Target
		for _, n := range rapid.SliceOf(rapid.IntRange(0, 20)).Draw(t, "targets") {
			addr := netip.AddrFrom4([4]byte{192, 0, 2, byte(n / 2)})
			targets = append(targets, Target{Addr: netip.AddrPortFrom(addr, uint16(1+n%2))})
		}
		var want []Target
		for _, target := range targets {
			if !slices.Contains(want, target) {
				want = append(want, target)
			}
		}
		all := len(targets)
		got, duplicates := Merge(targets)
		if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b }), cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("merged (-want +got):\n%s", diff)
		}
		if duplicates != all-len(want) {
			t.Errorf("%d duplicates; want %d", duplicates, all-len(want))
		}
	})
}

func TestShuffleIsTheSameForTheSameSeed(t *testing.T) {
	shuffled := func(seed uint64) []Target {
		var targets []Target
		for n := range 100 {
			targets = append(targets, Target{Label: string(rune('a' + n))})
		}
		Shuffle(targets, seed)
		return targets
	}
	if a, b := shuffled(1), shuffled(1); !slices.Equal(a, b) {
		t.Error("two orders of the same seed differ")
	}
	if a, b := shuffled(1), shuffled(2); slices.Equal(a, b) {
		t.Error("two seeds have the same order")
	}
}

func FuzzParseSpec(f *testing.F) {
	for _, text := range []string{"192.0.2.1:80,443", "10.0.0.0/30:1-3", "[2001:db8::/126]:80", "a/b:c", "[:]/:1", "::/1:2"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		spec, err := ParseSpec(text)
		if err != nil {
			return
		}
		if (spec.Host != "") == spec.Network.IsValid() && !strings.Contains(spec.Host, "%") {
			t.Errorf("ParseSpec(%q) has both a host and a network, or neither: %+v", text, spec)
		}
		if len(spec.Ports) == 0 || slices.Contains(spec.Ports, 0) {
			t.Errorf("ParseSpec(%q) has the ports %v", text, spec.Ports)
		}
	})
}
