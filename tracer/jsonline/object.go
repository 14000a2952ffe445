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
	whole  span // of T: where all of it is zero, absent says so
	encode func(dst []byte, v *T) []byte
	decode func(text []byte, v *T) error
	// seldom is the run of keys that this one begins; the zero value: none.
	seldom run
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
	f.absent, f.where, f.whole = func(v *T) bool { return !present(v) }, word{}, span{}
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
	first := len(dst)
	if line != "" {
		dst = append(dst, `,"type":`...)
		dst = AppendString(dst, line)
	}
	dst = o.AppendKeys(dst, v)
	if len(dst) == first {
		return append(dst, "{}"...)
	}
	dst[first] = '{' // in place of a comma
	return append(dst, '}')
}

// AppendKeys adds what is there to an object that somebody else began, each with a comma ahead.
func (o Object[T]) AppendKeys(dst []byte, v *T) []byte {
	for i := 0; i < len(o); i++ {
		field := &o[i]
		if field.seldom.keys > 0 && field.seldom.whole.isZero(unsafe.Pointer(v)) {
			i += field.seldom.keys - 1
			continue
		}
		if !field.isAbsent(v) {
			dst = append(dst, field.lead...)
			dst = field.encode(dst, v)
		}
	}
	return dst
}

func (f *Field[T]) isAbsent(v *T) bool {
	if f.where.size != 0 {
		return f.where.isZero(unsafe.Pointer(v))
	}
	return f.absent(v)
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
