package main

import (
	"testing"
	"time"
)

func TestRateLimitCountsWhatItHides(t *testing.T) {
	limit := rateLimit{most: 2}
	for i, step := range []struct {
		at        time.Duration
		shown     bool
		standsFor int
	}{
		{100 * time.Millisecond, true, 1},
		{200 * time.Millisecond, true, 1},
		{300 * time.Millisecond, false, 0},
		{999 * time.Millisecond, false, 0},
		{1000 * time.Millisecond, true, 3}, // itself and the two that were hidden
		{1001 * time.Millisecond, true, 1},
		{1002 * time.Millisecond, false, 0},
	} {
		if shown, standsFor := limit.take(step.at); shown != step.shown || standsFor != step.standsFor {
			t.Errorf("event %d: shown %t for %d, want %t for %d", i+1, shown, standsFor, step.shown, step.standsFor)
		}
	}
}

func TestNoRateLimitShowsAll(t *testing.T) {
	var limit rateLimit
	for range 1000 {
		if shown, standsFor := limit.take(0); !shown || standsFor != 1 {
			t.Fatalf("shown %t for %d", shown, standsFor)
		}
	}
}
