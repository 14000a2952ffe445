package tracer

import (
	"fmt"

	"github.com/cilium/ebpf/rlimit"
	"golang.org/x/sys/unix"
)

// allowLockedMemory keeps BPF's memory from counting against RLIMIT_MEMLOCK, as it does before Linux 5.11. Its error matters
// only once something was denied: what is allowed may do.
func allowLockedMemory() error {
	if rlimit.RemoveMemlock() == nil {
		return nil
	}
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_MEMLOCK, &limit); err != nil {
		return fmt.Errorf("read the limit of locked memory: %w", err)
	}
	return fmt.Errorf("this kernel counts BPF's memory as locked memory, of which this process may have %d KiB and no more: give it CAP_SYS_RESOURCE, "+
		"or raise the limit (ulimit -l unlimited, LimitMEMLOCK=infinity, --ulimit memlock=-1)", limit.Cur>>10)
}

// checkPrivilege says beforehand what the kernel would only answer with EPERM.
func checkPrivilege() error {
	effective, err := effectiveCapabilities()
	if err != nil {
		return err
	}
	if !mayTrace(effective) {
		return ErrPrivilege
	}
	return nil
}

// DescribePrivilege says in a clause whether this process may trace.
func DescribePrivilege() string {
	effective, err := effectiveCapabilities()
	switch {
	case err != nil:
		return err.Error()
	case !mayTrace(effective):
		return fmt.Sprintf("user %d without CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN: may not trace", unix.Geteuid())
	}
	return fmt.Sprintf("user %d, with the capabilities to trace", unix.Geteuid())
}

func effectiveCapabilities() (uint64, error) {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return 0, fmt.Errorf("read this process's capabilities: %w", err)
	}
	return uint64(data[1].Effective)<<32 | uint64(data[0].Effective), nil
}

// mayTrace says whether these capabilities are enough: CAP_SYS_ADMIN includes the finer ones of 5.8.
func mayTrace(effective uint64) bool {
	has := func(capability int) bool { return effective>>capability&1 == 1 }
	if has(unix.CAP_SYS_ADMIN) {
		return true
	}
	return has(unix.CAP_BPF) && has(unix.CAP_PERFMON) && has(unix.CAP_NET_ADMIN)
}
