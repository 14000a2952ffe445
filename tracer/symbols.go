package tracer

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"sync"
)

// symbolsFile is where the kernel lists its functions, those of its modules after its own.
const symbolsFile = "/proc/kallsyms"

// errHiddenSymbols says that addresses are 0 in that list, as kernel.kptr_restrict can have them even for root.
var errHiddenSymbols = errors.New("the kernel hides its symbols (sysctl kernel.kptr_restrict)")

// A symbol is a piece of the kernel's machine code.
type symbol struct {
	address uint64
	name    []byte // of the line it was read from
}

// function is the name of the function that the symbol is a part of: compilers split functions, and mark the parts.
func (s symbol) function() []byte {
	name, _, _ := bytes.Cut(s.name, []byte("."))
	return name
}

// eachSymbol calls yield for the functions of a list like /proc/kallsyms, in its order; a symbol is good for that call only.
// There are more than 100,000, so that nothing is allocated for one.
func eachSymbol(r io.Reader, yield func(symbol)) error {
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		// Two of three lines are about data: they are passed by before anything is made of them.
		address, rest, _ := bytes.Cut(lines.Bytes(), []byte(" "))
		if len(rest) < 3 || rest[1] != ' ' || strings.IndexByte(textSymbols, rest[0]) < 0 {
			continue
		}
		at, err := strconv.ParseUint(string(address), 16, 64)
		if err != nil {
			return fmt.Errorf("a line that begins with %q", address)
		}
		if at == 0 {
			return errHiddenSymbols
		}
		name, _, _ := bytes.Cut(rest[2:], []byte("\t")) // a module's name follows
		yield(symbol{at, name})
	}
	return lines.Err()
}

// textSymbols are the types that nm has for code.
const textSymbols = "tTwW"

// symbols names addresses within the kernel. It looks at the list only for an address that it has not seen yet, of which
// there are few: modules may come meanwhile. Several goroutines may use it at a time.
type symbols struct {
	file  string
	mu    sync.Mutex
	known map[uint64]string
}

func newSymbols(file string) *symbols { return &symbols{file: file, known: make(map[uint64]string)} }

// name is the function that address lies in, and empty where that is hidden.
func (s *symbols) name(address uint64) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	name, ok := s.known[address]
	if !ok && address != 0 {
		name = s.look(address)
		s.known[address] = name
	}
	return name
}

func (s *symbols) look(address uint64) string {
	f, err := os.Open(s.file)
	if err != nil {
		return ""
	}
	defer f.Close()
	var at uint64
	var nearest []byte
	err = eachSymbol(f, func(s symbol) {
		if s.address <= address && s.address > at {
			at, nearest = s.address, append(nearest[:0], s.function()...)
		}
	})
	if err != nil {
		return ""
	}
	return string(nearest)
}

// code is where the functions are that free packets without a word.
type code struct {
	quiet      [64]bpfCode
	quietCount uint32
	icmpv6     bpfCode
}

// readCode finds them in a list like /proc/kallsyms. The error is [errHiddenSymbols] where the kernel does not tell.
func readCode(file string) (code, error) {
	f, err := os.Open(file)
	if err != nil {
		return code{}, fmt.Errorf("read the kernel's symbols: %w", err)
	}
	defer f.Close()
	found, err := findCode(f, append([]string{icmpv6Function}, quietFunctions...))
	if err != nil {
		return code{}, fmt.Errorf("read the kernel's symbols: %w", err)
	}
	var c code
	for _, piece := range found {
		switch {
		case piece.name == icmpv6Function:
			c.icmpv6 = piece.code
		case c.quietCount < uint32(len(c.quiet)):
			c.quiet[c.quietCount] = piece.code
			c.quietCount++
		}
	}
	return c, nil
}

// namedCode is a piece of a function.
type namedCode struct {
	name string
	code bpfCode
}

// findCode gives every piece of the functions with these names. Each ends where the next symbol begins, or the one after
// that, where two have the same address.
func findCode(r io.Reader, names []string) ([]namedCode, error) {
	wanted := make(map[string]bool)
	for _, name := range names {
		wanted[name] = true
	}
	var found []namedCode
	open := 0 // the first of those found that have no end yet
	err := eachSymbol(r, func(s symbol) {
		if open < len(found) && s.address > found[open].code.Start {
			for i := range found[open:] {
				found[open+i].code.End = s.address
			}
			open = len(found)
		}
		if wanted[string(s.function())] {
			found = append(found, namedCode{string(s.function()), bpfCode{Start: s.address}})
		}
	})
	return found[:open], err
}

func troubleWithCode(err error) []string {
	if err == nil {
		return nil
	}
	return []string{fmt.Sprintf("a packet that was dropped without a reason is not told from one that had done its work, "+
		"and the function that dropped one is unknown: %v", err)}
}
