package main

import (
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/agnivade/levenshtein"

	"tcptrace/tracer/event"
)

// value is a flag whose text one function reads; its error is a clause that follows the flag and the text.
type value[T any] struct {
	target *T
	parse  func(string) (T, error)
	kind   string // what help calls the value
	text   string
}

// newValue is a flag that fills target by parse. What target holds is the default.
func newValue[T any](target *T, kind string, parse func(string) (T, error)) *value[T] {
	return &value[T]{target: target, parse: parse, kind: kind}
}

// String is the text as given: help shows no default but where the flag's own words tell it.
func (v *value[T]) String() string { return v.text }

func (v *value[T]) Type() string { return v.kind }

func (v *value[T]) Set(text string) error {
	parsed, err := v.parse(text)
	if err != nil {
		return err
	}
	*v.target, v.text = parsed, text
	return nil
}

// list is a flag that may be repeated, and that takes several values with commas between them.
type list[T any] struct {
	target *[]T
	parse  func(string) (T, error)
	kind   string
	texts  []string
}

func newList[T any](target *[]T, kind string, parse func(string) (T, error)) *list[T] {
	return &list[T]{target: target, parse: parse, kind: kind}
}

func (l *list[T]) String() string { return strings.Join(l.texts, ",") }

func (l *list[T]) Type() string { return l.kind }

func (l *list[T]) Set(text string) error {
	for item := range strings.SplitSeq(text, ",") {
		parsed, err := l.parse(strings.TrimSpace(item))
		if err != nil {
			return err
		}
		*l.target = append(*l.target, parsed)
		l.texts = append(l.texts, item)
	}
	return nil
}

// parseDuration reads a time that must be longer than nothing.
func parseDuration(text string) (time.Duration, error) {
	d, err := parseDurationOrZero(text)
	if err == nil && d == 0 {
		return 0, fmt.Errorf("it must be longer than 0")
	}
	return d, err
}

// parseDurationOrZero reads a time. A bare number is refused: a second and a millisecond look alike there.
func parseDurationOrZero(text string) (time.Duration, error) {
	if text == "0" {
		return 0, nil
	}
	if _, err := strconv.ParseFloat(text, 64); err == nil {
		return 0, fmt.Errorf("a time needs a unit, such as %ss or %sms", text, text)
	}
	d, err := time.ParseDuration(text)
	switch {
	case err != nil:
		return 0, fmt.Errorf("write a time with its unit, such as 300ms or 2s")
	case d < 0:
		return 0, fmt.Errorf("a time cannot be negative")
	}
	return d, nil
}

// parseBetween reads a whole number from least to most; what says what it is.
func parseBetween(what string, least, most int) func(string) (int, error) {
	return func(text string) (int, error) {
		n, err := strconv.Atoi(text)
		if err != nil || n < least || n > most {
			if most == math.MaxInt {
				return 0, fmt.Errorf("%s is a number from %d on", what, least)
			}
			return 0, fmt.Errorf("%s is a number from %d to %d", what, least, most)
		}
		return n, nil
	}
}

func parsePort(text string) (uint16, error) {
	n, err := parseBetween("a port", 1, math.MaxUint16)(text)
	return uint16(n), err
}

func parseUint32(what string) func(string) (uint32, error) {
	return func(text string) (uint32, error) {
		n, err := strconv.ParseUint(text, 0, 32)
		if err != nil {
			return 0, fmt.Errorf("%s is a number from 0 to %d", what, uint32(math.MaxUint32))
		}
		return uint32(n), nil
	}
}

func parseAddr(text string) (netip.Addr, error) {
	addr, err := netip.ParseAddr(text)
	if err != nil {
		return netip.Addr{}, fmt.Errorf("write an IP address, such as 192.0.2.1 or 2001:db8::1")
	}
	return addr, nil
}

// parsePrefix reads a CIDR; a single address stands for itself.
func parsePrefix(text string) (netip.Prefix, error) {
	if addr, err := netip.ParseAddr(text); err == nil && addr.Zone() == "" {
		return addr.Prefix(addr.BitLen())
	}
	prefix, err := netip.ParsePrefix(text)
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("write a network, such as 192.0.2.0/24 or 2001:db8::/32, or one address")
	}
	return prefix.Masked(), nil
}

func parseKind(text string) (event.Kind, error) {
	kind, err := event.ParseKind(text)
	if err == nil {
		return kind, nil
	}
	return 0, noSuchName("event kind", text, names(event.Kinds()))
}

// noSuchName says that there is no such thing of that name, and which there is instead.
func noSuchName(what, name string, known []string) error {
	near := slices.MinFunc(known, func(a, b string) int {
		return levenshtein.ComputeDistance(name, a) - levenshtein.ComputeDistance(name, b)
	})
	if levenshtein.ComputeDistance(name, near) <= 3 {
		return fmt.Errorf("there is no %s %q; did you mean %s?", what, name, near)
	}
	return fmt.Errorf("there is no %s %q; there are %s", what, name, strings.Join(known, ", "))
}

func names[T fmt.Stringer](values []T) []string {
	all := make([]string, len(values))
	for i, v := range values {
		all[i] = v.String()
	}
	return all
}

// nonEmpty reads text that must say something.
func nonEmpty(what string) func(string) (string, error) {
	return func(text string) (string, error) {
		if text == "" {
			return "", fmt.Errorf("%s cannot be empty", what)
		}
		return text, nil
	}
}
