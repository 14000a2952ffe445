package jsonline

import "unsafe"

// lastOf writes values as objects of their own, and one that is equal to the last by copying its text.
func lastOf[V comparable, P ObjectValue[V]]() func(dst []byte, v *V) []byte {
	var last V
	var text []byte // nil: there is none yet
	return func(dst []byte, v *V) []byte {
		if text == nil || *v != last {
			last = *v
			text = P(v).AppendJSON(text[:0])
		}
		return append(dst, text...)
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
