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
