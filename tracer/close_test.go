package tracer

import (
	"errors"
	"os"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/ringbuf"

	"tcptrace/tracer/event"
)

// Whoever reads finds out that the tracer was closed, before it waits as well, and never touches the ring again.
func TestCloseEndsARead(t *testing.T) {
	if err := checkPrivilege(); err != nil {
		if os.Getenv("TCPTRACE_KERNEL_TESTS") == "1" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	ring, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.RingBuf, MaxEntries: 4096})
	if err != nil {
		t.Fatal(err)
	}
	defer ring.Close()
	reader, err := ringbuf.NewReader(ring)
	if err != nil {
		t.Fatal(err)
	}
	tr := &Tracer{attacher: new(attacher), shared: new(ebpf.Collection), reader: reader}
	var ev event.Event
	read := make(chan error)
	go func() { read <- tr.Read(&ev) }()
	if err := tr.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-read; !errors.Is(err, os.ErrClosed) {
		t.Errorf("a read of a tracer that is being closed: %v, want %v", err, os.ErrClosed)
	}
	if err := tr.Read(&ev); !errors.Is(err, os.ErrClosed) || tr.Pending() {
		t.Errorf("a read of a closed tracer: %v, want %v; more to read: %t", err, os.ErrClosed, tr.Pending())
	}
}
