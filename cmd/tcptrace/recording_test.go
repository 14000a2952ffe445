package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"tcptrace/tracer/event"
)

func TestLongLineIsRefusedUnread(t *testing.T) {
	r := newRecordingReader(io.MultiReader(strings.NewReader(`{"type":"meta","schema":1,"subject":"probes"}`+"\n"), endless{}))
	if _, err := r.next(); err != nil {
		t.Fatal(err)
	}
	_, err := r.next()
	if err == nil || err.Error() != "line 2 is longer than 1048576 bytes" {
		t.Errorf("an endless line: %v", err)
	}
}

// endless is a line that never ends.
type endless struct{}

func (endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = 'x'
	}
	return len(p), nil
}

func TestLastLineNeedsNoNewline(t *testing.T) {
	r := newRecordingReader(strings.NewReader(`{"type":"stop","mono_ns":5}`))
	line, err := r.next()
	if line != (stop{Mono: 5}) || err != nil {
		t.Errorf("next = %v, %v", line, err)
	}
	if _, err := r.next(); err != io.EOF {
		t.Errorf("after the last line: %v", err)
	}
}

func TestLineThatIsCutShortIsToldFromABadOne(t *testing.T) {
	if _, err := newRecordingReader(strings.NewReader(`{"type":"sto`)).next(); !errors.Is(err, errCutShort) {
		t.Errorf("without its end: %v", err)
	}
	if _, err := newRecordingReader(strings.NewReader("{\"type\":\"sto\n")).next(); err == nil || errors.Is(err, errCutShort) {
		t.Errorf("with a newline: %v", err)
	}
}

func TestReadErrorIsNoEnd(t *testing.T) {
	broken := errors.New("input/output error")
	r := newRecordingReader(io.MultiReader(strings.NewReader(`{"type":"sto`), brokenReader{broken}))
	if _, err := r.next(); !errors.Is(err, broken) {
		t.Errorf("next: %v; want %v", err, broken)
	}
}

type brokenReader struct{ err error }

func (b brokenReader) Read([]byte) (int, error) { return 0, b.err }

func TestBadLineSaysWhatIsWrong(t *testing.T) {
	tests := []struct{ line, want string }{
		{`[]`, `cannot be`},
		{`{}`, `it has no "type"`},
		{`{"type":5}`, `"type" cannot be a number`},
		{`{"type":"meta"}`, `meta: it has no "schema"`},
		{`{"type":"meta","schema":1,"subject":"weather"}`, `meta: nothing is known about the subject "weather"`},
		{`{"type":"meta","schema":1,"subject":"probes","hooks":{"sing":"kprobe"}}`, `meta: no event kind is called "sing"`},
		{`{"type":"lost","kind":"sing"}`, `lost: no event kind is called "sing"`},
		{`{"type":"lost","count":-1}`, `lost: "count" cannot be a number -1`},
		{`{"type":"event","kind":"connect","local":"here"}`, `event: `},
		{`{"type":"probe","connect_ms":"long"}`, `probe: `},
	}
	for _, test := range tests {
		if line, err := parseLine([]byte(test.line)); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, %v; want an error with %s", test.line, line, err, test.want)
		}
	}
}

func TestLinesOfOtherTypesAreLeftOut(t *testing.T) {
	line, err := parseLine([]byte(`{"type":"weather","rain":true}`))
	if line != unknownLine("weather") || err != nil {
		t.Errorf("parseLine = %v, %v", line, err)
	}
}

