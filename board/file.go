package board

import (
	"errors"
	"fmt"
	"io"
	"os"

	"otad/ota/durable"
)

// File is a slot that is a file or a block device: the [Medium] of every
// driver that has such slots.
type File struct {
	durable.File
	size   int64
	active bool
	behind behind
}

// OpenFile opens the slot at path. The active one is opened for reading only
// and refuses to be written.
func OpenFile(fsys durable.FS, path string, active bool) (Medium, error) {
	flag := os.O_RDWR
	if active {
		flag = os.O_RDONLY
	}
	f, err := fsys.OpenFile(path, flag, 0)
	if err != nil {
		return nil, err
	}
	size, err := f.Seek(0, io.SeekEnd) // a block device has no size in Stat
	if err != nil {
		return nil, errors.Join(fmt.Errorf("cannot examine %q: %w", path, err), f.Close())
	}
	pages, _ := f.(durable.Pages)
	return &File{File: f, size: size, active: active, behind: behind{pages: pages}}, nil
}

// FileSize is the capacity of the slot at path.
func FileSize(fsys durable.FS, path string) (int64, error) {
	f, err := OpenFile(fsys, path, true)
	if err != nil {
		return 0, err
	}
	return f.Size(), f.Close()
}

// Size implements [Medium].
func (f *File) Size() int64 { return f.size }

// WriteAt refuses the active slot, and to make a slot in a file longer. Few MiB
// of what was written are dirty at a time: it waits for those before. It is for
// one goroutine.
func (f *File) WriteAt(p []byte, off int64) (int, error) {
	if f.active {
		return 0, fmt.Errorf("cannot write %q: %w", f.Name(), ErrActiveSlot)
	}
	if off < 0 || off > f.size-int64(len(p)) {
		return 0, fmt.Errorf("cannot write %q: %d bytes at %d pass its end at %d", f.Name(), len(p), off, f.size)
	}
	n, err := f.File.WriteAt(p, off)
	if err == nil {
		err = f.behind.wrote(off, int64(n))
	}
	return n, err
}

// Forget lets go of the page cache of a range that was read. Best effort.
func (f *File) Forget(off, length int64) error {
	if f.behind.pages == nil || length == 0 { // 0 would mean "to the end"
		return nil
	}
	return f.behind.pages.Settle(off, length)
}
