// Package rootfs builds system images for the lab, and plays the kernel that
// mounts them: real squashfs images, without any tool and without root.
//
// Data is stored uncompressed, because the lab wants images with a size and
// not small ones; the format is the one that Linux and squashfs-tools read,
// which a test with Debian's unsquashfs holds it to. go-diskfs 1.9 sets two
// limits. There are no links, because it reads their targets relative to the
// working directory of the process and not to the tree; and all names together
// fit into one block of metadata, a few hundred, because it refers wrongly to
// the second one. [Build] refuses what passes them.
//
// Trust: [Unpack] is for images that the caller was about to boot, so they
// were verified; it still never writes outside of its directory.
package rootfs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/diskfs/go-diskfs/backend/file"
	"github.com/diskfs/go-diskfs/filesystem"
	"github.com/diskfs/go-diskfs/filesystem/squashfs"
)

const (
	blockBytes = 128 << 10 // of the image; squashfs-tools' default
	namesBytes = 8 << 10   // of the directory table: one metadata block
)

// Build makes the image file with the tree that fill puts below root, an empty
// directory. Modes are kept, owners are root. An image that is there is
// replaced.
func Build(image string, fill func(root string) error) (err error) {
	fail := func(err error) error { return fmt.Errorf("cannot build image %q: %w", image, err) }
	f, err := os.Create(image)
	if err != nil {
		return fail(err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	fsys, err := squashfs.Create(file.New(f, false), 0, 0, blockBytes)
	if err != nil {
		return fail(err)
	}
	// Finalize makes the file system forget its workspace: remove it here.
	root := fsys.Workspace()
	defer func() { err = errors.Join(err, os.RemoveAll(root)) }()
	if err := os.Chmod(root, 0o755); err != nil {
		return fail(err)
	}
	if err := errors.Join(fill(root), checkTree(root)); err != nil {
		return fail(err)
	}
	var owner uint32
	if err := fsys.Finalize(squashfs.FinalizeOptions{FileUID: &owner, FileGID: &owner}); err != nil {
		return fail(err)
	}
	return nil
}

// checkTree refuses what go-diskfs would write wrongly.
func checkTree(root string) error {
	names := 0
	return filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if !entry.IsDir() && !entry.Type().IsRegular() {
			return fmt.Errorf("%q is neither a directory nor a file", path)
		}
		names += 8 + len(entry.Name()) + 12 // the entry, and a header of its own at worst
		if names > namesBytes {
			return fmt.Errorf("the names take more than %d bytes", namesBytes)
		}
		return nil
	})
}

// Unpack puts the tree of the image, which may be longer than its file system
// as a slot is, into dir, which it creates. An image without a file system, or
// with something in it that is neither a directory nor a file, is an error.
func Unpack(image, dir string) (err error) {
	fail := func(err error) error { return fmt.Errorf("cannot mount image %q: %w", image, err) }
	defer func() {
		if r := recover(); r != nil { // go-diskfs believes every number that it reads
			err = fail(fmt.Errorf("damaged: %v", r))
		}
	}()
	f, err := os.Open(image)
	if err != nil {
		return fail(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return fail(err)
	}
	fsys, err := squashfs.Read(file.New(f, true), info.Size(), 0, 0)
	if err != nil {
		return fail(err)
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		return fail(err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return fail(err)
	}
	defer root.Close()
	if err := unpackDir(fsys, root, "."); err != nil {
		return fail(err)
	}
	return nil
}

func unpackDir(fsys *squashfs.FileSystem, root *os.Root, name string) error {
	entries, err := fsys.ReadDir(name)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		info, err := entry.Info()
		if err != nil {
			return err
		}
		path := filepath.Join(name, entry.Name())
		switch info.Mode().Type() {
		case fs.ModeDir:
			if err = root.Mkdir(path, 0o755); err == nil {
				err = unpackDir(fsys, root, path)
			}
			err = errors.Join(err, root.Chmod(path, info.Mode().Perm()))
		case 0:
			err = unpackFile(info, root, path)
		default:
			err = fmt.Errorf("%q: unexpected %s", path, info.Mode().Type())
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func unpackFile(info fs.FileInfo, root *os.Root, path string) (err error) {
	// The entry opens itself; by name, each file would be looked up from the top.
	opener, ok := info.(interface {
		Open() (filesystem.File, error)
	})
	if !ok {
		return fmt.Errorf("%q cannot be opened", path)
	}
	from, err := opener.Open()
	if err != nil {
		return err
	}
	defer from.Close()
	perm := info.Mode().Perm()
	to, err := root.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, perm)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, to.Close()) }()
	if _, err := io.CopyBuffer(to, from, make([]byte, 8*blockBytes)); err != nil {
		return err
	}
	return to.Chmod(perm) // past the umask
}
