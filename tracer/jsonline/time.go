package jsonline

import (
	"errors"
	"strconv"
	"time"
)

// Time is a key that holds a wall-clock time, as RFC 3339 with nanoseconds, in UTC. Years that RFC 3339 cannot
// write are absent.
func Time[T any](key string, at func(*T) *time.Time) Field[T] {
	return Field[T]{
		lead:   lead(key),
		absent: func(v *T) bool { return at(v).IsZero() || !hasRFC3339(*at(v)) },
		encode: func(dst []byte, v *T) []byte {
			var fresh second
			return fresh.append(dst, *at(v))
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
			var last second
			return func(dst []byte, v *T) []byte { return last.append(dst, *at(v)) }
		},
	}
}

// second is the text of one, up to the point of its fraction: the times of a busy host's events have it in common. The
// zero value knows none.
type second struct {
	unix int64
	text [len(`"2006-01-02T15:04:05.`)]byte
}

// append adds a time in UTC, always with nine decimals, unlike time.RFC3339Nano: columns line up and text sorts like time.
func (s *second) append(dst []byte, t time.Time) []byte {
	if unix := t.Unix(); s.unix != unix || s.text[0] == 0 {
		s.set(t)
		s.unix = unix
	}
	dst = append(dst, s.text[:]...)
	start := len(dst)
	dst = strconv.AppendUint(dst, uint64(time.Second)+uint64(t.Nanosecond()), 10) // a 1 ahead keeps the leading zeros
	copy(dst[start:], dst[start+1:])
	return append(dst[:len(dst)-1], 'Z', '"')
}

// set takes the text from package time, which has a fast way for time.RFC3339 alone.
func (s *second) set(t time.Time) {
	text := append(s.text[:0], '"')
	text = t.UTC().AppendFormat(text, time.RFC3339)
	text[len(text)-1] = '.' // for the Z
}

// The first and the last second of the years that have four digits, since 1970.
const (
	firstSecond = -62167219200 // 0000-01-01T00:00:00Z
	lastSecond  = 253402300799 // 9999-12-31T23:59:59Z
)

// hasRFC3339 says whether RFC 3339 can write a time in UTC.
func hasRFC3339(t time.Time) bool {
	unix := t.Unix()
	return unix >= firstSecond && unix <= lastSecond
}
