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

// places is of how many values the text is kept that [Together] wrote lately: a power of two.
const places = 256

// Together is the same table for one writer of many objects, with the keys from first to last as one: they are written
// again only when what they hold together has another value than the last of the same hash. It cannot be read with, and is
// not safe for concurrent use.
func Together[T any, V comparable](o Object[T], first, last string, value func(*T) V, hash func(*T) uint64) Object[T] {
	from, to := o.index(first), o.index(last)+1
	fields := slices.Clone(o[from:to])
	var known [places]struct {
		value V
		text  []byte // nil: there is none yet
	}
	all := Field[T]{
		absent: func(*T) bool { return false },
		encode: func(dst []byte, v *T) []byte {
			k, value := &known[hash(v)%places], value(v)
			if k.text == nil || k.value != value {
				k.value, k.text = value, fields.appendFields(k.text[:0], v)
			}
			return append(dst, k.text...)
		},
	}
	return slices.Replace(slices.Clone(o), from, to, all)
}

// index is where a key is in the table.
func (o Object[T]) index(key string) int {
	return slices.IndexFunc(o, func(f Field[T]) bool { return f.lead == lead(key) })
}
