package prober

import (
	"net"
	"net/netip"
	"strconv"
	"strings"
	"testing"
)

func TestParseTarget(t *testing.T) {
	tests := []struct {
		target string
		host   string
		port   uint16
	}{
		{"example.com:443", "example.com", 443},
		{"example.com.:1", "example.com.", 1},
		{"192.0.2.1:65535", "192.0.2.1", 65535},
		{"[2001:db8::1]:80", "2001:db8::1", 80},
		{"[fe80::1%eth0]:80", "fe80::1%eth0", 80},
		{"[::ffff:192.0.2.1]:80", "::ffff:192.0.2.1", 80},
		{"example.com:https", "example.com", 443},
		{"[::1]:ssh", "::1", 22},
		{"host:0080", "host", 80},
	}
	for _, tt := range tests {
		host, port, err := ParseTarget(tt.target)
		if err != nil || host != tt.host || port != tt.port {
			t.Errorf("ParseTarget(%q) = %q, %d, %v; want %q, %d", tt.target, host, port, err, tt.host, tt.port)
		}
	}
}

func TestParseTargetSaysHowToWriteIt(t *testing.T) {
	tests := []struct{ target, want string }{
		{"", `"" has no host: write HOST:PORT`},
		{":443", `":443" has no host: write HOST:PORT`},
		{"example.com", `"example.com" has no port: write HOST:PORT, as in example.com:443`},
		{"example.com:", `"example.com:" has no port: write HOST:PORT, as in example.com:443`},
		{"example.com:0", `"example.com:0": port 0 is not from 1 to 65535`},
		{"example.com:65536", `"example.com:65536": port 65536 is not from 1 to 65535`},
		{"example.com:99999999999999999999", `"example.com:99999999999999999999": port 99999999999999999999 is not from 1 to 65535`},
		{"example.com:-1", `"example.com:-1": no TCP service is called "-1": write a port from 1 to 65535, or a name such as https`},
		{"example.com:nonesuch", `"example.com:nonesuch": no TCP service is called "nonesuch": write a port from 1 to 65535, or a name such as https`},
		{"2001:db8::1", `"2001:db8::1" has several colons: write an IPv6 address in brackets, as in [2001:db8::1]:443`},
		{"[2001:db8::1]", `"[2001:db8::1]" has no port: write [HOST]:PORT, as in [2001:db8::1]:443`},
		{"[2001:db8::1]443", `"[2001:db8::1]443" has no port: write [HOST]:PORT, as in [2001:db8::1]:443`},
		{"[2001:db8::1", `"[2001:db8::1" has no closing bracket: write [HOST]:PORT`},
		{"[example.com]:443", `"[example.com]:443" has something else than an IPv6 address in its brackets`},
		{"[192.0.2.1]:443", `"[192.0.2.1]:443" has something else than an IPv6 address in its brackets`},
		{"a]:443", `"a]:443" has a bracket in the host: write HOST:PORT`},
		{"https://example.com:443", `"https://example.com:443" is a URL: write HOST:PORT`},
		{"example.com :443", `"example.com :443" has blanks or control characters: write HOST:PORT`},
		{"a\x1b[2J:443", `"a\x1b[2J:443" has blanks or control characters: write HOST:PORT`},
	}
	for _, tt := range tests {
		host, port, err := ParseTarget(tt.target)
		if err == nil {
			t.Errorf("ParseTarget(%q) = %q, %d", tt.target, host, port)
		} else if err.Error() != tt.want {
			t.Errorf("ParseTarget(%q): %s\nwant: %s", tt.target, err, tt.want)
		}
	}
}

func FuzzParseTarget(f *testing.F) {
	for _, seed := range []string{"", ":", "[", "[]", "[::1]:80", "[::1%]:80", "a:b:c", "host:https", "host:+1", "host:0", "[::1]]:1", "h:１"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, target string) {
		host, port, err := ParseTarget(target)
		if err != nil {
			if strings.ContainsAny(err.Error(), "\n\x1b") {
				t.Errorf("the error is not fit for a terminal: %q", err)
			}
			return
		}
		if host == "" || port == 0 {
			t.Fatalf("ParseTarget(%q) = %q, %d", target, host, port)
		}
		if _, err := netip.ParseAddr(host); err != nil && strings.ContainsAny(host, "[]: ") {
			t.Errorf("ParseTarget(%q) has the host %q", target, host)
		}
		again := net.JoinHostPort(host, strconv.Itoa(int(port)))
		if h, p, err := ParseTarget(again); err != nil || h != host || p != port {
			t.Errorf("ParseTarget(%q) = %q, %d, but of %q it is %q, %d, %v", target, host, port, again, h, p, err)
		}
	})
}

func TestLinkLocalAddressesNeedAnInterface(t *testing.T) {
	for text, lacks := range map[string]bool{
		"fe80::1": true, "febf::1": true, "fe80::1%eth0": false, "2001:db8::1": false, "fec0::1": false, "169.254.0.1": false, "::ffff:169.254.0.1": false,
	} {
		if err := CheckZone(netip.MustParseAddr(text)); (err != nil) != lacks {
			t.Errorf("%s: %v", text, err)
		}
	}
}
