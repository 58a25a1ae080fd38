package console

import (
	"os"

	"golang.org/x/sys/unix"
)

// freeBytes tells how much an unprivileged writer may still store in dir.
func freeBytes(dir string) (int64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0, &os.PathError{Op: "statfs", Path: dir, Err: err}
	}
	unit := uint64(max(st.Bsize, 1)) // of type int32 on some machines
	return int64(min(st.Bavail, (1<<62)/unit) * unit), nil
}
