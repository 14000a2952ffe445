package jsonline

import (
	"bytes"
	"errors"
	"math"
	"strconv"
	"time"
)

var (
	errNotANumber = errors.New("not a number")
	errOutOfRange = errors.New("out of range")
)

// AppendMillis adds d as a number of milliseconds, exact to the nanosecond: with as many of six decimals as it
// takes.
func AppendMillis(dst []byte, d time.Duration) []byte {
	dst, ns := appendSign(dst, d)
	dst = strconv.AppendUint(dst, ns/uint64(time.Millisecond), 10)
	return appendFraction(dst, uint32(ns%uint64(time.Millisecond)), 6)
}

// appendMicros does the same in microseconds.
func appendMicros(dst []byte, d time.Duration) []byte {
	dst, ns := appendSign(dst, d)
	dst = strconv.AppendUint(dst, ns/uint64(time.Microsecond), 10)
	return appendFraction(dst, uint32(ns%uint64(time.Microsecond)), 3)
}

// appendSign adds the sign of a negative number, and gives its size.
func appendSign(dst []byte, d time.Duration) ([]byte, uint64) {
	if d < 0 {
		return append(dst, '-'), -uint64(d)
	}
	return dst, uint64(d)
}

// appendFraction adds a point and n as that many decimals, without zeros at the end; nothing of 0.
func appendFraction(dst []byte, n uint32, decimals int) []byte {
	if n == 0 {
		return dst
	}
	dst = appendDigits(append(dst, '.'), n, decimals)
	for dst[len(dst)-1] == '0' {
		dst = dst[:len(dst)-1]
	}
	return dst
}

// appendDigits adds n as that many digits, with zeros ahead.
func appendDigits(dst []byte, n uint32, digits int) []byte {
	dst = append(dst, "000000000"[:digits]...)
	for at := len(dst) - 1; n > 0; at-- {
		dst[at] = byte('0' + n%10)
		n /= 10
	}
	return dst
}

// parseIn reads a JSON number of units, to the nearest nanosecond.
func parseIn(unit time.Duration, text []byte) (time.Duration, error) {
	if !isNumber(text) {
		return 0, errNotANumber
	}
	if bytes.ContainsAny(text, "eE") {
		return parseExponent(unit, text)
	}
	digits, negative := bytes.CutPrefix(text, []byte("-"))
	whole, fraction, _ := bytes.Cut(digits, []byte("."))
	n, err := strconv.ParseUint(string(whole), 10, 64)
	if err != nil || n > math.MaxInt64/uint64(unit) {
		return 0, errOutOfRange
	}
	ns := n*uint64(unit) + parseFraction(uint64(unit), fraction)
	switch {
	case negative && ns <= 1<<63:
		return time.Duration(-ns), nil
	case !negative && ns < 1<<63:
		return time.Duration(ns), nil
	}
	return 0, errOutOfRange
}

// parseFraction is the worth of the digits behind the point of a number of units, to the nearest nanosecond.
func parseFraction(unit uint64, digits []byte) uint64 {
	var ns uint64
	for _, digit := range digits {
		n := uint64(digit - '0')
		if unit == 1 {
			if n >= 5 {
				ns++
			}
			break
		}
		unit /= 10
		ns += n * unit
	}
	return ns
}

// parseExponent reads numbers as other programs rewrite them: what a float64 holds is all there is to read.
func parseExponent(unit time.Duration, text []byte) (time.Duration, error) {
	f, err := strconv.ParseFloat(string(text), 64)
	if err != nil {
		return 0, errOutOfRange
	}
	f = math.Round(f * float64(unit))
	if math.Abs(f) >= 1<<63 {
		return 0, errOutOfRange
	}
	return time.Duration(f), nil
}

// isNumber tells a number from other values, in text that is known to be a JSON value.
func isNumber(text []byte) bool {
	return len(text) > 0 && (text[0] == '-' || text[0] >= '0' && text[0] <= '9')
}
