package jsonline

import (
	"encoding"
	"encoding/json"
	"errors"
	"net/netip"
	"reflect"
	"strconv"
	"time"
)

// Int is a key that holds an integer.
func Int[T any, I ~int | ~int32 | ~int64](key string, at func(*T) *I) Field[T] {
	return Field[T]{
		lead:   lead(key),
		absent: func(v *T) bool { return *at(v) == 0 },
		where:  wordOf(at),
		whole:  spanOf(at),
		encode: func(dst []byte, v *T) []byte { return strconv.AppendInt(dst, int64(*at(v)), 10) },
		decode: func(text []byte, v *T) error {
			n, err := strconv.ParseInt(string(text), 10, 64)
			if err != nil || int64(I(n)) != n {
				return integerError(text)
			}
			*at(v) = I(n)
			return nil
		},
	}
}

// Uint is a key that holds an integer from 0.
func Uint[T any, U ~uint32 | ~uint64](key string, at func(*T) *U) Field[T] {
	return Field[T]{
		lead:   lead(key),
		absent: func(v *T) bool { return *at(v) == 0 },
		where:  wordOf(at),
		whole:  spanOf(at),
		encode: func(dst []byte, v *T) []byte { return strconv.AppendUint(dst, uint64(*at(v)), 10) },
		decode: func(text []byte, v *T) error {
			n, err := strconv.ParseUint(string(text), 10, 64)
			if err != nil || uint64(U(n)) != n {
				return integerError(text)
			}
			*at(v) = U(n)
			return nil
		},
	}
}

// Float is a key that holds a finite number.
func Float[T any](key string, at func(*T) *float64) Field[T] {
	return Field[T]{
		lead:   lead(key),
		absent: func(v *T) bool { return *at(v) == 0 },
		encode: func(dst []byte, v *T) []byte { return strconv.AppendFloat(dst, *at(v), 'f', -1, 64) },
		decode: func(text []byte, v *T) error {
			if !isNumber(text) {
				return errNotANumber
			}
			f, err := strconv.ParseFloat(string(text), 64)
			if err != nil {
				return errOutOfRange
			}
			*at(v) = f
			return nil
		},
	}
}

// integerError says what is wrong with text, which is no integer of the range that is wanted.
func integerError(text []byte) error {
	if !isNumber(text) {
		return errNotANumber
	}
	return errOutOfRange
}

// Bool is a key that holds true or false.
func Bool[T any](key string, at func(*T) *bool) Field[T] {
	return Field[T]{
		lead:   lead(key),
		absent: func(v *T) bool { return !*at(v) },
		where:  wordOf(at),
		whole:  spanOf(at),
		encode: func(dst []byte, v *T) []byte { return strconv.AppendBool(dst, *at(v)) },
		decode: func(text []byte, v *T) error {
			switch string(text) {
			case "true", "false":
				*at(v) = text[0] == 't'
				return nil
			}
			return errors.New("neither true nor false")
		},
	}
}

// String is a key that holds a string.
func String[T any, S ~string](key string, at func(*T) *S) Field[T] {
	return Field[T]{
		lead:   lead(key),
		absent: func(v *T) bool { return *at(v) == "" },
		where:  lengthOf(at),
		whole:  spanOf(at),
		encode: func(dst []byte, v *T) []byte { return AppendString(dst, string(*at(v))) },
		decode: func(text []byte, v *T) error {
			s, err := parseString(text)
			*at(v) = S(s)
			return err
		},
	}
}

func parseString(text []byte) (string, error) {
	var s string
	if len(text) == 0 || text[0] != '"' || json.Unmarshal(text, &s) != nil {
		return "", errors.New("not a string")
	}
	return s, nil
}

// TextValue is what has a text form.
type TextValue[V any] interface {
	*V
	encoding.TextAppender
	encoding.TextUnmarshaler
}

// Text is a key that holds the text form of a value, which must not fail for what is written.
func Text[T any, V comparable, P TextValue[V]](key string, at func(*T) *V) Field[T] {
	f := Field[T]{
		lead:   lead(key),
		absent: func(v *T) bool { return *at(v) == *new(V) },
		whole:  spanOf(at),
		encode: func(dst []byte, v *T) []byte { return appendText(dst, P(at(v))) },
		decode: func(text []byte, v *T) error { return parseText(text, P(at(v))) },
		remember: func() func([]byte, *T) []byte {
			write := recent(func(dst []byte, value *V) []byte { return appendText(dst, P(value)) })
			return func(dst []byte, v *T) []byte { return write(dst, at(v)) }
		},
	}
	switch reflect.TypeFor[V]().Kind() {
	case reflect.Uint8:
		f.where = wordOf(at)
		f.remember = func() func([]byte, *T) []byte { return eachOnce(at, f.encode) }
	case reflect.Uint16, reflect.Uint32, reflect.Uint64:
		f.where = wordOf(at)
	}
	return f
}

func appendText(dst []byte, v encoding.TextAppender) []byte {
	start := len(dst)
	dst = append(dst, '"')
	if longer, err := v.AppendText(dst); err == nil {
		dst = longer
	}
	for _, b := range dst[start+1:] {
		if !isPlain(b) {
			return AppendString(dst[:start], string(dst[start+1:]))
		}
	}
	return append(dst, '"')
}

func parseText(text []byte, v encoding.TextUnmarshaler) error {
	s, err := parseString(text)
	if err != nil {
		return err
	}
	return v.UnmarshalText([]byte(s))
}

// AddrPort is a key that holds an address and port; one without an address is absent, whatever its port.
func AddrPort[T any](key string, at func(*T) *netip.AddrPort) Field[T] {
	return Text(key, at).When(func(v *T) bool { return at(v).IsValid() })
}

// Nanos is a key that holds a duration in whole nanoseconds.
func Nanos[T any](key string, at func(*T) *time.Duration) Field[T] { return Int(key, at) }

// Micros is a key that holds a duration in microseconds, exact to the nanosecond.
func Micros[T any](key string, at func(*T) *time.Duration) Field[T] {
	return durationIn(time.Microsecond, appendMicros, key, at)
}

// Millis is a key that holds a duration in milliseconds, exact to the nanosecond.
func Millis[T any](key string, at func(*T) *time.Duration) Field[T] {
	return durationIn(time.Millisecond, AppendMillis, key, at)
}

func durationIn[T any](
	unit time.Duration, add func([]byte, time.Duration) []byte, key string, at func(*T) *time.Duration,
) Field[T] {
	return Field[T]{
		lead:   lead(key),
		absent: func(v *T) bool { return *at(v) == 0 },
		where:  wordOf(at),
		whole:  spanOf(at),
		encode: func(dst []byte, v *T) []byte { return add(dst, *at(v)) },
		decode: func(text []byte, v *T) error {
			d, err := parseIn(unit, text)
			*at(v) = d
			return err
		},
	}
}
