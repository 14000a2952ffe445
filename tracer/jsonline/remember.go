package jsonline

import (
	"slices"
	"unsafe"
)

// recent writes values, and one that is equal to one of the last two by copying its text: of connections with both ends on
// this host, the ends take turns.
func recent[V comparable](encode func(dst []byte, v *V) []byte) func(dst []byte, v *V) []byte {
	var known [2]struct {
		value V
		text  []byte // nil: there is none yet
	}
	next := 0
	return func(dst []byte, v *V) []byte {
		for i := range known {
			if k := &known[i]; k.text != nil && k.value == *v {
				return append(dst, k.text...)
			}
		}
		k := &known[next]
		next = (next + 1) % len(known)
		k.value, k.text = *v, encode(k.text[:0], v)
		return append(dst, k.text...)
	}
}

// eachOnce writes values of one byte: each that occurs is encoded once.
func eachOnce[T, V any](at func(*T) *V, encode func([]byte, *T) []byte) func(dst []byte, v *T) []byte {
	var texts [256]string
	return func(dst []byte, v *T) []byte {
		text := &texts[*(*uint8)(unsafe.Pointer(at(v)))]
		if *text == "" {
			*text = string(encode(nil, v))
		}
		return append(dst, *text...)
	}
}

// Instead is the same table with the keys from first to last written by write, which says what they would, each with a comma
// ahead: where it matters, code that knows its type takes a third of the time of a table. It cannot be read with.
func (o Object[T]) Instead(first, last string, write func(dst []byte, v *T) []byte) Object[T] {
	straight := Field[T]{absent: func(*T) bool { return false }, encode: write}
	return slices.Replace(slices.Clone(o), o.index(first), o.index(last)+1, straight)
}

// Keys is the part of the table from first to last.
func (o Object[T]) Keys(first, last string) Object[T] {
	return slices.Clone(o[o.index(first) : o.index(last)+1])
}

// index is where a key is in the table.
func (o Object[T]) index(key string) int {
	return slices.IndexFunc(o, func(f Field[T]) bool { return f.lead == lead(key) })
}
