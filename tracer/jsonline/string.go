package jsonline

import (
	"unicode"
	"unicode/utf8"
)

const hex = "0123456789abcdef"

// AppendString adds s as a JSON string. It escapes what JSON must, and all that does not print: text from outside
// may otherwise speak to the terminal. Bytes that are not UTF-8 become U+FFFD.
func AppendString(dst []byte, s string) []byte {
	dst = append(dst, '"')
	plain := 0 // start of what needs no escape
	for i := 0; i < len(s); {
		if isPlain(s[i]) {
			i++
			continue
		}
		r, size := utf8.DecodeRuneInString(s[i:])
		if invalid := r == utf8.RuneError && size == 1; invalid || r < utf8.RuneSelf || !unicode.IsPrint(r) {
			dst = append(dst, s[plain:i]...)
			dst = appendEscaped(dst, r)
			plain = i + size
		}
		i += size
	}
	dst = append(dst, s[plain:]...)
	return append(dst, '"')
}

// isPlain says whether a byte stands for itself in a JSON string.
func isPlain(b byte) bool { return b >= ' ' && b < 0x7f && b != '"' && b != '\\' }

func appendEscaped(dst []byte, r rune) []byte {
	switch r {
	case '"', '\\':
		return append(dst, '\\', byte(r))
	case '\n':
		return append(dst, '\\', 'n')
	case '\r':
		return append(dst, '\\', 'r')
	case '\t':
		return append(dst, '\\', 't')
	}
	if r > 0xffff {
		r -= 0x10000
		return appendUnit(appendUnit(dst, 0xd800+r>>10), 0xdc00+r&0x3ff)
	}
	return appendUnit(dst, r)
}

// appendUnit adds one UTF-16 unit.
func appendUnit(dst []byte, u rune) []byte {
	return append(dst, '\\', 'u', hex[u>>12&15], hex[u>>8&15], hex[u>>4&15], hex[u&15])
}
