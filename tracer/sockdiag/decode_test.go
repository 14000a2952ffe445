package sockdiag

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tcptrace/tracer/event"
	"tcptrace/tracer/sockets"
)

// message is a struct inet_diag_msg of an IPv4 socket.
func message(state event.State, timer, retries uint8, expires time.Duration) []byte {
	data := make([]byte, messageSize)
	data[0], data[1], data[2], data[3] = unix.AF_INET, uint8(state), timer, retries
	binary.BigEndian.PutUint16(data[4:], 40000)
	binary.BigEndian.PutUint16(data[6:], 443)
	copy(data[8:], []byte{192, 0, 2, 1})
	copy(data[24:], []byte{198, 51, 100, 2})
	native.PutUint64(data[44:], 77)
	native.PutUint32(data[52:], uint32(expires/time.Millisecond))
	native.PutUint32(data[56:], 5)
	native.PutUint32(data[60:], 6)
	native.PutUint32(data[64:], 1000)
	native.PutUint32(data[68:], 4242)
	return data
}

func TestMessageBecomesSocket(t *testing.T) {
	s, err := decoder{netns: 9}.socket(message(event.StateEstablished, retransmit, 3, 1500*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	if s.Local != netip.MustParseAddrPort("192.0.2.1:40000") || s.Remote != netip.MustParseAddrPort("198.51.100.2:443") {
		t.Errorf("ends %s and %s", s.Local, s.Remote)
	}
	if s.NetNS != 9 || s.Cookie != 77 || s.Inode != 4242 || s.UID != 1000 || !s.HasUID || !s.Held || s.Orphan {
		t.Errorf("%+v", s)
	}
	if s.Live() != (sockets.Timer{Name: sockets.TimerRetransmit, Left: 1500 * time.Millisecond}) || s.Retries() != 3 {
		t.Errorf("timer %+v, %d retries", s.Live(), s.Retries())
	}
	if s.RecvQueue != 5 || s.SendQueue != 6 {
		t.Errorf("queues %d and %d, want 5 and 6", s.RecvQueue, s.SendQueue)
	}
}

func TestTimersOfEveryKind(t *testing.T) {
	tests := []struct {
		state event.State
		timer uint8
		want  string
		as    event.State
	}{
		{event.StateEstablished, 0, "", event.StateEstablished},
		{event.StateEstablished, keepalive, sockets.TimerKeepalive, event.StateEstablished},
		{event.StateEstablished, persist, sockets.TimerPersist, event.StateEstablished},
		{event.StateTimeWait, timeWait, sockets.TimerTimeWait, event.StateTimeWait},
		{event.StateFinWait2, timeWait, sockets.TimerTimeWait, event.StateTimeWait},
		{event.StateSYNRecv, retransmit, sockets.TimerRetransmit, event.StateNewSYNRecv},
	}
	for _, tt := range tests {
		s, err := decoder{}.socket(message(tt.state, tt.timer, 0, time.Second))
		if err != nil || s.Live().Name != tt.want || s.State != tt.as {
			t.Errorf("%s with timer %d: %+v in %s (%v); want %q in %s", tt.state, tt.timer, s.Live(), s.State, err, tt.want, tt.as)
		}
	}
}

func TestMessagesThatAreNoneAreRefused(t *testing.T) {
	unknown := message(event.StateEstablished, 0, 0, 0)
	unknown[0] = unix.AF_UNIX
	for _, data := range [][]byte{nil, make([]byte, messageSize-1), unknown, append(message(1, 0, 0, 0), 1, 2)} {
		if s, err := (decoder{}).socket(data); !errors.Is(err, errMessage) {
			t.Errorf("%d bytes become %+v, %v; want them refused", len(data), s, err)
		}
	}
}

func FuzzMessage(f *testing.F) {
	f.Add(message(event.StateEstablished, retransmit, 3, time.Second))
	f.Add(append(message(event.StateCloseWait, 0, 0, 0), 12, 0, inetDiagSKMem, 0, 1, 2, 3, 4, 5, 6, 7, 8))
	f.Add(append(message(event.StateCloseWait, 0, 0, 0), 8, 0, inetDiagInfo, 0, 1, 2, 3, 4))
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := decoder{}.socket(data)
		if (err == nil) != (s != nil) {
			t.Errorf("%x: %+v, %v", data, s, err)
		}
		if err == nil {
			sockets.Judge(s, 250)
		}
	})
}

func TestDropsOfASocketWhereTheKernelTellsThem(t *testing.T) {
	for words, want := range map[int]int{6: 0, 8: 0, 9: 5} { // 4.7 and later have nine
		data := message(event.StateEstablished, 0, 0, 0)
		data = native.AppendUint16(data, uint16(4+words*4))
		data = native.AppendUint16(data, inetDiagSKMem)
		for word := range words {
			value := uint32(100)
			if word == 8 {
				value = 5
			}
			data = native.AppendUint32(data, value)
		}
		s, err := decoder{}.socket(data)
		if err != nil || s.Drops != want || s.Receive == nil || s.Receive.Size != 100 {
			t.Errorf("%d words: %+v, %v", words, s, err)
		}
	}
}

func TestListenerHasQueuesInsteadOfBytes(t *testing.T) {
	data := message(event.StateListen, 0, 0, 0)
	native.PutUint32(data[40:], 3)
	data = append(data, 5, 0, inetDiagIPv6Only, 0, 1, 0, 0, 0)
	s, err := decoder{}.socket(data)
	if err != nil {
		t.Fatal(err)
	}
	want := sockets.Listening{Accept: event.Queue{Len: 5, Max: 6}, Device: 3, IPv6Only: true}
	if s.Listening == nil || *s.Listening != want || s.RecvQueue != 0 || s.SendQueue != 0 {
		t.Errorf("%+v, queues %d and %d; want %+v and none", s.Listening, s.RecvQueue, s.SendQueue, want)
	}
}
