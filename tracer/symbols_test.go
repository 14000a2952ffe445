package tracer

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// someSymbols has two names for one address, a function in two pieces, data, and a module that lies below the kernel.
const someSymbols = `ffffffff81000000 T _text
ffffffff81000040 T tcp_v4_rcv
ffffffff81000040 T tcp_v4_rcv_alias
ffffffff81000100 t tcp_v4_fill_cb
ffffffff81000200 D tcp_hashinfo
ffffffff81000300 t tcp_v4_rcv.cold
ffffffff81000380 T last
ffffffffc0000000 t nft_do_chain	[nf_tables]
ffffffffbf000000 t other	[module]
`

func TestSymbolsNameTheFunctionThatAnAddressLiesIn(t *testing.T) {
	s := newSymbols(symbolsIn(t, someSymbols))
	for address, want := range map[uint64]string{
		0:                  "",
		0x1000:             "",
		0xffffffff81000041: "tcp_v4_rcv",
		0xffffffff81000250: "tcp_v4_fill_cb",
		0xffffffff81000301: "tcp_v4_rcv",
		0xffffffffbf000010: "other",
		0xffffffffc0000123: "nft_do_chain",
	} {
		if got := s.name(address); got != want {
			t.Errorf("%x is in %q, want %q", address, got, want)
		}
	}
}

func TestSymbolsThatAreHiddenNameNothing(t *testing.T) {
	file := symbolsIn(t, "0000000000000000 T _text\n0000000000000000 T tcp_v4_rcv\n")
	if got := newSymbols(file).name(0xffffffff81000000); got != "" {
		t.Errorf("a name from nowhere: %q", got)
	}
	if c, err := readCode(file); !errors.Is(err, errHiddenSymbols) || c != (code{}) {
		t.Errorf("found %v, error %v; want %v", c, err, errHiddenSymbols)
	}
}

func TestFunctionsAreFoundWithAllTheirPieces(t *testing.T) {
	found, err := findCode(strings.NewReader(someSymbols), []string{"tcp_v4_rcv", "last", "missing"})
	want := []namedCode{
		{"tcp_v4_rcv", bpfCode{Start: 0xffffffff81000040, End: 0xffffffff81000100}},
		{"tcp_v4_rcv", bpfCode{Start: 0xffffffff81000300, End: 0xffffffff81000380}},
		{"last", bpfCode{Start: 0xffffffff81000380, End: 0xffffffffc0000000}},
	}
	if diff := cmp.Diff(want, found, cmp.AllowUnexported(namedCode{})); err != nil || diff != "" {
		t.Errorf("error %v (-want +got):\n%s", err, diff)
	}
}

func symbolsIn(t *testing.T, list string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "kallsyms")
	if err := os.WriteFile(file, []byte(list), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func FuzzFindCode(f *testing.F) {
	f.Add(someSymbols)
	f.Fuzz(func(t *testing.T, list string) {
		found, err := findCode(strings.NewReader(list), []string{"tcp_v4_rcv", "last"})
		for _, piece := range found {
			if piece.code.End <= piece.code.Start {
				t.Errorf("%s is from %x to %x (error %v)", piece.name, piece.code.Start, piece.code.End, err)
			}
		}
	})
}
