package timeline

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// FormatDuration writes a duration for people, with three digits that matter and no more: 85µs, 340ms, 1.02s, 2m14s,
// 2h11m, 3d4h. Zero is 0s.
func FormatDuration(d time.Duration) string {
	if d < 0 {
		return "-" + FormatDuration(-d)
	}
	// A unit is taken once rounding within it cannot reach the next one: 999.6µs is 1ms, 59.97s is 1m.
	switch {
	case d == 0:
		return "0s"
	case d < time.Microsecond:
		return strconv.FormatInt(int64(d), 10) + "ns"
	case d < 999500*time.Nanosecond:
		return threeDigits(d, time.Microsecond) + "µs"
	case d < 999500*time.Microsecond:
		return threeDigits(d, time.Millisecond) + "ms"
	case d < 59950*time.Millisecond:
		return threeDigits(d, time.Second) + "s"
	case d < time.Hour-500*time.Millisecond:
		return twoUnits(d, time.Minute, "m", time.Second, "s")
	case d < 24*time.Hour-30*time.Second:
		return twoUnits(d, time.Hour, "h", time.Minute, "m")
	}
	return twoUnits(d, 24*time.Hour, "d", time.Hour, "h")
}

func threeDigits(d, unit time.Duration) string {
	x := float64(d) / float64(unit)
	decimals := 2
	switch {
	case x >= 99.95:
		decimals = 0
	case x >= 9.995:
		decimals = 1
	}
	s := strconv.FormatFloat(x, 'f', decimals, 64)
	if decimals == 0 {
		return s
	}
	return strings.TrimSuffix(strings.TrimRight(s, "0"), ".")
}

func twoUnits(d, large time.Duration, largeName string, small time.Duration, smallName string) string {
	d = d.Round(small)
	s := strconv.FormatInt(int64(d/large), 10) + largeName
	if rest := d % large / small; rest != 0 {
		s += strconv.FormatInt(int64(rest), 10) + smallName
	}
	return s
}

// AppendOffset adds an offset in seconds with its sign, rounded to the millisecond: +0.000s, +131.022s.
func AppendOffset(dst []byte, d time.Duration) []byte {
	const plain = 24 * time.Hour // where a float64 errs by less than a nanosecond
	if d%time.Millisecond == time.Millisecond/2 || d < 0 || d > plain {
		return fmt.Appendf(dst, "%+.3fs", d.Seconds()) // which way a tie goes is for floating point to say
	}
	ms := int64(d.Round(time.Millisecond) / time.Millisecond)
	dst = strconv.AppendInt(append(dst, '+'), ms/1000, 10)
	point := len(dst)
	dst = strconv.AppendInt(dst, 1000+ms%1000, 10) // the 1 ahead keeps leading zeros
	dst[point] = '.'
	return append(dst, 's')
}
