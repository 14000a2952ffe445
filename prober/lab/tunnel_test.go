package lab

import (
	"bytes"
	"net/netip"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"tcptrace/prober"
	"tcptrace/tracer/event"
)

// peers are the two ends of packets that never meet a kernel.
var peers = []struct{ a, b netip.AddrPort }{
	{netip.MustParseAddrPort("192.0.2.1:4711"), netip.MustParseAddrPort("198.51.100.10:443")},
	{netip.MustParseAddrPort("[2001:db8::1]:4711"), netip.MustParseAddrPort("[2001:db8:1::10]:443")},
}

func TestSegmentsAreReadAsTheyWereWritten(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		ends := rapid.SampledFrom(peers).Draw(t, "ends")
		want := Segment{
			Source: ends.a, Destination: ends.b,
			HopLimit: rapid.Uint8Min(1).Draw(t, "hop limit"),
			Seq:      rapid.Uint32().Draw(t, "seq"), Ack: rapid.Uint32().Draw(t, "ack"),
			Flags:   TCPFlags(rapid.Byte().Draw(t, "flags")),
			Window:  rapid.Uint16().Draw(t, "window"),
			Options: bytes.Repeat([]byte{1}, 4*rapid.IntRange(0, 10).Draw(t, "options")),
			Data:    rapid.SliceOfN(rapid.Byte(), 0, 2000).Draw(t, "data"),
		}
		packet := want.marshal()
		got, ok := parseSegment(packet)
		want.packet = packet
		if diff := cmp.Diff(want, got, cmp.AllowUnexported(Segment{}), cmp.Comparer(bytes.Equal),
			cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })); !ok || diff != "" {
			t.Fatalf("ok %t (-written +read):\n%s", ok, diff)
		}
		if sum := tcpChecksum(got); sum != 0 {
			t.Fatalf("its checksum is off by %#x", sum)
		}
		want.BadChecksum = true
		if damaged, ok := parseSegment(want.marshal()); !ok || tcpChecksum(damaged) == 0 {
			t.Fatalf("ok %t: the wrong checksum is right", ok)
		}
	})
}

// Each window gives another checksum, and there are as many.
func TestBadChecksumIsNeverRight(t *testing.T) {
	s := Segment{Source: peers[0].a, Destination: peers[0].b, Flags: FlagSYN, BadChecksum: true}
	for window := range 1 << 16 {
		s.Window = uint16(window)
		if damaged, ok := parseSegment(s.marshal()); !ok || tcpChecksum(damaged) == 0 {
			t.Fatalf("window %d: ok %t, and the checksum is right", window, ok)
		}
	}
}

// tcpChecksum is 0 for a segment whose checksum is right.
func tcpChecksum(s Segment) uint16 {
	ip, _ := parseIP(s.packet)
	return checksum(pseudoHeader(ip.source, ip.destination, ip.protocol, len(ip.payload)), ip.payload)
}

func TestParseSegmentSurvivesAnyPacket(t *testing.T) {
	whole := (&Segment{Source: peers[0].a, Destination: peers[0].b, Data: []byte("data")}).marshal()
	rapid.Check(t, func(t *rapid.T) {
		packet := rapid.OneOf(
			rapid.SliceOfN(rapid.Byte(), 0, 80),
			rapid.Map(rapid.IntRange(0, len(whole)), func(n int) []byte { return whole[:n] }),
			rapid.Map(rapid.IntRange(0, 8*len(whole)-1), func(bit int) []byte {
				damaged := bytes.Clone(whole)
				damaged[bit/8] ^= 1 << (bit % 8)
				return damaged
			}),
		).Draw(t, "packet")
		if s, ok := parseSegment(packet); ok && !s.Source.IsValid() {
			t.Fatalf("% x was read as %+v", packet, s)
		}
	})
	for n := range whole {
		if s, ok := parseSegment(whole[:n]); ok {
			t.Errorf("its first %d bytes were read as %+v", n, s)
		}
	}
}

// answering is a responder that accepts connections, and acknowledges everything.
func answering(s Segment) []Reply {
	switch {
	case s.Flags&FlagSYN != 0:
		answer := s.Answer(FlagSYN)
		return []Reply{{Packet: &answer}}
	case s.Flags&FlagFIN != 0:
		answer := s.Answer(FlagFIN)
		return []Reply{{Packet: &answer}}
	case len(s.Data) > 0:
		answer := s.Answer(0)
		return []Reply{{Packet: &answer}}
	}
	return nil
}

// behindTunnel is a client, and the address of a service behind its tunnel.
func behindTunnel(t *testing.T, s site, respond Responder) (client *Host, service netip.AddrPort) {
	t.Helper()
	client = addHost(t, newNetwork(t), "client")
	must(t, client.Tunnel(testContext(t), []netip.Prefix{s.link.client}, respond))
	return client, s.service()
}

// probeInTime connects to a responder, again when something was sent again: a responder is a goroutine, which a busy machine
// may keep waiting for longer than a retransmission timeout.
func probeInTime(t *testing.T, client *Host, service netip.AddrPort, options prober.Options) *event.Probe {
	t.Helper()
	p := probe(t, client, service, options)
	for again := 2; again > 0 && p.TotalRetrans > 0; again-- {
		p = probe(t, client, service, options)
	}
	return p
}

