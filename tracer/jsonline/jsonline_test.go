package jsonline

import (
	"encoding/json"
	"math"
	"testing"
	"time"
	"unicode"

	"pgregory.net/rapid"
)

func TestAppendString(t *testing.T) {
	tests := []struct{ name, s, want string }{
		{"empty", "", `""`},
		{"plain", "nginx: worker", `"nginx: worker"`},
		{"quote and backslash", `a"b\c`, `"a\"b\\c"`},
		{"controls", "a\n\r\t\x00\x1b[31m\x7f", `"a\n\r\t\u0000\u001b[31m\u007f"`},
		{"letters of other scripts", "żółć 東京 🙂", `"żółć 東京 🙂"`},
		{"C1 controls", "\u009b31m", `"\u009b31m"`},
		{"text direction", "a\u202eb", `"a\u202eb"`},
		{"line separators", "a\u2028b\u2029", `"a\u2028b\u2029"`},
		{"unprintable beyond 16 bits", "\U000e0001", `"\udb40\udc01"`},
		{"no UTF-8", "a\xffb\xe2\x82", `"a\ufffdb\ufffd\ufffd"`},
	}
	for _, tt := range tests {
		if got := string(AppendString(nil, tt.s)); got != tt.want {
			t.Errorf("%s: got %s, want %s", tt.name, got, tt.want)
		}
	}
}

func TestStringsReadBackAndPrint(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		bytes := rapid.OneOf(rapid.Map(rapid.String(), func(s string) []byte { return []byte(s) }), rapid.SliceOf(rapid.Byte()))
		s := string(bytes.Draw(t, "s"))
		text := AppendString(nil, s)
		var got string
		if err := json.Unmarshal(text, &got); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		if want := string([]rune(s)); got != want {
			t.Fatalf("%s is read as %q, want %q", text, got, want)
		}
		for _, r := range string(text) {
			if !unicode.IsPrint(r) {
				t.Fatalf("%q holds %U", text, r)
			}
		}
	})
}

func TestAppendMillis(t *testing.T) {
	tests := []struct {
		d    time.Duration
		want string
	}{
		{0, "0"},
		{1, "0.000001"},
		{-1, "-0.000001"},
		{1021345678, "1021.345678"},
		{1021345000, "1021.345"},
		{time.Second, "1000"},
		{-1500 * time.Microsecond, "-1.5"},
		{math.MaxInt64, "9223372036854.775807"},
		{math.MinInt64, "-9223372036854.775808"},
	}
	for _, tt := range tests {
		if got := string(AppendMillis(nil, tt.d)); got != tt.want {
			t.Errorf("%d ns: got %s, want %s", tt.d, got, tt.want)
		}
	}
}

func TestDurationsReadBackExactly(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := time.Duration(rapid.Int64().Draw(t, "ns"))
		unit, text := time.Microsecond, appendMicros(nil, want)
		if rapid.Bool().Draw(t, "in ms") {
			unit, text = time.Millisecond, AppendMillis(nil, want)
		}
		if !json.Valid(text) {
			t.Fatalf("%s is no JSON", text)
		}
		if got, err := parseIn(unit, text); got != want || err != nil {
			t.Fatalf("%s is read as %d, %v, want %d", text, got, err, want)
		}
	})
}

func TestParseDuration(t *testing.T) {
	tests := []struct {
		text string
		want time.Duration
		err  error
	}{
		{"0.0000004", 0, nil},
		{"0.0000005", 1, nil},
		{"0.0000014999", 1, nil},
		{"-0", 0, nil},
		{"1e3", time.Second, nil},
		{"1.5E-3", 1500, nil},
		{"9223372036854.775808", 0, errOutOfRange},
		{"-9223372036854.775809", 0, errOutOfRange},
		{"99999999999999999999999", 0, errOutOfRange},
		{"1e400", 0, errOutOfRange},
		{"1e13", 0, errOutOfRange},
		{`"1"`, 0, errNotANumber},
		{"true", 0, errNotANumber},
	}
	for _, tt := range tests {
		if got, err := parseIn(time.Millisecond, []byte(tt.text)); got != tt.want || err != tt.err {
			t.Errorf("%s: got %d, %v, want %d, %v", tt.text, got, err, tt.want, tt.err)
		}
	}
}

type pair struct {
	A, B int
}

var pairObject = Object[pair]{
	Int("a", func(p *pair) *int { return &p.A }),
	Int("b", func(p *pair) *int { return &p.B }).When(func(p *pair) bool { return p.A > 0 }),
}

