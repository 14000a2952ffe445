package host

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
)

const (
	udpHeader  = "   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops            \n"
	udp6Header = "  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops\n"
)

// procWord is an address of /proc/net in this machine's byte order.
func procWord(addr netip.Addr) string {
	raw, text := addr.AsSlice(), ""
	for i := 0; i < len(raw); i += 4 {
		text += fmt.Sprintf("%08X", binary.NativeEndian.Uint32(raw[i:]))
	}
	return text
}

func TestUDPSocketsByColumnNames(t *testing.T) {
	four, six := procWord(netip.MustParseAddr("192.0.2.1")), procWord(netip.MustParseAddr("2001:db8::1"))
	dir := fstest.MapFS{
		"udp": {Data: []byte(udpHeader +
			"  123: " + four + ":1388 00000000:0000 07 00000000:00034000 00:00000000 00000000  1000        0 4242 2 0000000000000000 17       \n")},
		"udp6": {Data: []byte(udp6Header +
			"    4: " + six + ":0035 " + six + ":0036 01 00000000:00000000 00:00000000 00000000     0        0 4243 2 0000000000000000 0\n")},
	}
	got, err := UDPSockets(dir)
	want := []UDPSocket{
		{Local: netip.MustParseAddrPort("192.0.2.1:5000"), Inode: 4242, UID: 1000, Unread: 0x34000, Dropped: 17},
		{Local: netip.MustParseAddrPort("[2001:db8::1]:53"), Remote: netip.MustParseAddrPort("[2001:db8::1]:54"), Inode: 4243},
	}
	if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
}

func TestDamagedUDPFilesAreRefused(t *testing.T) {
	for text, want := range map[string]string{
		"sl local_address\n":          `"sl local_address" lacks columns`,
		udpHeader + "1: 2 3\n":        "a line has 3 columns, the first 13",
		udpHeader + udpRow("G:0", ""): `"G:0" is no address and port`,
	} {
		_, err := UDPSockets(fstest.MapFS{"udp": {Data: []byte(text)}})
		if want = "read /proc/net/udp: " + want; err == nil || err.Error() != want {
			t.Errorf("%v; want %s", err, want)
		}
	}
}

func udpRow(local, rest string) string {
	return "1: " + local + " 00000000:0000 07 00000000:00000000 00:00000000 00000000 0 0 1 2 0 0" + rest + "\n"
}

func TestUDPSocketsHaveOurs(t *testing.T) {
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	all, err := UDPSockets(os.DirFS("/proc/thread-self/net"))
	if err != nil {
		t.Fatal(err)
	}
	local := conn.LocalAddr().(*net.UDPAddr).AddrPort()
	if !slices.ContainsFunc(all, func(s UDPSocket) bool { return s.Local == local && s.Inode != 0 && s.UID == uint32(os.Geteuid()) }) {
		t.Errorf("%s is not among %+v", local, all)
	}
}

func FuzzUDP(f *testing.F) {
	f.Add(udpHeader + udpRow("0100007F:1388", ""))
	f.Add(udp6Header)
	f.Fuzz(func(t *testing.T, text string) {
		sockets, err := parseUDP(text)
		if err != nil && sockets != nil {
			t.Errorf("%q: %+v and %v", text, sockets, err)
		}
		for _, s := range sockets {
			if s.Unread < 0 || !s.Local.Addr().IsValid() {
				t.Errorf("%q: %+v", text, s)
			}
		}
	})
}
