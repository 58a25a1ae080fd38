// Package durable makes bytes and names survive a power cut.
//
// Model: what was written reaches the medium in any order and in any part
// until a sync returns; a new, renamed or removed name is durable only after
// its directory was synced. Every function lists the calls that it makes, in
// order, so that a test can cut the power between any two of them.
//
// All that otad keeps is written through an [FS] (the journal's database
// through its own, documented in ota/journal). Nothing that boots is edited
// in place.
package durable

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// FS is the set of calls whose effects outlive the process. [OS] is the real
// one; tests put others in its place that fail or forget at a chosen call.
type FS interface {
	OpenFile(name string, flag int, perm fs.FileMode) (File, error)
	Rename(oldname, newname string) error
	Remove(name string) error
	Mkdir(name string, perm fs.FileMode) error
	// ReadDir lists the names in a directory, sorted.
	ReadDir(name string) ([]string, error)
	// SyncDir makes the names in the directory durable.
	SyncDir(name string) error
}

// File is an open file of an [FS].
type File interface {
	io.Reader
	io.ReaderAt
	io.Writer
	io.WriterAt
	io.Seeker
	io.Closer
	Name() string
	Stat() (fs.FileInfo, error)
	Truncate(size int64) error
	// Sync returns when the file's bytes and length are on the medium.
	Sync() error
	// DropCache makes the next reads come from the medium; what is not yet
	// synced stays in memory. Best effort.
	DropCache() error
}

// Pages is the optional power of a [File] over the page cache behind it: to
// have a range written early, so that little is dirty at any time. It promises
// nothing; Sync does.
type Pages interface {
	// StartWrite starts writing a range to the medium and does not wait.
	StartWrite(off, length int64) error
	// Settle waits until a range was written and lets go of its pages. Its error
	// is not told again by Sync.
	Settle(off, length int64) error
}

// OS is the operating system's file system.
var OS FS = osFS{}

type osFS struct{}

func (osFS) OpenFile(name string, flag int, perm fs.FileMode) (File, error) {
	f, err := os.OpenFile(name, flag, perm)
	if err != nil {
		return nil, err
	}
	return osFile{f}, nil
}

func (osFS) Rename(oldname, newname string) error      { return os.Rename(oldname, newname) }
func (osFS) Remove(name string) error                  { return os.Remove(name) }
func (osFS) Mkdir(name string, perm fs.FileMode) error { return os.Mkdir(name, perm) }

func (osFS) ReadDir(name string) ([]string, error) {
	entries, err := os.ReadDir(name)
	if err != nil {
		return nil, err
	}
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = e.Name()
	}
	return names, nil
}

func (osFS) SyncDir(name string) error {
	d, err := os.Open(name)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

type osFile struct{ *os.File }

func (f osFile) DropCache() error                   { return dropCache(f.File) }
func (f osFile) StartWrite(off, length int64) error { return StartWrite(f.File, off, length) }
func (f osFile) Settle(off, length int64) error     { return Settle(f.File, off, length) }

// WriteFile replaces name by data as a whole: after a power cut there is the
// old content or the new one, never a mix and never an empty file.
//
// Calls: open(name.new, create|truncate), write, sync, close, rename, syncdir.
func WriteFile(fsys FS, name string, data []byte, perm fs.FileMode) error {
	next := name + ".new"
	f, err := fsys.OpenFile(next, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, perm)
	if err != nil {
		return fmt.Errorf("cannot create %q: %w", next, err)
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("cannot write %q: %w", next, err)
	}
	return Rename(fsys, next, name)
}

// Rename gives oldname, whose content must be synced, the name newname in the
// same directory, replacing what was there.
//
// Calls: rename, syncdir.
func Rename(fsys FS, oldname, newname string) error {
	if err := fsys.Rename(oldname, newname); err != nil {
		return fmt.Errorf("cannot replace %q: %w", newname, err)
	}
	return syncDir(fsys, filepath.Dir(newname))
}

// Remove removes name; that it is not there is no error.
//
// Calls: remove, syncdir.
func Remove(fsys FS, name string) error {
	err := fsys.Remove(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("cannot remove %q: %w", name, err)
	}
	return syncDir(fsys, filepath.Dir(name))
}

// MkdirAll makes dir and what is missing above it, and the name of dir durable
// also when it is there already.
//
// Calls: for each missing level, from the top: mkdir, syncdir of its parent;
// when none is missing, mkdir and syncdir of the parent.
func MkdirAll(fsys FS, dir string, perm fs.FileMode) error {
	err := fsys.Mkdir(dir, perm)
	if errors.Is(err, fs.ErrNotExist) {
		if err := MkdirAll(fsys, filepath.Dir(dir), perm); err != nil {
			return err
		}
		err = fsys.Mkdir(dir, perm)
	}
	if errors.Is(err, fs.ErrExist) {
		err = isDir(fsys, dir) // whoever made it may have died before its name was synced
		if err != nil {
			return err
		}
	}
	if err != nil {
		return fmt.Errorf("cannot make directory %q: %w", dir, err)
	}
	return syncDir(fsys, filepath.Dir(dir))
}

// isDir refuses what has the name of a directory and is none.
func isDir(fsys FS, name string) error {
	f, err := fsys.OpenFile(name, os.O_RDONLY, 0)
	if err != nil {
		return fmt.Errorf("cannot use directory %q: %w", name, err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err == nil && !info.IsDir() {
		err = syscall.ENOTDIR
	}
	if err != nil {
		return fmt.Errorf("cannot use directory %q: %w", name, err)
	}
	return nil
}

// ReadFile returns at most limit bytes of name; a longer file is an error, so
// that a damaged one cannot fill the memory.
func ReadFile(fsys FS, name string, limit int64) ([]byte, error) {
	f, err := fsys.OpenFile(name, os.O_RDONLY, 0)
	if err != nil {
		return nil, fmt.Errorf("cannot read %q: %w", name, err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, fmt.Errorf("cannot read %q: %w", name, err)
	}
	if int64(len(data)) > limit {
		return nil, fmt.Errorf("cannot read %q: longer than %d bytes", name, limit)
	}
	return data, nil
}

// plenty is the most that FreeBytes answers: sizes can be added to it.
const plenty = 1 << 62

func syncDir(fsys FS, dir string) error {
	if err := fsys.SyncDir(dir); err != nil {
		return fmt.Errorf("cannot sync directory %q: %w", dir, err)
	}
	return nil
}