func TestObjectLeavesOutWhatIsAbsent(t *testing.T) {
	tests := []struct {
		v    pair
		line string
		want string
	}{
		{pair{}, "", `{}`},
		{pair{}, "pair", `{"type":"pair"}`},
		{pair{A: 1}, "", `{"a":1,"b":0}`},
		{pair{A: 1, B: 2}, "pair", `{"type":"pair","a":1,"b":2}`},
		{pair{A: -1, B: 2}, "", `{"a":-1}`},
	}
	for _, tt := range tests {
		if got := string(pairObject.Append(nil, &tt.v, tt.line)); got != tt.want {
			t.Errorf("%+v: got %s, want %s", tt.v, got, tt.want)
		}
	}
}

func TestObjectAppendsToWhatIsThere(t *testing.T) {
	if got, want := string(pairObject.Append([]byte("before\n"), &pair{A: 1}, "")), "before\n{\"a\":1,\"b\":0}"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestFloatsReadBackExactly(t *testing.T) {
	object := Object[float64]{Float("f", func(f *float64) *float64 { return f })}
	rapid.Check(t, func(t *rapid.T) {
		want := rapid.Float64().Draw(t, "f")
		var got float64
		if err := object.Unmarshal(object.Append(nil, &want, ""), &got); err != nil || got != want {
			t.Fatalf("%v is read as %v: %v", want, got, err)
		}
	})
	for _, text := range []string{`{"f":"1"}`, `{"f":true}`, `{"f":1e999}`} {
		if err := object.Unmarshal([]byte(text), new(float64)); err == nil {
			t.Errorf("%s is read", text)
		}
	}
}

// A field may be one of a struct that the object points to.
func TestObjectReachesThroughPointers(t *testing.T) {
	type inner struct {
		n    int
		name string
	}
	type outer struct{ *inner }
	object := Object[outer]{
		Int("n", func(o *outer) *int { return &o.n }),
		String("name", func(o *outer) *string { return &o.name }),
	}
	for _, test := range []struct {
		value inner
		want  string
	}{
		{inner{}, `{}`},
		{inner{n: 7}, `{"n":7}`},
		{inner{name: "api"}, `{"name":"api"}`},
	} {
		if got := string(object.Append(nil, &outer{&test.value}, "")); got != test.want {
			t.Errorf("%+v is %s, want %s", test.value, got, test.want)
		}
	}
}

type seldom struct {
	a    int
	name string
	b, c uint32
	more *pair
}

// What is passed over at once is what would have been left out one by one.
func TestSeldomLeavesOutNoMore(t *testing.T) {
	fields := func() Object[seldom] {
		return Object[seldom]{
			String("name", func(s *seldom) *string { return &s.name }),
			Uint("b", func(s *seldom) *uint32 { return &s.b }),
			Uint("c", func(s *seldom) *uint32 { return &s.c }),
		}
	}
	others := Object[seldom]{Int("a", func(s *seldom) *int { return &s.a })}
	plain, atOnce := append(others, fields()...), append(others, Seldom(fields()...)...)
	for _, v := range []seldom{
		{}, {a: 1}, {name: "x"}, {a: 1, b: 2}, {c: 3}, {a: 1, name: "nginx"[:0], c: 0}, {name: "x", b: 1, c: 2}, {more: &pair{}},
	} {
		if got, want := string(atOnce.Append(nil, &v, "seldom")), string(plain.Append(nil, &v, "seldom")); got != want {
			t.Errorf("%+v: got %s, want %s", v, got, want)
		}
	}
}

// A key that may be there although its field is zero is asked each time.
func TestSeldomAsksWhereZeroSaysNothing(t *testing.T) {
	object := Seldom(
		Int("a", func(p *pair) *int { return &p.A }),
		Int("b", func(p *pair) *int { return &p.B }).Always(),
	)
	if got, want := string(object.Append(nil, &pair{}, "")), `{"b":0}`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestInsteadLeavesTheOtherKeysAsTheyAre(t *testing.T) {
	b := pairObject.Keys("b", "b")
	object := pairObject.Instead("b", "b", func(dst []byte, v *pair) []byte { return b.AppendKeys(append(dst, `,"more":true`...), v) })
	for v, want := range map[pair]string{
		{1, 2}: `{"type":"pair","a":1,"more":true,"b":2}`,
		{0, 0}: `{"type":"pair","more":true}`,
	} {
		if got := string(object.Append(nil, &v, "pair")); got != want {
			t.Errorf("%+v: got %s, want %s", v, got, want)
		}
	}
}
