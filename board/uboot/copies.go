package uboot

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"otad/board"
	"otad/ota/durable"
)

// store is the environment on its medium: one copy, or two of which a write
// replaces the older one as a whole.
//
// A copy is a CRC-32 in the byte order of the processor, in a redundant pair a
// flags byte, and the variables. The flags byte counts the writes, modulo 256:
// this is what U-Boot, libubootenv and fw_setenv do on block devices and in
// files. (U-Boot's other scheme, active and obsolete, is for raw NOR flash.)
type store struct {
	fs     durable.FS
	root   string
	copies []place
	// unsure: the last write failed, so what is read may be in the cache only.
	unsure bool
}

// environment is a good copy, read.
type environment struct {
	variables
	copy  int   // which one
	flags byte  // its count
	lost  error // why the other copy of a pair is bad; nil when it is good
}

func (s *store) path(c place) string { return filepath.Join(s.root, c.path) }

func (s *store) headerBytes() int {
	if len(s.copies) == 2 {
		return 5
	}
	return 4
}

// read returns the newest good copy. A copy that cannot be read is a bad one;
// with no good copy nothing is invented: ErrEnvironment.
func (s *store) read() (environment, error) {
	var good []environment
	var faults []error
	for i, c := range s.copies {
		env, err := s.readCopy(i)
		if err != nil {
			faults = append(faults, fmt.Errorf("copy %d in %q: %w", i, c.path, err))
			continue
		}
		good = append(good, env)
	}
	switch len(good) {
	case 0:
		return environment{}, fmt.Errorf("cannot read the boot environment: %w: %w", board.ErrEnvironment, errors.Join(faults...))
	case 1:
		good[0].lost = errors.Join(faults...)
		return good[0], nil
	}
	return newer(good[0], good[1]), nil
}

// newer is U-Boot's rule (env_import_redund): the higher count, but 0 follows
// 255; the first copy when they are equal.
func newer(a, b environment) environment {
	switch {
	case a.flags == 255 && b.flags == 0:
		return b
	case b.flags == 255 && a.flags == 0:
		return a
	case b.flags > a.flags:
		return b
	}
	return a
}

func (s *store) readCopy(i int) (environment, error) {
	c := s.copies[i]
	f, err := s.fs.OpenFile(s.path(c), os.O_RDONLY, 0)
	if err != nil {
		return environment{}, err
	}
	defer f.Close()
	offset, err := c.start(f)
	if err != nil {
		return environment{}, err
	}
	// After a sync that failed the cache shows what is not on the medium, and
	// the next write would go over the only good copy.
	if err := f.DropCache(); err != nil {
		return environment{}, err
	}
	image := make([]byte, c.sizeBytes)
	if _, err := f.ReadAt(image, offset); err != nil {
		return environment{}, err
	}
	env, err := s.decode(image)
	env.copy = i
	return env, err
}

// start turns an offset from the end into one from the start.
func (c place) start(f durable.File) (int64, error) {
	if c.offset >= 0 {
		return c.offset, nil
	}
	size, err := f.Seek(0, io.SeekEnd)
	if err == nil && size+c.offset < 0 {
		err = fmt.Errorf("%q has only %d bytes", c.path, size)
	}
	return size + c.offset, err
}

var errCheckSum = errors.New("bad check sum")

func (s *store) decode(image []byte) (environment, error) {
	header := s.headerBytes()
	if binary.NativeEndian.Uint32(image) != crc32.ChecksumIEEE(image[header:]) {
		return environment{}, errCheckSum
	}
	vars, err := parseVariables(image[header:])
	env := environment{variables: vars}
	if header == 5 {
		env.flags = image[4]
	}
	return env, err
}

func (s *store) encode(env environment) ([]byte, error) {
	header := s.headerBytes()
	data, err := env.variables.bytes(int(s.copies[0].sizeBytes) - header)
	if err != nil {
		return nil, err
	}
	image := binary.NativeEndian.AppendUint32(nil, crc32.ChecksumIEEE(data))
	if header == 5 {
		image = append(image, env.flags)
	}
	return append(image, data...), nil
}

// write makes vars the successor of current, which read returned. In a pair it
// goes over the other copy, the older or bad one. A copy that is a whole file
// is replaced by rename when there is no second one to fall back to.
//
// Calls: open, write, sync, close, and those of reading; durable.WriteFile's
// for a file that has no second copy or is not there yet.
func (s *store) write(current environment, vars variables) error {
	next := environment{variables: vars, copy: (current.copy + 1) % len(s.copies), flags: current.flags + 1}
	image, err := s.encode(next)
	if err == nil {
		err = s.put(next.copy, image)
	}
	if err == nil {
		err = s.readBack(next)
	}
	s.unsure = err != nil
	if err != nil {
		return fmt.Errorf("cannot write the boot environment: %w: %w", board.ErrEnvironment, err)
	}
	return nil
}

func (s *store) put(i int, image []byte) error {
	c := s.copies[i]
	path := s.path(c)
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real // a rename would replace the link
	}
	if len(s.copies) == 1 && s.isWholeFile(c) {
		return durable.WriteFile(s.fs, path, image, 0o644)
	}
	f, err := s.fs.OpenFile(path, os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) && len(s.copies) == 2 && s.isWholeFile(s.copies[1-i]) {
		// U-Boot makes the second file with its second write; so do we.
		return durable.WriteFile(s.fs, path, image, 0o644)
	}
	if err != nil {
		return err
	}
	return errors.Join(c.overwrite(f, image), f.Close())
}

// readBack reads from the medium what was written to it: better an error now
// than a bootloader that finds something else.
func (s *store) readBack(want environment) error {
	got, err := s.readCopy(want.copy)
	if err == nil && !slices.Equal(got.variables, want.variables) {
		err = errors.New("other variables")
	}
	if err != nil {
		return fmt.Errorf("read back from %q: %w", s.copies[want.copy].path, err)
	}
	return nil
}

func (c place) overwrite(f durable.File, image []byte) error {
	offset, err := c.start(f)
	if err != nil {
		return err
	}
	if size, err := f.Seek(0, io.SeekEnd); err != nil || size < offset+int64(len(image)) {
		return errors.Join(fmt.Errorf("%q has only %d bytes", c.path, size), err)
	}
	if _, err := f.WriteAt(image, offset); err != nil {
		return err
	}
	return f.Sync()
}

// isWholeFile tells whether the copy is a regular file with nothing else in it.
func (s *store) isWholeFile(c place) bool {
	f, err := s.fs.OpenFile(s.path(c), os.O_RDONLY, 0)
	if err != nil {
		return false
	}
	defer f.Close()
	info, err := f.Stat()
	return err == nil && info.Mode().IsRegular() && c.offset == 0 && info.Size() == c.sizeBytes
}
