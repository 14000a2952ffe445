package jsonline

import (
	"slices"
	"unsafe"
)

// word is an integer within a struct: its offset, and its size in bytes; a size of 0 is none. An event has 70 keys and lacks
// 50 of them: to call a function for each takes as long as to write what is there.
type word struct{ offset, size uintptr }

// blank stands for a zero T of any type where only the places of its fields are asked for: to allocate one for each key of each
// table would take memory in every command.
var blank [1 << 11]uint64

// wordOf is where in a T a field of at most eight bytes is. There is none when it is behind a pointer of T's.
func wordOf[T, V any](at func(*T) *V) word {
	s := spanOf(at)
	return word{s.from, s.to - s.from}
}

// lengthOf is where the length of a string is: behind the pointer to its bytes.
func lengthOf[T any, S ~string](at func(*T) *S) word {
	w := wordOf(at)
	if w.size == 0 {
		return w
	}
	return word{w.offset + unsafe.Sizeof(uintptr(0)), unsafe.Sizeof(int(0))}
}

func (w word) isZero(of unsafe.Pointer) bool {
	field := unsafe.Add(of, w.offset)
	switch w.size {
	case 8:
		return *(*uint64)(field) == 0
	case 4:
		return *(*uint32)(field) == 0
	case 2:
		return *(*uint16)(field) == 0
	}
	return *(*uint8)(field) == 0
}

// span is a part of a struct, in bytes; an empty one is none.
type span struct{ from, to uintptr }

// spanOf is where in a T a field is. There is none when it is behind a pointer of T's.
func spanOf[T, V any](at func(*T) *V) (s span) {
	defer func() { _ = recover() }() // the pointer is nil in the T that is looked at
	var t T
	if unsafe.Sizeof(t) > unsafe.Sizeof(blank) {
		return s
	}
	base := unsafe.Pointer(&blank)
	field := at((*T)(base))
	from := uintptr(unsafe.Pointer(field)) - uintptr(base)
	if to := from + unsafe.Sizeof(*field); to <= unsafe.Sizeof(t) {
		s = span{from, to}
	}
	return s
}

// isZero says whether all of it is zero, of a struct that begins at of.
func (s span) isZero(of unsafe.Pointer) bool {
	at := s.from
	for ; at+8 <= s.to; at += 8 {
		if *(*uint64)(unsafe.Add(of, at)) != 0 {
			return false
		}
	}
	for ; at < s.to; at++ {
		if *(*uint8)(unsafe.Add(of, at)) != 0 {
			return false
		}
	}
	return true
}

// run is a number of keys, none of which is there where all of a span is zero.
type run struct {
	keys  int
	whole span
}

// Seldom makes a part of a table of keys that an object has hardly ever any of, and whose fields are beside each other in
// a T: they are passed over at once. It does not change what is written.
func Seldom[T any](fields ...Field[T]) Object[T] {
	whole := fields[0].whole
	for _, f := range fields {
		if f.whole == (span{}) {
			return fields // of this one nobody can tell without asking it
		}
		whole = span{min(whole.from, f.whole.from), max(whole.to, f.whole.to)}
	}
	fields = slices.Clone(fields)
	fields[0].seldom = run{len(fields), whole}
	return fields
}
