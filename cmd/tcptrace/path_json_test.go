package main

import (
	"testing"
	"time"
)

// A nanosecond less may be a digit less in what is printed.
func TestPathTimesSurviveTheirRecording(t *testing.T) {
	for want := time.Duration(1); want < time.Second; want += want/50 + 1 {
		a, _ := (&answerLine{RTTMS: milliseconds(want)}).answer(1)
		if a.RTT != want {
			t.Errorf("%d ns were recorded and read as %d", want, a.RTT)
		}
	}
}
