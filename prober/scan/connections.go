package scan

import (
	"iter"
	"time"
)

// connection is a connect in progress. serial is 0 for a descriptor without one.
type connection struct {
	serial   uint32
	target   int32
	attempts int32
	syns     int32         // of the attempts that were given up
	errors   bool          // epoll has reported something that was no end: an ICMP error
	began    time.Duration // the first connect()
	attempt  time.Duration // the last
}

// connectionTable holds connections by file descriptor, which the kernel gives out from the lowest. It is made of pages,
// so that it never moves what it holds, nor has twice the room that is needed.
type connectionTable struct{ pages []*connectionPage }

type connectionPage [128]connection

// room is the place of a descriptor, which is made if need be.
func (t *connectionTable) room(fd int) *connection {
	for fd/len(connectionPage{}) >= len(t.pages) {
		t.pages = append(t.pages, new(connectionPage))
	}
	return t.at(fd)
}

// at is the place of a descriptor that had room before.
func (t *connectionTable) at(fd int) *connection {
	return &t.pages[fd/len(connectionPage{})][fd%len(connectionPage{})]
}

// all yields the connections that are in progress, with their descriptors.
func (t *connectionTable) all() iter.Seq2[int, *connection] {
	return func(yield func(int, *connection) bool) {
		for number, page := range t.pages {
			for i := range page {
				if page[i].serial != 0 && !yield(number*len(page)+i, &page[i]) {
					return
				}
			}
		}
	}
}
