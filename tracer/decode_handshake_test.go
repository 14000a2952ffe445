package tracer

import (
	"errors"
	"testing"
)

func TestAHandshakeOfAnotherSizeIsMalformed(t *testing.T) {
	for _, size := range []int{0, handshakeSize - 1, handshakeSize + 1} {
		var h Handshake
		if err := decodeHandshake(make([]byte, size), &h); !errors.Is(err, errRecord) {
			t.Errorf("%d bytes: %v; want %v", size, err, errRecord)
		}
	}
}

func FuzzDecodeHandshake(f *testing.F) {
	f.Add(make([]byte, handshakeSize))
	f.Fuzz(func(t *testing.T, record []byte) {
		var h Handshake
		if err := decodeHandshake(record, &h); err == nil && h.Remote.IsValid() && !h.Remote.Addr().IsValid() {
			t.Errorf("%x has the remote end %v", record, h.Remote)
		}
	})
}
