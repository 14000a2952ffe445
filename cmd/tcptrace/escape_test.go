package main

import (
	"encoding/json"
	"strconv"
	"testing"
	"unicode/utf8"
)

func TestEscape(t *testing.T) {
	tests := []struct{ in, want string }{
		{"nginx: worker", "nginx: worker"},
		{`foo\x2dbar.service`, `foo\x2dbar.service`},
		{"größe → 日本", "größe → 日本"},
		{"\x1b[31mred", `\x1b[31mred`},
		{"a\nb\tc\x00\x7f", `a\x0ab\x09c\x00\x7f`},
		{"\u009b2J", `\u009b2J`},
		{"\u202egnp.exe\u2066", `\u202egnp.exe\u2066`},
		{"zero\u200bwidth\u2028", `zero\u200bwidth\u2028`},
		{"\xff\xfe", `\xff\xfe`},
		{"\U000e0041", `\U000e0041`},
		{"", ""},
	}
	for _, test := range tests {
		if got := escape(test.in); got != test.want {
			t.Errorf("escape(%q) = %q; want %q", test.in, got, test.want)
		}
	}
}

func FuzzEscape(f *testing.F) {
	for _, seed := range []string{"plain", "\x1b[2J", "\u202e", "\xff", "\U0010ffff", "é", `\x1b`} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		escaped := escape(s)
		if !utf8.ValidString(escaped) {
			t.Fatalf("escape(%q) = %q is not UTF-8", s, escaped)
		}
		for _, r := range escaped {
			if !strconv.IsPrint(r) {
				t.Fatalf("escape(%q) = %q has %q", s, escaped, r)
			}
		}
		if escape(escaped) != escaped {
			t.Fatalf("escape(%q) = %q is escaped again", s, escaped)
		}
	})
}

func FuzzEscapeJSONKeepsTheMeaning(f *testing.F) {
	for _, seed := range []string{"plain", "\u009b2J", "\u202e", "\U000e0041 \U0001f600", "\u2028", `"\`} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if !utf8.ValidString(s) {
			t.Skip("JSON has no such text")
		}
		line, err := json.Marshal(map[string]string{"comm": s})
		if err != nil {
			t.Fatal(err)
		}
		escaped := escapeJSON(line)
		for _, r := range string(escaped) {
			if !strconv.IsPrint(r) {
				t.Fatalf("%q has %q", escaped, r)
			}
		}
		var back map[string]string
		if err := json.Unmarshal(escaped, &back); err != nil || back["comm"] != s {
			t.Fatalf("%q became %q, %v", s, back["comm"], err)
		}
	})
}
