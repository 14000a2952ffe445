package tracer

import (
	"crypto/sha256"
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/features"
)

// ObjectHash is the SHA-256 of the embedded BPF objects, in hexadecimal: it tells builds apart whose Go is the same.
func ObjectHash() string {
	hash := sha256.New()
	hash.Write(_BpfBytes)
	hash.Write(_BpfLoadsBytes)
	return fmt.Sprintf("%x", hash.Sum(nil))
}

// readPrograms gives the embedded programs and maps for the running kernel, whose types are in a file if that is not empty.
func readPrograms(types string) (*ebpf.CollectionSpec, error) {
	load := loadBpf
	if version, err := features.LinuxVersionCode(); err == nil && readByLoads(version, types == "" && describesItself()) {
		load = loadBpfLoads
	}
	spec, err := load()
	if err != nil {
		return nil, fmt.Errorf("read the embedded programs: %w", err)
	}
	return spec, nil
}

// oldestWithLoads is the oldest kernel that the programs which read by loads were seen to work on, as KERNEL_VERSION numbers
// it. bpf_rdonly_cast, which they need, came with 6.2.
const oldestWithLoads = 6<<16 | 12<<8

// readByLoads says whether programs are to read the kernel's memory by loads: see bpf/read.bpf.h. They name types by the
// kernel's own numbers of them, which another file may not have.
func readByLoads(version uint32, typesAreItsOwn bool) bool {
	return typesAreItsOwn && version >= oldestWithLoads
}
