package jsonline

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
)

// ObjectValue is what is written as an object of its own.
type ObjectValue[V any] interface {
	*V
	AppendJSON(dst []byte) []byte
	json.Unmarshaler
}

// Nested is a key that holds an object of its own.
func Nested[T any, V comparable, P ObjectValue[V]](key string, at func(*T) *V) Field[T] {
	return Field[T]{
		lead:   lead(key),
		absent: func(v *T) bool { return *at(v) == *new(V) },
		whole:  spanOf(at),
		encode: func(dst []byte, v *T) []byte { return P(at(v)).AppendJSON(dst) },
		decode: func(text []byte, v *T) error { return P(at(v)).UnmarshalJSON(text) },
		remember: func() func([]byte, *T) []byte {
			write := recent(func(dst []byte, value *V) []byte { return P(value).AppendJSON(dst) })
			return func(dst []byte, v *T) []byte { return write(dst, at(v)) }
		},
	}
}

// Optional is a key that holds an object of its own, absent where it is nil.
func Optional[T any, V comparable, P ObjectValue[V]](key string, at func(*T) **V) Field[T] {
	return Field[T]{
		lead:   lead(key),
		absent: func(v *T) bool { return *at(v) == nil },
		where:  wordOf(at),
		whole:  spanOf(at),
		encode: func(dst []byte, v *T) []byte { return P(*at(v)).AppendJSON(dst) },
		decode: func(text []byte, v *T) error {
			value := new(V)
			*at(v) = value
			return P(value).UnmarshalJSON(text)
		},
		remember: func() func([]byte, *T) []byte {
			write := recent(func(dst []byte, value *V) []byte { return P(value).AppendJSON(dst) })
			return func(dst []byte, v *T) []byte { return write(dst, *at(v)) }
		},
	}
}

// Objects is a key that holds a list of objects.
func Objects[T, V any, P ObjectValue[V]](key string, at func(*T) *[]V) Field[T] {
	return list(key, at,
		func(dst []byte, v *V) []byte { return P(v).AppendJSON(dst) },
		func(text []byte, v *V) error { return P(v).UnmarshalJSON(text) })
}

// Strings is a key that holds a list of strings.
func Strings[T any](key string, at func(*T) *[]string) Field[T] {
	return list(key, at,
		func(dst []byte, s *string) []byte { return AppendString(dst, *s) },
		func(text []byte, s *string) (err error) {
			*s, err = parseString(text)
			return err
		})
}

// Uints is a key that holds a list of integers from 0.
func Uints[T any](key string, at func(*T) *[]uint64) Field[T] {
	return list(key, at,
		func(dst []byte, n *uint64) []byte { return strconv.AppendUint(dst, *n, 10) },
		func(text []byte, n *uint64) (err error) {
			if *n, err = strconv.ParseUint(string(text), 10, 64); err != nil {
				return integerError(text)
			}
			return nil
		})
}

// Texts is a key that holds a list of values with a text form.
func Texts[T any, V comparable, P TextValue[V]](key string, at func(*T) *[]V) Field[T] {
	return list(key, at,
		func(dst []byte, v *V) []byte { return appendText(dst, P(v)) },
		func(text []byte, v *V) error { return parseText(text, P(v)) })
}

// list is a key that holds a list. An empty one is absent, or [] where the field is always there, and is read as
// nil.
func list[T, V any](key string, at func(*T) *[]V, encode func([]byte, *V) []byte, decode func([]byte, *V) error) Field[T] {
	return Field[T]{
		lead:   lead(key),
		absent: func(v *T) bool { return len(*at(v)) == 0 },
		encode: func(dst []byte, v *T) []byte {
			dst = append(dst, '[')
			for i := range *at(v) {
				if i > 0 {
					dst = append(dst, ',')
				}
				dst = encode(dst, &(*at(v))[i])
			}
			return append(dst, ']')
		},
		decode: func(text []byte, v *T) error {
			var elements []json.RawMessage
			if json.Unmarshal(text, &elements) != nil {
				return errors.New("not a list")
			}
			if len(elements) == 0 {
				return nil
			}
			values := make([]V, len(elements))
			for i, element := range elements {
				if err := decode(element, &values[i]); err != nil {
					return fmt.Errorf("element %d: %w", i, err)
				}
			}
			*at(v) = values
			return nil
		},
	}
}
