package durable

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// dropCache gives the clean pages of f back. Dirty ones stay, so callers sync
// before.
func dropCache(f *os.File) error {
	if err := unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED); err != nil {
		return fmt.Errorf("cannot drop the cache of %q: %w", f.Name(), err)
	}
	return nil
}

// FreeBytes tells how much an unprivileged writer may still store in dir.
func FreeBytes(dir string) (int64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0, &os.PathError{Op: "statfs", Path: dir, Err: err}
	}
	unit := uint64(max(st.Frsize, 0))
	if unit == 0 {
		unit = uint64(max(st.Bsize, 1))
	}
	return int64(min(st.Bavail, plenty/unit) * unit), nil
}
