package prober

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"tcptrace/tracer/event"
)

// extendedError builds a struct sock_extended_err with the offender's socket address after it.
func extendedError(errno uint32, origin, typ, code byte, sockaddr []byte) []byte {
	data := binary.NativeEndian.AppendUint32(nil, errno)
	data = append(data, origin, typ, code, 0)
	data = append(data, make([]byte, 8)...)
	return append(data, sockaddr...)
}

func sockaddrOf(addr netip.Addr) []byte {
	if addr.Is4() {
		data := make([]byte, unix.SizeofSockaddrInet4)
		binary.NativeEndian.PutUint16(data, unix.AF_INET)
		copy(data[4:], addr.AsSlice())
		return data
	}
	data := make([]byte, unix.SizeofSockaddrInet6)
	binary.NativeEndian.PutUint16(data, unix.AF_INET6)
	copy(data[8:], addr.AsSlice())
	return data
}

func TestDecodeExtendedError(t *testing.T) {
	v4, v6 := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")
	tests := []struct {
		name  string
		data  []byte
		found bool
		errno event.Errno
		icmp  event.ICMP // zero when there is none
	}{
		{"ICMP", extendedError(113, unix.SO_EE_ORIGIN_ICMP, 3, 1, sockaddrOf(v4)), true, event.EHOSTUNREACH,
			event.ICMP{Type: 3, Code: 1, Name: "host unreachable", From: v4}},
		{"ICMPv6", extendedError(113, unix.SO_EE_ORIGIN_ICMP6, 1, 3, sockaddrOf(v6)), true, event.EHOSTUNREACH,
			event.ICMP{Type: 1, Code: 3, Name: "address unreachable", From: v6}},
		{"ICMP without offender", extendedError(113, unix.SO_EE_ORIGIN_ICMP, 3, 1, make([]byte, 16)), true, event.EHOSTUNREACH,
			event.ICMP{Type: 3, Code: 1, Name: "host unreachable"}},
		{"local", extendedError(90, unix.SO_EE_ORIGIN_LOCAL, 0, 0, nil), true, event.EMSGSIZE, event.ICMP{}},
		{"timestamp", extendedError(42, unix.SO_EE_ORIGIN_TIMESTAMPING, 0, 0, nil), false, 0, event.ICMP{}},
		{"short", make([]byte, sizeofExtendedError-1), false, 0, event.ICMP{}},
	}
	for _, tt := range tests {
		got, found := decodeExtendedError(tt.data)
		if found != tt.found || got.errno != tt.errno {
			t.Errorf("%s: errno %v, found %v; want %v, %v", tt.name, got.errno, found, tt.errno, tt.found)
		}
		if (got.icmp != nil) != (tt.icmp != event.ICMP{}) || got.icmp != nil && *got.icmp != tt.icmp {
			t.Errorf("%s: %+v, want %+v", tt.name, got.icmp, tt.icmp)
		}
	}
}

func FuzzParseQueuedError(f *testing.F) {
	f.Add([]byte{})
	f.Add(extendedError(113, unix.SO_EE_ORIGIN_ICMP, 3, 1, sockaddrOf(netip.MustParseAddr("192.0.2.1"))))
	f.Fuzz(func(t *testing.T, control []byte) {
		if e, found := parseQueuedError(control); !found && e != (queuedError{}) {
			t.Errorf("found nothing but %+v", e)
		}
		if e, found := decodeExtendedError(control); found && e.icmp != nil && e.icmp.Name == "" {
			t.Error("an ICMP error without a name")
		}
	})
}

func TestFinderFindsAcrossPieces(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		letters := rapid.SliceOf(rapid.SampledFrom([]byte("ab")))
		stream := letters.Draw(t, "stream")
		want := rapid.SliceOfN(rapid.SampledFrom([]byte("ab")), 1, 5).Draw(t, "want")
		search := finder{want: want}
		for rest := stream; len(rest) > 0; {
			n := rapid.IntRange(1, len(rest)).Draw(t, "piece")
			seen := stream[:len(stream)-len(rest)+n]
			found := search.found(rest[:n])
			if found != bytes.Contains(seen, want) {
				t.Fatalf("after %q, found %q: %v", seen, want, found)
			}
			if found {
				return
			}
			rest = rest[n:]
		}
	})
}
