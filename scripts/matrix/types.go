package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// The architectures whose objects are committed.
const (
	amd64 = "amd64"
	arm64 = "arm64"
)

// A typesFile holds what a kernel of the distribution says of its types, taken out of its image.
type typesFile struct {
	architecture string
	release      string
	path         string
}

// fetchTypes gives the types of the newest kernel of each line, for amd64 and for arm64.
func fetchTypes(ctx context.Context, q *qemu, cache string, booted []kernelImage, lines []string, refresh bool) ([]typesFile, error) {
	var all []typesFile
	for _, image := range booted {
		file := filepath.Join(image.dir, typesName)
		if err := takeTypes(ctx, q, image.vmlinuz, file); err != nil {
			return nil, err
		}
		all = append(all, typesFile{image.architecture, image.release, file})
	}
	var archive *archive
	for _, line := range lines {
		types, err := findArm64Types(cache, line)
		if err != nil || refresh {
			if archive == nil {
				if archive, err = kernelArchive(ctx, cache, arm64); err != nil {
					return nil, err
				}
			}
			types, err = archive.fetchArm64Types(ctx, q, cache, line)
		}
		if err != nil {
			return nil, fmt.Errorf("fetch a kernel of line %s for arm64: %w", line, err)
		}
		all = append(all, types)
	}
	return all, nil
}

const typesName = "btf"

// arm64Line is the line whose kernel for arm64 is booted, too: the first of the distribution's whose ftrace takes
// fentry programs there.
const arm64Line = "6.12"

// arm64Dir has the types and the package's name alone, unless the kernel is booted, too.
func arm64Dir(cache, line string) string { return kernelDir(cache, line+"-arm64") }

func findArm64Types(cache, line string) (typesFile, error) {
	if line == arm64Line {
		if _, err := findKernel(arm64Dir(cache, line), line, arm64); err != nil {
			return typesFile{}, err
		}
	}
	dir := arm64Dir(cache, line)
	pkg, err := os.ReadFile(filepath.Join(dir, "package"))
	if err != nil {
		return typesFile{}, err
	}
	types := typesFile{arm64, releaseOf(string(pkg)), filepath.Join(dir, typesName)}
	_, err = os.Stat(types.path)
	return types, err
}

// fetchArm64Types keeps nothing of the package but the types, a hundredth of it, unless it is one to boot.
func (a *archive) fetchArm64Types(ctx context.Context, q *qemu, cache, line string) (typesFile, error) {
	unpacked := arm64Dir(cache, line) + ".unpacked"
	if err := a.fetch(ctx, unpacked, line); err != nil {
		return typesFile{}, err
	}
	image, err := findImage(unpacked)
	if err != nil {
		return typesFile{}, err
	}
	dir := arm64Dir(cache, line)
	if line == arm64Line {
		if err := takeTypes(ctx, q, image, filepath.Join(unpacked, typesName)); err != nil {
			return typesFile{}, err
		}
		if err := errors.Join(os.RemoveAll(dir), os.Rename(unpacked, dir)); err != nil {
			return typesFile{}, err
		}
		return findArm64Types(cache, line)
	}
	if err := errors.Join(os.RemoveAll(dir), os.MkdirAll(dir, 0o755)); err != nil {
		return typesFile{}, err
	}
	if err := os.Rename(filepath.Join(unpacked, "package"), filepath.Join(dir, "package")); err != nil {
		return typesFile{}, err
	}
	if err := takeTypes(ctx, q, image, filepath.Join(dir, typesName)); err != nil {
		return typesFile{}, err
	}
	if err := os.RemoveAll(unpacked); err != nil {
		return typesFile{}, err
	}
	return findArm64Types(cache, line)
}

// takeTypes writes the types of an image into a file, once.
func takeTypes(ctx context.Context, q *qemu, image, file string) error {
	if _, err := os.Stat(file); err == nil {
		return nil
	}
	content, err := os.ReadFile(image)
	if err != nil {
		return err
	}
	types, err := findTypes(ctx, q, content)
	if err != nil {
		return fmt.Errorf("%s: %w", image, err)
	}
	fresh := file + ".new"
	if err := os.WriteFile(fresh, types, 0o644); err != nil {
		return err
	}
	return os.Rename(fresh, file)
}
