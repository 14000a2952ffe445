package timeline

import (
	"fmt"
	"math"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestFormatDurationIsShort(t *testing.T) {
	cases := map[time.Duration]string{
		0:                                       "0s",
		42:                                      "42ns",
		85 * time.Microsecond:                   "85µs",
		1500:                                    "1.5µs",
		999600 * time.Nanosecond:                "1ms",
		340 * time.Millisecond:                  "340ms",
		12345 * time.Microsecond:                "12.3ms",
		999600 * time.Microsecond:               "1s",
		1021 * time.Millisecond:                 "1.02s",
		9996 * time.Millisecond:                 "10s",
		12340 * time.Millisecond:                "12.3s",
		59960 * time.Millisecond:                "1m",
		133980 * time.Millisecond:               "2m14s",
		2 * time.Minute:                         "2m",
		time.Hour - time.Millisecond:            "1h",
		2*time.Hour + 11*time.Minute:            "2h11m",
		24*time.Hour - time.Second:              "1d",
		76 * time.Hour:                          "3d4h",
		-20 * time.Millisecond:                  "-20ms",
		15*time.Minute + 24600*time.Millisecond: "15m25s",
	}
	for d, want := range cases {
		if got := FormatDuration(d); got != want {
			t.Errorf("%d ns: got %q, want %q", d, got, want)
		}
	}
}

func TestFormatDurationIsNearTheTruth(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := time.Duration(rapid.Int64Range(1, int64(20*time.Hour)).Draw(t, "d"))
		back, err := time.ParseDuration(FormatDuration(d))
		if err != nil {
			t.Fatal(err)
		}
		if off := (back - d).Abs(); off > d/100 {
			t.Fatalf("%v is written %q, off by %v", d, FormatDuration(d), off)
		}
	})
}

func TestAppendOffsetRoundsAsFloatingPointDoes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		most := rapid.SampledFrom([]int64{int64(time.Millisecond), int64(time.Minute), math.MaxInt64}).Draw(t, "most")
		offset := time.Duration(rapid.Int64Range(-most, most).Draw(t, "ns"))
		if rapid.Bool().Draw(t, "between two milliseconds") {
			offset = offset.Truncate(time.Millisecond) + time.Millisecond/2
		}
		want := fmt.Sprintf("%+.3fs", offset.Seconds())
		if got := string(AppendOffset(nil, offset)); got != want {
			t.Fatalf("%d ns: got %s, want %s", offset, got, want)
		}
	})
}
