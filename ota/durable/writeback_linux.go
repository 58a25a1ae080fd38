package durable

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// StartWrite starts writing a range to the medium and does not wait.
func StartWrite(f *os.File, off, length int64) error {
	return tolerate(f, unix.SyncFileRange(int(f.Fd()), off, length, unix.SYNC_FILE_RANGE_WRITE))
}

// Settle waits until a range was written and lets go of its pages. Its error
// matters: it takes the write-back error away from a later fsync.
func Settle(f *os.File, off, length int64) error {
	const wait = unix.SYNC_FILE_RANGE_WAIT_BEFORE | unix.SYNC_FILE_RANGE_WRITE | unix.SYNC_FILE_RANGE_WAIT_AFTER
	if err := tolerate(f, unix.SyncFileRange(int(f.Fd()), off, length, wait)); err != nil {
		return err
	}
	return DropRange(f, off, length)
}

// folioBytes is the largest piece in which the kernel caches a file. It lets go
// of a piece only as a whole, so that one over the border of two ranges belongs
// to neither.
const folioBytes = 2 << 20

// DropRange lets go of clean pages of a range, and of what lies just before it.
func DropRange(f *os.File, off, length int64) error {
	before := min(off, folioBytes)
	off, length = off-before, length+before
	return tolerate(f, unix.Fadvise(int(f.Fd()), off, length, unix.FADV_DONTNEED))
}

// tolerate forgives a kernel or file system that does not know the call; it is
// an optimisation, fsync makes the promise.
func tolerate(f *os.File, err error) error {
	if err == nil || errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EINVAL) ||
		errors.Is(err, unix.ESPIPE) || errors.Is(err, unix.EOPNOTSUPP) {
		return nil
	}
	return &os.PathError{Op: "write back", Path: f.Name(), Err: err}
}
