package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// A kernelImage is a kernel of the distribution, unpacked.
type kernelImage struct {
	line         string // what was asked for: 6.1, or 7
	architecture string
	dir          string // where it was unpacked
	pkg          string
	vmlinuz      string
	modules      string // the directory of its modules
	release      string
}

// suites are where kernels of all lines are found: a release keeps its line for good, and the newest comes to sid first.
var suites = []string{
	"bullseye", "bullseye-security", "bookworm", "bookworm-security", "bookworm-backports", "trixie", "trixie-security",
	"trixie-backports", "forky", "sid",
}

// fetchKernels gives the newest kernel of each line: from the cache, unless refresh asks for newer ones.
func fetchKernels(ctx context.Context, cache string, lines []string, refresh bool) ([]kernelImage, error) {
	images := make([]kernelImage, len(lines))
	var missing []int
	for i, line := range lines {
		image, err := findKernel(kernelDir(cache, line), line, amd64)
		if err != nil || refresh {
			missing = append(missing, i)
			continue
		}
		images[i] = image
	}
	if len(missing) == 0 {
		return images, nil
	}
	archive, err := kernelArchive(ctx, cache, amd64)
	if err != nil {
		return nil, err
	}
	for _, i := range missing {
		if err := archive.fetch(ctx, kernelDir(cache, lines[i]), lines[i]); err != nil {
			return nil, fmt.Errorf("fetch a kernel of line %s: %w", lines[i], err)
		}
		if images[i], err = findKernel(kernelDir(cache, lines[i]), lines[i], amd64); err != nil {
			return nil, err
		}
	}
	return images, nil
}

// An archive is where kernels of an architecture come from; complaint is what its update said.
type archive struct {
	*apt
	complaint error
}

func kernelArchive(ctx context.Context, cache, architecture string) (*archive, error) {
	m, err := findMirror(ctx)
	if err != nil {
		return nil, err
	}
	a, err := newApt(filepath.Join(cache, "apt-kernels-"+architecture), m, suites...)
	if err != nil {
		return nil, err
	}
	a.architecture = architecture
	return &archive{apt: a, complaint: a.update(ctx)}, nil
}

// fetch unpacks into dir the newest kernel of a line that the mirror really has: its lists may name packages that have
// been moved away.
func (a *archive) fetch(ctx context.Context, dir, line string) error {
	// The image of later lines is in linux-binary, and a package linux-image without content requires it.
	names, err := a.search(ctx, `^linux-(image|binary)-`+regexp.QuoteMeta(line)+`\..*-cloud-`+a.architecture+`(-unsigned)?$`)
	if err != nil {
		return err
	}
	if len(names) == 0 {
		return errors.Join(errors.New("the mirror has none"), a.complaint)
	}
	slices.SortFunc(names, func(a, b string) int { return comparePackages(b, a) })
	var refusals []error
	for _, pkg := range names {
		err := a.unpackKernel(ctx, dir, pkg)
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		refusals = append(refusals, fmt.Errorf("%s: %w", pkg, err))
	}
	return errors.Join(refusals...)
}

// unpackKernel makes dir in one step, so that what was interrupted is not taken for a whole.
func (a *archive) unpackKernel(ctx context.Context, dir, pkg string) error {
	packages := []string{pkg}
	if release, ok := strings.CutPrefix(pkg, "linux-binary-"); ok {
		packages = append(packages, "linux-modules-"+release)
	}
	fresh := dir + ".new"
	if err := os.RemoveAll(fresh); err != nil {
		return err
	}
	if err := os.MkdirAll(fresh, 0o755); err != nil {
		return err
	}
	if err := a.download(ctx, fresh, packages...); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(fresh, "package"), []byte(pkg), 0o644); err != nil {
		return err
	}
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	return os.Rename(fresh, dir)
}

func kernelDir(cache, line string) string { return filepath.Join(cache, "kernels", line) }

// comparePackages puts newer kernels behind older ones, and of one kernel the package with the image last.
func comparePackages(a, b string) int {
	return cmp.Or(compareReleases(releaseOf(a), releaseOf(b)), cmp.Compare(preference(a), preference(b)))
}

func releaseOf(pkg string) string {
	pkg = strings.TrimSuffix(pkg, "-unsigned")
	return strings.TrimPrefix(strings.TrimPrefix(pkg, "linux-image-"), "linux-binary-")
}

func preference(pkg string) int {
	switch {
	case strings.HasPrefix(pkg, "linux-binary-"):
		return 2
	case strings.HasSuffix(pkg, "-unsigned"):
		return 1
	}
	return 0
}

var digitsOrNot = regexp.MustCompile(`[0-9]+|[^0-9]+`)

// compareReleases compares numbers as numbers: 6.12.107 is newer than 6.12.95.
func compareReleases(a, b string) int {
	return slices.CompareFunc(digitsOrNot.FindAllString(a, -1), digitsOrNot.FindAllString(b, -1), func(a, b string) int {
		m, errM := strconv.Atoi(a)
		n, errN := strconv.Atoi(b)
		if errM == nil && errN == nil {
			return cmp.Compare(m, n)
		}
		return cmp.Compare(a, b)
	})
}

// findKernel looks at what was unpacked: image and modules have moved twice.
func findKernel(dir, line, architecture string) (kernelImage, error) {
	pkg, err := os.ReadFile(filepath.Join(dir, "package"))
	if err != nil {
		return kernelImage{}, err
	}
	image := kernelImage{line: line, architecture: architecture, dir: dir, pkg: string(pkg)}
	if image.vmlinuz, err = findImage(dir); err != nil {
		return image, err
	}
	kernel, err := one(dir, "lib/modules/*/kernel", "usr/lib/modules/*/kernel")
	if err != nil {
		return image, err
	}
	image.modules = filepath.Dir(kernel)
	image.release = filepath.Base(image.modules)
	return image, nil
}

func findImage(dir string) (string, error) {
	return one(dir, "boot/vmlinuz-*", "usr/lib/modules/*/vmlinuz", "lib/modules/*/vmlinuz")
}

// one is the first file below dir that one of the patterns matches.
func one(dir string, patterns ...string) (string, error) {
	for _, pattern := range patterns {
		found, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil {
			return "", err
		}
		if len(found) > 0 {
			return found[0], nil
		}
	}
	return "", fmt.Errorf("%s has no %s", dir, strings.Join(patterns, " or "))
}
