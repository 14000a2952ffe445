package host

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// Cgroups turns the ids that the kernel has for cgroups into paths. Each is looked up once: a cgroup cannot be
// renamed, and one that was removed keeps its last known path.
type Cgroups struct {
	root  string
	known map[uint64]cgroup
}

type cgroup struct{ path, container string }

// maxCgroups bounds what a host that makes many short-lived cgroups can make us remember.
const maxCgroups = 16384

// NewCgroups is ready to use; without a cgroup v2 hierarchy every lookup is empty.
func NewCgroups() *Cgroups {
	root, _ := CgroupRoot()
	return &Cgroups{root: root, known: make(map[uint64]cgroup)}
}

// Lookup gives the path of a cgroup below the root, such as /system.slice/nginx.service, and the id of the container
// that it belongs to. Both are empty where they cannot be known.
func (c *Cgroups) Lookup(id uint64) (path, container string) {
	if c.root == "" || id == 0 {
		return "", ""
	}
	if found, ok := c.known[id]; ok {
		return found.path, found.container
	}
	path, err := pathOfCgroup(c.root, id)
	if err != nil {
		return "", ""
	}
	found := cgroup{path, ContainerID(path)}
	if len(c.known) < maxCgroups {
		c.known[id] = found
	}
	return found.path, found.container
}

func pathOfCgroup(root string, id uint64) (string, error) {
	mount, err := os.Open(root)
	if err != nil {
		return "", err
	}
	defer mount.Close()
	fd, err := openCgroup(mount, id)
	if err != nil {
		return "", err
	}
	defer unix.Close(fd)
	path, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd))
	if err != nil {
		return "", err
	}
	below := strings.TrimPrefix(path, root)
	if below == "" {
		below = "/"
	}
	return below, nil
}

// CgroupID is the kernel's id of the cgroup at path, which may be given with or without the mount point. Paths of
// cgroup v1 are refused: sockets belong to v2 cgroups.
func CgroupID(path string) (uint64, error) {
	root, err := CgroupRoot()
	if err != nil {
		return 0, err
	}
	full := path
	if !strings.HasPrefix(path+"/", root+"/") {
		full = filepath.Join(root, path)
	}
	var fs unix.Statfs_t
	if err := unix.Statfs(full, &fs); err != nil {
		return 0, fmt.Errorf("no cgroup %s below %s", path, DescribeCgroupRoot(root))
	}
	if fs.Type != unix.CGROUP2_SUPER_MAGIC {
		return 0, fmt.Errorf("%s is not a cgroup v2 path: give one below %s", path, DescribeCgroupRoot(root))
	}
	var stat unix.Stat_t
	if err := unix.Stat(full, &stat); err != nil {
		return 0, fmt.Errorf("read cgroup %s: %w", path, err)
	}
	// Since 5.5 the inode number of a kernfs directory is the node's id.
	return stat.Ino, nil
}

// CgroupBelowRoot is path, which may be given with or without the mount point, as sockets' owners have it. An empty path
// stays empty.
func CgroupBelowRoot(path string) string {
	if path == "" {
		return ""
	}
	if root, err := CgroupRoot(); err == nil {
		path = strings.TrimPrefix(path, root)
	}
	return filepath.Join("/", path)
}

// containerID is what Docker, containerd, CRI-O and Podman call a container: 64 hexadecimal digits.
var containerID = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`[0-9a-f]{64}`) })

// ContainerID is the id of the innermost container in a cgroup path, and empty where there is none.
func ContainerID(path string) string {
	all := containerID().FindAllString(path, -1)
	if len(all) == 0 {
		return ""
	}
	return all[len(all)-1]
}

// ContainerCgroups lists the cgroups whose container id begins with prefix.
func ContainerCgroups(prefix string) ([]uint64, error) {
	root, err := CgroupRoot()
	if err != nil {
		return nil, err
	}
	var found []uint64
	err = filepath.WalkDir(root, func(path string, entry os.DirEntry, err error) error {
		if err != nil || !entry.IsDir() {
			return nil // cgroups come and go while we walk
		}
		if id := ContainerID(filepath.Base(path)); id == "" || !strings.HasPrefix(id, prefix) {
			return nil
		}
		id, err := CgroupID(path)
		if err == nil {
			found = append(found, id)
		}
		return nil
	})
	if err == nil && len(found) == 0 {
		err = fmt.Errorf("no cgroup of a container whose id begins with %s", prefix)
	}
	return found, err
}
