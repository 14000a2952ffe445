package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// apt is a package manager with lists, cache and sources of its own: what it fetches is unpacked below the cache
// and never installed, and the machine's own state stays as it is.
type apt struct {
	dir          string
	sources      string
	architecture string // of the packages; empty: of this machine
}

// keyring holds the keys by which the distribution signs its archives.
const keyring = "/usr/share/keyrings/debian-archive-keyring.gpg"

// A mirror is where this machine itself gets its packages from.
type mirror struct {
	main     string
	security string // empty where the machine has none
	codename string // of this machine's release
}

// findMirror asks the machine's own sources.
func findMirror(ctx context.Context) (mirror, error) {
	m := mirror{codename: codename()}
	if m.codename == "" {
		return m, errors.New("/etc/os-release has no VERSION_CODENAME: this needs Debian")
	}
	out, err := output(exec.CommandContext(ctx, "apt-get", "indextargets", "--format", "$(SITE) $(RELEASE)", "Created-By: Packages"))
	if err != nil {
		return m, err
	}
	for line := range strings.Lines(string(out)) {
		site, release, _ := strings.Cut(strings.TrimSpace(line), " ")
		switch release {
		case m.codename, "stable", "oldstable":
			m.main = site
		case m.codename + "-security":
			m.security = site
		}
	}
	if m.main == "" {
		return m, fmt.Errorf("apt has no source for %s", m.codename)
	}
	return m, nil
}

func codename() string {
	content, err := os.ReadFile("/etc/os-release")
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(content)) {
		if value, ok := strings.CutPrefix(line, "VERSION_CODENAME="); ok {
			return strings.Trim(strings.TrimSpace(value), `"`)
		}
	}
	return ""
}

// newApt makes a package manager for these suites. The second of a pair, where the mirror has one, is its security
// archive.
func newApt(dir string, m mirror, suites ...string) (*apt, error) {
	for _, sub := range []string{"lists/partial", "archives/partial"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o755); err != nil {
			return nil, err
		}
	}
	var sources strings.Builder
	for _, suite := range suites {
		site := m.main
		if strings.HasSuffix(suite, "-security") {
			site = m.security
		}
		if site != "" {
			fmt.Fprintf(&sources, "deb [signed-by=%s] %s %s main\n", keyring, site, suite)
		}
	}
	a := &apt{dir: dir, sources: filepath.Join(dir, "sources.list")}
	return a, os.WriteFile(a.sources, []byte(sources.String()), 0o644)
}

func (a *apt) command(ctx context.Context, tool string, args ...string) *exec.Cmd {
	var foreign []string
	if a.architecture != "" {
		foreign = []string{"-o", "APT::Architecture=" + a.architecture, "-o", "APT::Architectures=" + a.architecture}
	}
	cmd := exec.CommandContext(ctx, tool, slices.Concat(foreign, []string{
		"-o", "Dir::Etc::SourceList=" + a.sources,
		"-o", "Dir::Etc::SourceParts=/dev/null",
		"-o", "Dir::State::Lists=" + filepath.Join(a.dir, "lists"),
		"-o", "Dir::Cache=" + a.dir,
		// The cache need not be readable to apt's own user.
		"-o", "APT::Sandbox::User=root",
		"-o", "APT::Keep-Downloaded-Packages=true",
		"-o", "Acquire::Languages=none",
		"-o", "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false",
		"-o", "Acquire::Retries=3",
	}, args)...)
	cmd.Env = append(os.Environ(), "LC_ALL=C", "DEBIAN_FRONTEND=noninteractive")
	return cmd
}

// update fetches the lists. A suite that has been archived makes apt complain, and the others still serve, so the
// complaint is only handed on.
func (a *apt) update(ctx context.Context) (complaint error) {
	_, err := output(a.command(ctx, "apt-get", "update"))
	return err
}

// search lists the packages whose names match the regular expression.
func (a *apt) search(ctx context.Context, expression string) ([]string, error) {
	out, err := output(a.command(ctx, "apt-cache", "search", "--names-only", expression))
	if err != nil {
		return nil, err
	}
	var names []string
	for line := range strings.Lines(string(out)) {
		name, _, _ := strings.Cut(line, " - ")
		names = append(names, strings.TrimSpace(name))
	}
	return names, nil
}

// download fetches these packages alone, and unpacks them.
func (a *apt) download(ctx context.Context, into string, packages ...string) error {
	debs, err := os.MkdirTemp(a.dir, "debs")
	if err != nil {
		return err
	}
	defer os.RemoveAll(debs)
	cmd := a.command(ctx, "apt-get", append([]string{"download"}, packages...)...)
	cmd.Dir = debs
	if _, err := output(cmd); err != nil {
		return err
	}
	return unpack(ctx, filepath.Join(debs, "*.deb"), into)
}

// downloadWithDependencies fetches packages from the given suite, with whatever they need that this machine has not
// got, and unpacks all of it.
func (a *apt) downloadWithDependencies(ctx context.Context, into, suite string, packages ...string) error {
	args := append([]string{"install", "--download-only", "--yes", "--no-install-recommends", "--reinstall",
		"-o", "Debug::NoLocking=true", "-t", suite}, packages...)
	if _, err := output(a.command(ctx, "apt-get", args...)); err != nil {
		return err
	}
	if err := unpack(ctx, filepath.Join(a.dir, "archives/*.deb"), into); err != nil {
		return err
	}
	return os.RemoveAll(filepath.Join(a.dir, "archives"))
}

func unpack(ctx context.Context, pattern, into string) error {
	debs, err := filepath.Glob(pattern)
	if err != nil {
		return err
	}
	if len(debs) == 0 {
		return fmt.Errorf("no package was fetched")
	}
	for _, deb := range debs {
		if _, err := output(exec.CommandContext(ctx, "dpkg-deb", "-x", deb, into)); err != nil {
			return err
		}
	}
	return nil
}

// output runs a command, and puts what it complains of into the error.
func output(cmd *exec.Cmd) ([]byte, error) {
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return out, fmt.Errorf("%s: %w: %s", strings.Join(cmd.Args[:1], " "), err, lastLines(stderr.Bytes(), 5))
	}
	return out, nil
}

// lastLines is the end of an output.
func lastLines(text []byte, n int) string {
	var lines []string
	for scanner := bufio.NewScanner(bytes.NewReader(text)); scanner.Scan(); {
		lines = append(lines, strings.TrimRight(scanner.Text(), "\r"))
	}
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}
