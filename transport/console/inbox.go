package console

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"otad/ota"
	"otad/ota/durable"
)

// Inbox is where files from the line rest: one that is whole, or one that is
// not yet. What was there before goes away when the next file begins.
type Inbox struct {
	Dir      string // made when needed; nothing else may be in it
	MaxBytes int64  // of a file
}

const (
	// reserve stays free on the inbox's file system.
	reserve = 16 << 20
	// syncEvery paces the syncs of an unfinished file (flash wear).
	syncEvery = 16 << 20
	partial   = ".part"
)

// inbound is a file that comes in, from its beginning to its end: the length of
// the file is how far it is.
type inbound struct {
	file     durable.File
	name     string // that it gets when it is whole
	size     int64  // -1 when unknown
	max      int64
	have     int64
	unsynced int64
	sum      hash.Hash
}

// begin opens a file of size bytes (-1 when unknown). With a key, what is there
// of a file of the same key is kept.
func (i Inbox) begin(name, key string, size int64) (*inbound, error) {
	if size > i.MaxBytes {
		return nil, ota.NewPermanent(ota.CodeFirmwareTooLarge, fmt.Errorf("cannot receive %q: %d bytes are more than the %d allowed", name, size, i.MaxBytes))
	}
	if err := durable.MkdirAll(durable.OS, i.Dir, 0o755); err != nil {
		return nil, ota.NewTransient(ota.CodeNoSpace, err)
	}
	keep := key + partial
	if err := i.sweep(keep); err != nil {
		return nil, ota.NewTransient(ota.CodeNoSpace, err)
	}
	flags := os.O_RDWR | os.O_CREATE
	if key == "" {
		flags |= os.O_TRUNC
	}
	file, err := durable.OS.OpenFile(filepath.Join(i.Dir, keep), flags, 0o644)
	if err != nil {
		return nil, ota.NewTransient(ota.CodeNoSpace, fmt.Errorf("cannot receive %q: %w", name, err))
	}
	in := &inbound{file: file, name: filepath.Join(i.Dir, safeName(name)), size: size, max: i.MaxBytes, sum: sha256.New()}
	if in.have, err = io.Copy(in.sum, file); err == nil {
		err = i.room(in.missing())
	}
	if err == nil && size >= 0 && in.have > size {
		err = in.restart()
	}
	if err != nil {
		file.Close()
		return nil, ota.FaultOf(fmt.Errorf("cannot receive %q: %w", name, err))
	}
	return in, nil
}

// sweep removes what is no part of keep.
func (i Inbox) sweep(keep string) error {
	entries, err := os.ReadDir(i.Dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.Name() != keep && e.Type().IsRegular() {
			if err := durable.Remove(durable.OS, filepath.Join(i.Dir, e.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
	}
	return nil
}

// room refuses what would not leave the reserve free.
func (i Inbox) room(need int64) error {
	free, err := durable.FreeBytes(i.Dir)
	if err != nil {
		return ota.NewTransient(ota.CodeNoSpace, err)
	}
	if free < need+reserve {
		return ota.NewTransient(ota.CodeNoSpace, fmt.Errorf("%d bytes are free, %d are needed", free, need+reserve))
	}
	return nil
}

// safeName is a name from the line as the name of an artifact in the inbox.
func safeName(name string) string {
	name = strings.Map(func(r rune) rune {
		if r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r == '-' || r == '_' || r == '.' {
			return r
		}
		return '_'
	}, filepath.Base(name))
	name = strings.TrimLeft(strings.TrimSuffix(name, ".swu"), ".")
	return name[:min(len(name), 64)] + ".swu"
}

func (in *inbound) missing() int64 { return max(0, in.size-in.have) }

// restart forgets what is there.
func (in *inbound) restart() error {
	in.have, in.unsynced = 0, 0
	in.sum.Reset()
	if err := in.file.Truncate(0); err != nil {
		return err
	}
	_, err := in.file.Seek(0, io.SeekStart)
	return err
}

// Write appends to the file.
func (in *inbound) Write(p []byte) (int, error) {
	limit := in.size
	if limit < 0 {
		limit = in.max
	}
	if in.have+int64(len(p)) > limit {
		return 0, ota.NewPermanent(ota.CodeFirmwareTooLarge, fmt.Errorf("cannot receive more than %d bytes", limit))
	}
	n, err := in.file.Write(p)
	in.sum.Write(p[:n])
	in.have += int64(n)
	if in.unsynced += int64(n); err == nil && in.unsynced >= syncEvery {
		in.unsynced = 0
		err = in.file.Sync()
	}
	if err != nil {
		return n, ota.NewTransient(ota.CodeNoSpace, fmt.Errorf("cannot keep what comes in: %w", err))
	}
	return n, nil
}

// digest is the SHA-256 of what is there, in hex.
func (in *inbound) digest() string { return hex.EncodeToString(in.sum.Sum(nil)) }

// finish makes the file durable under its name and returns its path.
func (in *inbound) finish() (string, error) {
	err := in.file.Sync()
	if err = errors.Join(err, in.file.Close()); err == nil {
		err = durable.Rename(durable.OS, in.file.Name(), in.name)
	}
	if err != nil {
		return "", ota.NewTransient(ota.CodeNoSpace, fmt.Errorf("cannot keep %q: %w", in.name, err))
	}
	return in.name, nil
}

// leave keeps what is there, to go on later.
func (in *inbound) leave() { in.file.Close() }

// discard removes what is there.
func (in *inbound) discard() {
	in.file.Close()
	os.Remove(in.file.Name()) // at worst the next file sweeps it
}
