package main

import (
	"bufio"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// A cpioWriter writes an archive in the only format that the kernel takes for its initial file system ("newc",
// Documentation/driver-api/early-userspace/buffer-format.rst). Several of them may follow each other in one file.
type cpioWriter struct {
	out     *bufio.Writer
	inode   int
	written int
	dirs    map[string]bool
}

func newCPIOWriter(w io.Writer) *cpioWriter {
	return &cpioWriter{out: bufio.NewWriter(w), dirs: map[string]bool{".": true, "/": true}}
}

// entry writes one header, with name and content each padded to four bytes.
func (w *cpioWriter) entry(name string, mode uint32, content []byte) {
	w.inode++
	fmt.Fprintf(w, "070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x", w.inode, mode, 0, 0, 1, 0, len(content),
		0, 0, 0, 0, len(name)+1, 0)
	io.WriteString(w, name+"\x00")
	w.pad()
	w.Write(content)
	w.pad()
}

// Write keeps count, for the padding; errors come out of close.
func (w *cpioWriter) Write(p []byte) (int, error) {
	n, err := w.out.Write(p)
	w.written += n
	return n, err
}

func (w *cpioWriter) pad() {
	for w.written%4 != 0 {
		w.Write([]byte{0})
	}
}

// dir adds a directory with those above it.
func (w *cpioWriter) dir(name string) {
	name = strings.Trim(name, "/")
	if name == "" || w.dirs[name] {
		return
	}
	w.dir(path.Dir(name))
	w.dirs[name] = true
	w.entry(name, 0o040755, nil)
}

func (w *cpioWriter) file(name string, executable bool, content []byte) {
	name = strings.Trim(name, "/")
	w.dir(path.Dir(name))
	mode := uint32(0o100644)
	if executable {
		mode = 0o100755
	}
	w.entry(name, mode, content)
}

func (w *cpioWriter) link(name, target string) {
	name = strings.Trim(name, "/")
	w.dir(path.Dir(name))
	w.entry(name, 0o120777, []byte(target))
}

// copyFile adds a file of the host.
func (w *cpioWriter) copyFile(name, from string, executable bool) error {
	content, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	w.file(name, executable, content)
	return nil
}

// copyTree adds a directory of the host, where there is one.
func (w *cpioWriter) copyTree(name, from string) error {
	if _, err := os.Stat(from); err != nil {
		return nil
	}
	return filepath.WalkDir(from, func(file string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		relative, err := filepath.Rel(from, file)
		if err != nil {
			return err
		}
		return w.copyFile(path.Join(name, filepath.ToSlash(relative)), file, false)
	})
}

// close ends the archive; what was written before is of no use without it.
func (w *cpioWriter) close() error {
	w.entry("TRAILER!!!", 0, nil)
	return w.out.Flush()
}
