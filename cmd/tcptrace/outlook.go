package main

import (
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"time"

	"tcptrace/tracer/schedule"
	"tcptrace/tracer/timeline"
)

// outlook is what the kernel will do with a connection that is held idle.
type outlook struct{ keepaliveSettings }

// maxListed is how many times a sentence lists one by one.
const maxListed = 4

// sentences say it in words, the most important first.
func (o outlook) sentences() []string {
	end := o.End()
	return stated(
		fmt.Sprintf("if the peer falls silent: %s, dead at %s with %s", o.probeTimes(), timeline.FormatDuration(end.Offset), end.Errno),
		o.rule(end),
		o.chatter(),
		o.afterAnswer(),
	)
}

// probeTimes says when the probes are due, one by one if they are few.
func (o outlook) probeTimes() string {
	var times []string
	for step := range o.Probes() {
		times = append(times, timeline.FormatDuration(step.Offset))
	}
	if len(times) > maxListed {
		return fmt.Sprintf("a keepalive probe %s after its last segment and then every %s, %d in all", times[0],
			timeline.FormatDuration(o.Interval), len(times))
	}
	noun := "a keepalive probe"
	if len(times) > 1 {
		noun = "keepalive probes"
	}
	return fmt.Sprintf("%s %s after its last segment", noun, strings.Join(times, ", "))
}

// outlookLine is [outlook] as it is written. A replay reads the settings; the rest follows from them.
type outlookLine struct {
	Type          string  `json:"type"`
	IdleMS        float64 `json:"keepalive_idle_ms"`
	IntervalMS    float64 `json:"keepalive_interval_ms"`
	Count         int     `json:"keepalive_count"`
	UserTimeoutMS float64 `json:"user_timeout_ms,omitempty"`
	Retries2      int     `json:"retries2"`
	RTOMaxMS      float64 `json:"rto_max_ms,omitempty"`
	HZ            int     `json:"hz,omitempty"`
	Local         bool    `json:"local,omitempty"` // both ends are on this host

	Probes        int           `json:"probes"`
	GivesUpMS     float64       `json:"gives_up_ms"`
	LatestMS      float64       `json:"latest_ms"`
	Errno         string        `json:"errno"`
	Rule          string        `json:"rule"`
	ProbesPerHour float64       `json:"probes_per_hour"` // while they are answered
	Warnings      []warningLine `json:"warnings,omitempty"`
}

func encodeOutlook(o outlook) outlookLine {
	end, probes := o.End(), 0
	for range o.Probes() {
		probes++
	}
	return outlookLine{
		Type:          typeOutlook,
		IdleMS:        milliseconds(o.Idle),
		IntervalMS:    milliseconds(o.Interval),
		Count:         o.Count,
		UserTimeoutMS: milliseconds(o.UserTimeout),
		Retries2:      o.Retries2,
		RTOMaxMS:      milliseconds(o.RTOMax),
		HZ:            o.HZ,
		Local:         o.Local,
		Probes:        probes,
		GivesUpMS:     milliseconds(end.Offset),
		LatestMS:      milliseconds(end.Latest),
		Errno:         end.Errno,
		Rule:          end.Rule.String(),
		ProbesPerHour: float64(time.Hour) / float64(o.period()),
		Warnings:      encodeWarnings(o.warnings()),
	}
}

func parseOutlook(text []byte) (any, error) {
	var line outlookLine
	if err := json.Unmarshal(text, &line); err != nil {
		return nil, err
	}
	return outlook{keepaliveSettings{
		Keepalive: schedule.Keepalive{
			Idle: fromMilliseconds(line.IdleMS), Interval: fromMilliseconds(line.IntervalMS), Count: line.Count,
			UserTimeout: fromMilliseconds(line.UserTimeoutMS), HZ: line.HZ,
		},
		Retries2: line.Retries2,
		RTOMax:   fromMilliseconds(line.RTOMaxMS),
		Local:    line.Local,
	}}, nil
}

// fromMilliseconds is the inverse of [milliseconds], to the nanosecond.
func fromMilliseconds(ms float64) time.Duration {
	return time.Duration(math.Round(ms * float64(time.Millisecond)))
}
