package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

// runModprobe is the guest's /sbin/modprobe, which the kernel calls with options and one name when something asks for
// what a module may have. The kernel itself looks whether the thing is there afterwards.
func runModprobe(args []string) int {
	content, err := os.ReadFile(moduleIndexPath)
	if err != nil {
		fmt.Fprintln(os.Stderr, "modprobe:", err)
		return 1
	}
	var index moduleIndex
	if err := json.Unmarshal(content, &index); err != nil {
		fmt.Fprintln(os.Stderr, "modprobe:", err)
		return 1
	}
	status := 0
	for _, name := range args {
		if strings.HasPrefix(name, "-") {
			continue
		}
		if err := index.load(normalName(name)); err != nil {
			fmt.Fprintf(os.Stderr, "modprobe: %s: %v\n", name, err)
			status = 1
		}
	}
	return status
}

// load loads the module of that name, or all that have it for an alias.
func (x *moduleIndex) load(name string) error {
	if _, ok := x.Requires[name]; ok {
		return x.insert(name)
	}
	found := false
	for _, alias := range x.Aliases {
		if matches, _ := path.Match(alias.Pattern, name); matches {
			found = true
			if err := x.insert(alias.Module); err != nil {
				return err
			}
		}
	}
	if !found {
		return errors.New("no such module")
	}
	return nil
}

// insert loads a module behind what it requires. One that is loaded already is no error.
func (x *moduleIndex) insert(name string) error {
	requires, ok := x.Requires[name]
	if !ok {
		return nil // built into the kernel
	}
	for _, required := range requires {
		if err := x.insert(required); err != nil {
			return fmt.Errorf("%s: %w", required, err)
		}
	}
	module, err := os.Open(modulePath(name))
	if err != nil {
		return err
	}
	defer module.Close()
	if err := unix.FinitModule(int(module.Fd()), "", 0); err != nil && !errors.Is(err, unix.EEXIST) {
		return err
	}
	return nil
}