// FuzzReplay reads anything as a recording: it may refuse it, but neither panic nor write what a terminal obeys.
func FuzzReplay(f *testing.F) {
	recording, err := os.ReadFile("testdata/session-silence.json.golden")
	if err != nil {
		f.Fatal(err)
	}
	const begin = `{"type":"meta","schema":1,"subject":"connections"}` + "\n"
	f.Add(recording)
	f.Add(recording[:len(recording)/2])
	f.Add([]byte(begin + `{"type":"event","kind":"close","conn":"1","mono_ns":-9,"owner":{"pid":1,"comm":"\u001b[2J"}}` + "\n" + `{"type":"verdict","mono_ns":9223372036854775807}`))
	f.Add([]byte(begin + `{"type":"settled"}` + "\n" + `{"type":"lost","count":18446744073709551615,"kind":"drop","cpu":-5}` + "\n" + `{"type":"stop"}`))
	f.Add([]byte(begin + `{"type":"resolution","target":"a:1","addresses":["::1","::2"]}` + "\n" + `{"type":"probe","target":"a:1","remote":"[::1]:1"}`))
	f.Add([]byte(`{"type":"meta","schema":1,"subject":"paths"}` + "\n" +
		`{"type":"resolution","target":"a:1","name":"a","addresses":["::1","::2"]}` + "\n" +
		`{"type":"path","target":"a:1","remote":"[::1]:1","compare_port":2}` + "\n" +
		`{"type":"hop","remote":"[::1]:1","ttl":2,"answers":[{"query":1,"kind":"time_exceeded","from":"::3","name":"\u001b[2J",` +
		`"icmp":{"type":3,"code":0,"name":"\u202e","from":"::3"}},{"query":2,"kind":"silence"}]}` + "\n" +
		`{"type":"hop","remote":"[::1]:2","ttl":1,"answers":[{"query":1,"kind":"syn_ack","from":"::1","rtt_ms":1e9}]}` + "\n" +
		`{"type":"verdict"}`))
	for _, pattern := range []string{"counters*", "listeners*", "sockets*", "doctor", "selftest"} {
		names, err := filepath.Glob("testdata/" + pattern + ".json.golden")
		if err != nil || len(names) == 0 {
			f.Fatalf("%s: %v, %v", pattern, names, err)
		}
		for _, name := range names {
			lines, err := os.ReadFile(name)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(lines)
			if pattern == "counters*" {
				f.Add(slices.Concat([]byte(`{"type":"meta","schema":1,"subject":"counters"}`+"\n"), lines))
				f.Add(slices.Concat([]byte(`{"type":"meta","schema":1,"subject":"counters","interval_ms":2000}`+"\n"), lines))
			}
		}
	}
	f.Add([]byte(`{"type":"step","attempt":0,"words":"\u001b[2J","settings":["\u202e"]}` + "\n" + `{"type":"step","attempt":1,"offset_ms":1e9}` + "\n" +
		`{"type":"end","never":true,"notes":["\u202e"],"warnings":[{"id":"x","sentence":"\u009b"}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		text, stream := new(sinkBuffer), new(sinkBuffer)
		for _, printers := range []struct {
			out    sink
			path   pathSink
			others func(any) otherReplay
		}{
			{newTextRenderer(text, textConfig{Verbose: true}), &pathText{newTextRenderer(text, textConfig{})}, othersTo(text, formatText)},
			{newJSONRenderer(stream, true), &pathJSON{newJSONRenderer(stream, true)}, othersTo(stream, formatJSON)},
		} {
			r := replay{lines: newRecordingReader(bytes.NewReader(data)), out: printers.out, paths: pathReplay{
				printer: func(meta) pathSink { return printers.path },
			}, others: printers.others}
			if _, err := r.run(context.Background()); err != nil && !errors.Is(err, errCutShort) {
				return
			}
		}
		for _, out := range []string{text.String(), stream.String()} {
			if i := strings.IndexFunc(out, func(r rune) bool { return r < ' ' && r != '\n' || r >= 0x7f && r <= 0x9f || r == '\u202e' }); i >= 0 {
				t.Fatalf("byte %d of the output is harmful:\n%q", i, out)
			}
		}
		nowhere := newTextRenderer(new(sinkBuffer), textConfig{})
		again := replay{lines: newRecordingReader(bytes.NewReader(stream.Bytes())), out: nowhere, paths: pathReplay{
			printer: func(meta) pathSink { return &pathText{nowhere} },
		}, others: othersTo(new(sinkBuffer), formatText)}
		if _, err := again.run(context.Background()); err != nil {
			t.Fatalf("the JSON of a replay cannot be replayed: %v\n%s", err, stream)
		}
	})
}

// othersTo prints all that there is of recordings that need no session.
func othersTo(out *sinkBuffer, format format) func(any) otherReplay {
	return func(first any) otherReplay {
		a := &app{stdout: newOutput(out, func() {})}
		other := a.otherReplay(first, &outputFlags{Format: format}, &detailFlags{Verbose: true})
		if other == nil {
			return nil
		}
		return flushedReplay{other, a.stdout}
	}
}

// flushedReplay flushes what the replay has written once it ends.
type flushedReplay struct {
	otherReplay
	out *output
}

func (r flushedReplay) finish() int {
	defer r.out.Flush()
	return r.otherReplay.finish()
}

func BenchmarkRecordEvent(b *testing.B) {
	out := newOutput(io.Discard, func() {})
	renderer := newJSONRenderer(out, false)
	ev := at(0, event.SYNRetransmit, nil)
	for b.Loop() {
		renderer.Event(nil, ev)
	}
}