func TestKernelsTakeARespondersSegmentsAndErrors(t *testing.T) {
	needKernel(t)
	t.Parallel()
	for name, s := range map[string]site{"IPv4": siteV4, "IPv6": siteV6} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var mu sync.Mutex
			var flags []TCPFlags
			client, service := behindTunnel(t, s, func(s Segment) []Reply {
				mu.Lock()
				defer mu.Unlock()
				flags = append(flags, s.Flags)
				return answering(s)
			})
			p := probeInTime(t, client, service, prober.Options{Send: question})
			if !p.Connected || p.ExchangeErrno != 0 || p.BytesAcked != int64(len(question)) || p.TotalRetrans != 0 {
				t.Errorf("%+v; want it connected and its data acknowledged", p)
			}
			mu.Lock()
			defer mu.Unlock()
			if len(flags) == 0 || flags[0]&(FlagSYN|FlagACK) != FlagSYN {
				t.Errorf("segments with flags %x; want a SYN first", flags)
			}

			from := s.router.Addr()
			client, service = behindTunnel(t, s, func(s Segment) []Reply {
				return []Reply{{Packet: adminProhibited(from, s)}}
			})
			p = probeInTime(t, client, service, prober.Options{})
			if p.Connected || p.ICMP == nil || p.ICMP.From != from || p.TotalRetrans != 0 {
				t.Errorf("%+v, ICMP %+v; want the error of %v at once", p, p.ICMP, from)
			}
		})
	}
}

func TestKernelsDropABadChecksum(t *testing.T) {
	needKernel(t)
	t.Parallel()
	for name, s := range map[string]site{"IPv4": siteV4, "IPv6": siteV6} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client, service := behindTunnel(t, s, func(s Segment) []Reply {
				answer := s.Answer(FlagSYN)
				answer.BadChecksum = true
				return []Reply{{Packet: &answer}}
			})
			p := probe(t, client, service, prober.Options{Timeout: 300 * time.Millisecond})
			if p.Connected || p.GaveUp == "" {
				t.Errorf("%+v; want no end", p)
			}
			// On a busy machine the answer comes when the probe is over.
			got := "0"
			for late := time.Now().Add(10 * time.Second); got == "0" && time.Now().Before(late); {
				got = tcpCounter(t, client, "InCsumErrors")
			}
			if got != "1" {
				t.Errorf("InCsumErrors is %s, want 1", got)
			}
		})
	}
}

// tcpCounter is the value of a counter of the host's TCP in /proc/net/snmp, and empty if it is not there.
func tcpCounter(t *testing.T, h *Host, name string) (value string) {
	t.Helper()
	must(t, h.Do(func() error {
		counters, err := os.ReadFile("/proc/thread-self/net/snmp")
		value = counter(counters, "Tcp", name)
		return err
	}))
	return value
}

// counter is the value of a counter of /proc/net/snmp or /proc/net/netstat, and empty if it is not there.
func counter(content []byte, group, name string) string {
	var names [][]byte
	for line := range bytes.Lines(content) {
		fields := bytes.Fields(line)
		if len(fields) == 0 || string(fields[0]) != group+":" {
			continue
		}
		if names == nil {
			names = fields
			continue
		}
		for i := range min(len(names), len(fields)) {
			if string(names[i]) == name {
				return string(fields[i])
			}
		}
	}
	return ""
}

func TestRepliesComeWhenTheyAreDueAndInOrder(t *testing.T) {
	needKernel(t)
	t.Parallel()
	const delay = 100 * time.Millisecond
	client, service := behindTunnel(t, siteV4, func(s Segment) []Reply {
		if s.Flags&FlagSYN == 0 {
			return nil
		}
		accept, reset := s.Answer(FlagSYN), s.Answer(FlagRST)
		reset.Seq++ // behind the SYN
		return []Reply{{Packet: &accept, After: delay}, {Packet: &reset, After: delay}}
	})
	p := probe(t, client, service, prober.Options{Then: []prober.Step{prober.Hold{}}})
	// The probe may find it connected, or already reset. A reset that came first would have refused it.
	if p.Connect < delay || p.Connect > delay+slack || p.Errno != event.ECONNRESET && p.HoldErrno != event.ECONNRESET {
		t.Errorf("%+v; want it connected after %v, and then reset", p, delay)
	}
}

func TestTunnelThatIsClosedSendsNothingAnyMore(t *testing.T) {
	needKernel(t)
	n := new(Network)
	client := addHost(t, n, "client")
	asked := make(chan struct{}, 1)
	must(t, client.Tunnel(testContext(t), []netip.Prefix{linkV4.client}, func(s Segment) []Reply {
		asked <- struct{}{}
		answer := s.Answer(FlagSYN)
		return []Reply{{Packet: &answer, After: time.Hour}}
	}))
	fd := -1
	must(t, client.Do(func() (err error) {
		fd, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
		return err
	}))
	defer unix.Close(fd)
	if err := unix.Connect(fd, sockaddr(serviceV4)); err != unix.EINPROGRESS {
		t.Fatal(err)
	}
	<-asked
	started := time.Now()
	must(t, n.Close())
	if took := time.Since(started); took > slack {
		t.Errorf("closing took %v", took)
	}
}
