// Package jsonline writes and reads the objects of the JSON output, one a line.
//
// An object is a table with a row for each key, which says where the value lives and so serves both directions.
// Zero values are absent, since absent means unknown. Writing appends, without reflection; reading names the key
// that it could not read, and passes over those that it does not know: they come from a newer version.
package jsonline

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"unsafe"
)

// Object is the table of a T's keys, in the order in which they are written.
type Object[T any] []Field[T]

// Field is one key: when it is there, and how its value is written and read.
type Field[T any] struct {
	lead   string // ,"key":
	absent func(v *T) bool
	where  word // of T that is zero exactly when absent says so
	encode func(dst []byte, v *T) []byte
	decode func(text []byte, v *T) error
	// remember makes an encode that knows what it wrote lately; nil: to write it again takes no longer.
	remember func() func(dst []byte, v *T) []byte
}

// lead is how a key is written among others.
func lead(key string) string { return `,"` + key + `":` }

func (f *Field[T]) key() string { return f.lead[len(`,"`) : len(f.lead)-len(`":`)] }

// Always returns the field as one that is there even when it is zero.
func (f Field[T]) Always() Field[T] {
	return f.When(func(*T) bool { return true })
}

// When returns the field as one that is there exactly when present says so, zero or not.
func (f Field[T]) When(present func(v *T) bool) Field[T] {
	f.absent, f.where = func(v *T) bool { return !present(v) }, word{}
	return f
}

// Found returns the field as one whose presence says something by itself: found is told of it when it is read.
func (f Field[T]) Found(found func(v *T)) Field[T] {
	decode := f.decode
	f.decode = func(text []byte, v *T) error {
		found(v)
		return decode(text, v)
	}
	return f
}

// Remembering is the same table for one writer of many objects that are much alike: it writes the same, and copies what
// it wrote lately of times, names, addresses and objects within the object. It is not safe for concurrent
// use.
func (o Object[T]) Remembering() Object[T] {
	o = slices.Clone(o)
	for i := range o {
		if o[i].remember != nil {
			o[i].encode = o[i].remember()
		}
	}
	return o
}

// Append adds v as an object. Where line is not empty it comes first, as the key "type": what kind of line it is.
func (o Object[T]) Append(dst []byte, v *T, line string) []byte {
	dst = append(dst, '{')
	first := len(dst)
	if line != "" {
		dst = append(dst, `"type":`...)
		dst = AppendString(dst, line)
	}
	for i := range o {
		field := &o[i]
		if field.isAbsent(v) {
			continue
		}
		lead := field.lead
		if len(dst) == first {
			lead = lead[len(","):]
		}
		dst = append(dst, lead...)
		dst = field.encode(dst, v)
	}
	return append(dst, '}')
}

func (f *Field[T]) isAbsent(v *T) bool {
	if f.where.size != 0 {
		return f.where.isZero(unsafe.Pointer(v))
	}
	return f.absent(v)
}

// word is an integer within a struct: its offset, and its size in bytes; a size of 0 is none. An event has 70 keys and lacks
// 50 of them: to call a function for each takes as long as to write what is there.
type word struct{ offset, size uintptr }

// wordOf is where in a T a field of at most eight bytes is. There is none when it is behind a pointer of T's.
func wordOf[T, V any](at func(*T) *V) (w word) {
	defer func() { _ = recover() }() // the pointer is nil in the T that is looked at
	var t T
	field := at(&t)
	offset, size := uintptr(unsafe.Pointer(field))-uintptr(unsafe.Pointer(&t)), unsafe.Sizeof(*field)
	if offset+size <= unsafe.Sizeof(t) {
		w = word{offset, size}
	}
	return w
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

// Unmarshal reads an object into v: what it does not name becomes zero. After an error, and for null, v is as it
// was before.
func (o Object[T]) Unmarshal(text []byte, v *T) error {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(text, &members); err != nil {
		if _, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
			return errors.New("not an object")
		}
		return err
	}
	if members == nil {
		return nil
	}
	var fresh T
	for i := range o {
		member, ok := members[o[i].key()]
		if !ok || string(member) == "null" {
			continue
		}
		if err := o[i].decode(member, &fresh); err != nil {
			return fmt.Errorf("key %q: %w", o[i].key(), err)
		}
	}
	*v = fresh
	return nil
}
