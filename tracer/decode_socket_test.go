package tracer

import (
	"testing"

	"tcptrace/tracer/sockets"
)

func FuzzDecodeSocket(f *testing.F) {
	f.Add(bytesOf(bpfSocketRecord{Family: 2, State: 1, Pending: 1, Flags: uint32(bpfSocketFlagsSOCKET_HAS_RETRANSMIT_TIMER)}))
	f.Add(bytesOf(bpfSocketRecord{Family: 10, State: 6, Flags: uint32(bpfSocketFlagsSOCKET_HAS_LIFETIME)}))
	f.Fuzz(func(t *testing.T, record []byte) {
		l := SocketLister{decoder: *testDecoder(), intern: make(map[bpfSettings]settings)}
		if len(record) < socketRecordSize {
			return
		}
		_ = l.visit(record[:socketRecordSize], func(s *sockets.Socket) { sockets.Judge(s, 250) })
	})
}
