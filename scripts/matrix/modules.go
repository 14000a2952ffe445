package main

import (
	"bytes"
	"context"
	"debug/elf"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// guestModules are what tests may need of a kernel, as patterns of paths below its directory of modules. The rest,
// nine tenths, would only take time to unpack; what these depend on comes with them.
var guestModules = regexp.MustCompile(`^kernel/(net/(ipv4|ipv6|netfilter|sched|unix|netlink|core)/|drivers/net/(veth|dummy|tun)\.ko)`)

// A moduleIndex tells the guest's modprobe what to load. Names have underscores for dashes, as lsmod prints them.
type moduleIndex struct {
	Requires map[string][]string // module: those to load before it
	Aliases  []moduleAlias
}

type moduleAlias struct{ Pattern, Module string }

// A moduleFile is a module of the host's unpacked kernel package.
type moduleFile struct {
	name, path string
}

// packModules writes the archive of a kernel's modules, or finds the one of an earlier run.
func packModules(ctx context.Context, q *qemu, image kernelImage) (string, error) {
	archive := filepath.Join(image.dir, "modules.cpio")
	if _, err := os.Stat(archive); err == nil {
		return archive, nil
	}
	files, err := listModules(image.modules)
	if err != nil {
		return "", err
	}
	p := modulePacker{ctx: ctx, qemu: q, files: files, content: make(map[string][]byte),
		index: moduleIndex{Requires: make(map[string][]string)}}
	for _, file := range files {
		relative, err := filepath.Rel(image.modules, file.path)
		if err != nil {
			return "", err
		}
		if guestModules.MatchString(filepath.ToSlash(relative)) {
			if err := p.add(file.name); err != nil {
				return "", err
			}
		}
	}
	fresh := archive + ".new"
	if err := p.write(fresh); err != nil {
		return "", err
	}
	return archive, os.Rename(fresh, archive)
}

// listModules finds all modules by name.
func listModules(dir string) (map[string]moduleFile, error) {
	files := make(map[string]moduleFile)
	err := filepath.WalkDir(dir, func(file string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if name, _, ok := strings.Cut(filepath.Base(file), ".ko"); ok && entry.Type().IsRegular() {
			name = normalName(name)
			files[name] = moduleFile{name, file}
		}
		return nil
	})
	return files, err
}

func normalName(name string) string { return strings.ReplaceAll(name, "-", "_") }

type modulePacker struct {
	ctx     context.Context
	qemu    *qemu
	files   map[string]moduleFile
	content map[string][]byte
	index   moduleIndex
}

// add takes a module and what it depends on. A dependency that is no module is built into the kernel.
func (p *modulePacker) add(name string) error {
	file, ok := p.files[name]
	if !ok || p.content[name] != nil {
		return nil
	}
	content, err := p.read(file.path)
	if err != nil {
		return err
	}
	p.content[name] = content
	info, err := modinfo(content)
	if err != nil {
		return fmt.Errorf("%s: %w", file.path, err)
	}
	for _, alias := range info["alias"] {
		p.index.Aliases = append(p.index.Aliases, moduleAlias{normalName(alias), name})
	}
	requires := requirementsOf(info)
	p.index.Requires[name] = requires
	for _, required := range requires {
		if err := p.add(required); err != nil {
			return err
		}
	}
	return nil
}

// read unpacks a module where the distribution has compressed it.
func (p *modulePacker) read(file string) ([]byte, error) {
	if filepath.Ext(file) == ".ko" {
		return os.ReadFile(file)
	}
	if filepath.Ext(file) != ".xz" {
		return nil, fmt.Errorf("%s is compressed in an unknown way", file)
	}
	return output(p.qemu.tool(p.ctx, "xz", "-dc", file))
}

// modinfo reads a module's description of itself.
func modinfo(module []byte) (map[string][]string, error) {
	file, err := elf.NewFile(bytes.NewReader(module))
	if err != nil {
		return nil, err
	}
	section := file.Section(".modinfo")
	if section == nil {
		return nil, errors.New("no .modinfo")
	}
	content, err := section.Data()
	if err != nil {
		return nil, err
	}
	info := make(map[string][]string)
	for line := range strings.SplitSeq(string(content), "\x00") {
		if key, value, ok := strings.Cut(line, "="); ok {
			info[key] = append(info[key], value)
		}
	}
	return info, nil
}

// requirementsOf are the modules whose symbols one uses, and those that it asks to have loaded before.
func requirementsOf(info map[string][]string) []string {
	var names []string
	for _, depends := range info["depends"] {
		for name := range strings.SplitSeq(depends, ",") {
			if name != "" {
				names = append(names, normalName(name))
			}
		}
	}
	for _, soft := range info["softdep"] {
		pre, _, _ := strings.Cut(strings.TrimPrefix(soft, "pre:"), "post:")
		if strings.HasPrefix(soft, "pre:") {
			for name := range strings.FieldsSeq(pre) {
				names = append(names, normalName(name))
			}
		}
	}
	return names
}

func (p *modulePacker) write(archive string) error {
	f, err := os.Create(archive)
	if err != nil {
		return err
	}
	w := newCPIOWriter(f)
	var names []string
	for name := range p.content {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		w.file(modulePath(name), false, p.content[name])
	}
	index, err := json.Marshal(p.index)
	if err != nil {
		return err
	}
	w.file(moduleIndexPath, false, index)
	return errors.Join(w.close(), f.Close())
}

const moduleIndexPath = "/modules/index.json"

func modulePath(name string) string { return "/modules/" + name + ".ko" }

// concatenate makes one file of several.
func concatenate(into string, parts ...string) error {
	out, err := os.Create(into)
	if err != nil {
		return err
	}
	for _, part := range parts {
		if err := appendFile(out, part); err != nil {
			return errors.Join(err, out.Close())
		}
	}
	return out.Close()
}

func appendFile(out io.Writer, part string) error {
	in, err := os.Open(part)
	if err != nil {
		return err
	}
	defer in.Close()
	_, err = io.Copy(out, in)
	return err
}
