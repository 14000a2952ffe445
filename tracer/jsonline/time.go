package jsonline

import (
	"errors"
	"time"
)

// Time is a key that holds a wall-clock time, as RFC 3339 with nanoseconds, in UTC. Years that RFC 3339 cannot
// write are absent.
func Time[T any](key string, at func(*T) *time.Time) Field[T] {
	return Field[T]{
		lead:   lead(key),
		absent: func(v *T) bool { return !HasTime(*at(v)) },
		encode: func(dst []byte, v *T) []byte {
			var fresh Clock
			return fresh.AppendTime(dst, *at(v))
		},
		decode: func(text []byte, v *T) error {
			s, err := parseString(text)
			if err != nil {
				return err
			}
			wall, err := time.Parse(time.RFC3339, s)
			if err != nil || !hasRFC3339(wall) {
				return errors.New("not a time of RFC 3339")
			}
			*at(v) = wall.UTC()
			return nil
		},
		remember: func() func([]byte, *T) []byte {
			var last Clock
			return func(dst []byte, v *T) []byte { return last.AppendTime(dst, *at(v)) }
		},
	}
}

// Clock writes times of day. It knows the text of the last second, up to the point of its fraction: the times of a busy host's
// events have it in common. The zero value knows none. It is not safe for concurrent use.
type Clock struct {
	unix int64
	text [len(`"2006-01-02T15:04:05.`)]byte
}

// AppendTime adds a time in UTC, which [HasTime], as a string: always with nine decimals, unlike time.RFC3339Nano: columns line
// up and text sorts like time.
func (c *Clock) AppendTime(dst []byte, t time.Time) []byte {
	if unix := t.Unix(); c.unix != unix || c.text[0] == 0 {
		c.set(t)
		c.unix = unix
	}
	dst = appendDigits(append(dst, c.text[:]...), uint32(t.Nanosecond()), 9)
	return append(dst, 'Z', '"')
}

// set takes the text from package time, which has a fast way for time.RFC3339 alone.
func (c *Clock) set(t time.Time) {
	text := append(c.text[:0], '"')
	text = t.UTC().AppendFormat(text, time.RFC3339)
	text[len(text)-1] = '.' // for the Z
}

// The first and the last second of the years that have four digits, since 1970.
const (
	firstSecond = -62167219200 // 0000-01-01T00:00:00Z
	lastSecond  = 253402300799 // 9999-12-31T23:59:59Z
)

// HasTime says whether a time is known, and RFC 3339 can write it in UTC.
func HasTime(t time.Time) bool { return !t.IsZero() && hasRFC3339(t) }

func hasRFC3339(t time.Time) bool {
	unix := t.Unix()
	return unix >= firstSecond && unix <= lastSecond
}
