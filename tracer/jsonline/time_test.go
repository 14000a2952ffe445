package jsonline

import (
	"testing"
	"time"
)

func TestTimesOfFourDigitYearsAreWritten(t *testing.T) {
	object := Object[time.Time]{Time("time", func(t *time.Time) *time.Time { return t })}
	ahead := time.FixedZone("", 7200)
	for _, tt := range []struct {
		name string
		wall time.Time
		want string
	}{
		{"first", time.Date(0, 1, 1, 0, 0, 0, 0, time.UTC), `{"time":"0000-01-01T00:00:00.000000000Z"}`},
		{"before it", time.Date(-1, 12, 31, 23, 59, 59, 999_999_999, time.UTC), `{}`},
		{"last", time.Date(9999, 12, 31, 23, 59, 59, 999_999_999, time.UTC), `{"time":"9999-12-31T23:59:59.999999999Z"}`},
		{"after it", time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC), `{}`},
		{"of that year elsewhere only", time.Date(10000, 1, 1, 1, 59, 59, 0, ahead), `{"time":"9999-12-31T23:59:59.000000000Z"}`},
	} {
		if got := string(object.Append(nil, &tt.wall, "")); got != tt.want {
			t.Errorf("%s: got %s, want %s", tt.name, got, tt.want)
		}
	}
}
