package host

import (
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

func TestSocketInodeOfDescriptors(t *testing.T) {
	for target, want := range map[string]uint64{
		"socket:[9426251]": 9426251, "pipe:[12]": 0, "socket:[": 0, "socket:[]": 0, "socket:[-1]": 0, "socket:[12] ": 0, "/tmp/socket:[12]": 0,
	} {
		if got, ok := socketInode(target); got != want || ok != (want != 0) {
			t.Errorf("%q: %d, %t; want %d", target, got, ok, want)
		}
	}
}

func TestCgroup2PathAmongOthers(t *testing.T) {
	const text = "12:cpuset:/x\n1:name=systemd:/user.slice\n0::/system.slice/api.service\n"
	if got := cgroup2Path(text); got != "/system.slice/api.service" {
		t.Errorf("path %q", got)
	}
	if got := cgroup2Path("1:cpu:/x\n"); got != "" {
		t.Errorf("path %q; want none", got)
	}
}

func TestSocketOwnersKnowThisProcess(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	file, err := listener.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		t.Fatal(err)
	}
	owner := SocketOwners()[info.Sys().(*syscall.Stat_t).Ino]
	if owner.PID != os.Getpid() || owner.UID != uint32(os.Geteuid()) || owner.Comm == "" {
		t.Errorf("owner %+v; want process %d", owner, os.Getpid())
	}
}

func TestSysctlsOfSeveralNumbers(t *testing.T) {
	got, err := TCPSysctls("ip_local_port_range")
	if err != nil || len(got) != 2 || got[0] < 1 || got[1] < got[0] || got[1] > 65535 {
		t.Errorf("ip_local_port_range is %v, %v", got, err)
	}
	if _, err := TCPSysctls("tcp_congestion_control"); err == nil {
		t.Error("a word is read as numbers")
	}
}

func TestNetNamespacesHaveThisOne(t *testing.T) {
	info, err := os.Stat("/proc/self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	inode := uint32(info.Sys().(*syscall.Stat_t).Ino)
	if path := NetNamespaces()[inode]; path == "" {
		t.Errorf("namespace %s has no path", strconv.Itoa(int(inode)))
	}
}

func FuzzProcText(f *testing.F) {
	f.Add("socket:[9426251]", "0::/system.slice/api.service\n")
	f.Fuzz(func(t *testing.T, target, cgroups string) {
		if inode, ok := socketInode(target); !ok && inode != 0 {
			t.Errorf("%q is no socket, and inode %d", target, inode)
		}
		if path := cgroup2Path(cgroups); !strings.Contains(cgroups, path) || strings.Contains(path, "\n") {
			t.Errorf("%q has the path %q", cgroups, path)
		}
	})
}
