package main

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// escape makes text from outside (process names, host names, cgroup paths, bytes of a peer) harmless on a
// terminal: what is not printable, such as control characters, escape sequences, invalid UTF-8, and the marks that
// turn the direction of writing, appears as \x1b or \u202e. Printable text, backslashes included, stays as it is.
func escape(s string) string {
	if isHarmless(s) || isPrintable(s) {
		return s
	}
	var b strings.Builder
	for len(s) > 0 {
		r, size := utf8.DecodeRuneInString(s)
		switch {
		case r == utf8.RuneError && size == 1:
			fmt.Fprintf(&b, `\x%02x`, s[0])
		case strconv.IsPrint(r):
			b.WriteRune(r)
		default:
			b.WriteString(escapeRune(r))
		}
		s = s[size:]
	}
	return b.String()
}

// isHarmless is the fast path of [escape]: plain ASCII, as nearly everything is.
func isHarmless[T string | []byte](s T) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

// isPrintable says that there is nothing to escape in text that is more than ASCII, such as every line with an arrow.
func isPrintable(s string) bool {
	for i, r := range s {
		if r >= ' ' && r <= '~' {
			continue
		}
		if !strconv.IsPrint(r) || r == utf8.RuneError && !strings.HasPrefix(s[i:], string(utf8.RuneError)) {
			return false
		}
	}
	return true
}

func escapeRune(r rune) string {
	switch {
	case r < utf8.RuneSelf:
		return fmt.Sprintf(`\x%02x`, r)
	case r <= 0xffff:
		return fmt.Sprintf(`\u%04x`, r)
	}
	return fmt.Sprintf(`\U%08x`, r)
}

// escapeJSON does the same for a line of JSON, where encoders leave C1 control characters and direction marks as
// they are. They can only stand within strings, where \u escapes mean the same, so the line keeps its meaning.
func escapeJSON(line []byte) []byte {
	if isHarmless(line) {
		return line
	}
	escaped := make([]byte, 0, len(line)+32)
	for len(line) > 0 {
		r, size := utf8.DecodeRune(line)
		switch {
		case r == utf8.RuneError && size == 1:
			escaped = append(escaped, `\ufffd`...)
		case strconv.IsPrint(r):
			escaped = append(escaped, line[:size]...)
		case r <= 0xffff:
			escaped = fmt.Appendf(escaped, `\u%04x`, r)
		default:
			high, low := utf16.EncodeRune(r)
			escaped = fmt.Appendf(escaped, `\u%04x\u%04x`, high, low)
		}
		line = line[size:]
	}
	return escaped
}
