package journal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"
	"time"

	"go.etcd.io/bbolt"

	"otad/ota"
	"otad/ota/durable"
)

// lockWait is how long Open waits for another process to let go of the file.
const lockWait = 100 * time.Millisecond

// Recovery says that the file was damaged and where it was kept.
type Recovery struct {
	Kept  string // the damaged file
	Cause error
}

// Open opens the journal at path, or makes it. A damaged file is kept aside
// and a fresh one is made; the Recovery then says so. at names the file kept
// aside. A file of a newer schema is damaged for this version: an older otad
// must not misread it.
func Open(path string, at time.Time) (*Journal, *Recovery, error) {
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		if err := create(path); err != nil {
			return nil, nil, fault("create", err)
		}
	}
	j, err := openExisting(path)
	if err == nil {
		return j, nil, nil
	}
	var damage *damageError
	if !errors.As(err, &damage) {
		return nil, nil, openFault(path, err)
	}
	kept := path + ".damaged-" + stamp(at)
	if err := durable.Rename(durable.OS, path, kept); err != nil {
		return nil, nil, fault("keep the damaged", err)
	}
	if err := create(path); err != nil {
		return nil, nil, fault("create", err)
	}
	if j, err = openExisting(path); err != nil {
		return nil, nil, openFault(path, err)
	}
	return j, &Recovery{Kept: kept, Cause: damage.cause}, nil
}

func openFault(path string, err error) error {
	if errors.Is(err, bbolt.ErrTimeout) {
		return ota.NewRefused(ota.CodeLocked, fmt.Errorf("cannot open journal %q: another otad has it open", path))
	}
	return fault("open", err)
}

// damageError says that the content, not the access, is at fault.
type damageError struct{ cause error }

func (e *damageError) Error() string { return "damaged: " + e.cause.Error() }

// create makes an empty journal: a new bbolt file is not whole before its last
// sync, so it is made aside.
//
// Calls: bbolt's create, writes and syncs of path.new, then rename, syncdir.
func create(path string) error {
	if err := durable.MkdirAll(durable.OS, filepath.Dir(path), 0o755); err != nil {
		return err
	}
	next := path + ".new"
	if err := durable.Remove(durable.OS, next); err != nil {
		return err
	}
	db, err := bbolt.Open(next, 0o600, options())
	if err != nil {
		return err
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		for _, name := range buckets {
			if _, err := tx.CreateBucketIfNotExists(name); err != nil {
				return err
			}
		}
		return tx.Bucket(bucketMeta).Put(keySchema, number(schema))
	})
	if err := errors.Join(err, db.Close()); err != nil {
		return err
	}
	return durable.Rename(durable.OS, next, path)
}

func options() *bbolt.Options {
	return &bbolt.Options{
		Timeout:        lockWait,
		NoFreelistSync: true, // fewer pages a commit; the file is small enough to scan
		FreelistType:   bbolt.FreelistMapType,
	}
}

// openExisting opens and reads everything once, so that damage shows now and
// not in the middle of an update.
func openExisting(path string) (*Journal, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.Size() == 0 {
		return nil, &damageError{errors.New("the file is empty")}
	}
	var db *bbolt.DB
	err = guarded(func() (err error) {
		db, err = bbolt.Open(path, 0o600, options())
		return err
	})
	if err != nil {
		if isAccess(err) {
			return nil, err
		}
		return nil, &damageError{err}
	}
	j := &Journal{db: db}
	if err := guarded(func() error { return db.View(verify) }); err != nil {
		closeDamaged(db)
		return nil, &damageError{err}
	}
	return j, nil
}

// isAccess tells errors of the medium or of rights from those of the content.
func isAccess(err error) bool {
	var path *fs.PathError
	return errors.Is(err, bbolt.ErrTimeout) || errors.As(err, &path)
}

// closeDamaged lets go of the file and its lock whatever state db is in.
func closeDamaged(db *bbolt.DB) {
	_ = guarded(db.Close) // the content is given up already
}

// verify walks all buckets and checks the schema.
func verify(tx *bbolt.Tx) error {
	for _, name := range buckets {
		b := tx.Bucket(name)
		if b == nil {
			return fmt.Errorf("bucket %q is missing", name)
		}
		if err := b.ForEach(func(k, v []byte) error {
			if v == nil {
				return fmt.Errorf("bucket %q holds a foreign bucket %q", name, k)
			}
			return nil
		}); err != nil {
			return err
		}
	}
	if v := tx.Bucket(bucketMeta).Get(keySchema); len(v) != 8 || binary.BigEndian.Uint64(v) > schema {
		return fmt.Errorf("schema %x is not known to this version (%d)", v, schema)
	}
	return nil
}

// guarded runs f and turns a panic, and a fault in the mapped file, into an error.
func guarded(f func() error) (err error) {
	old := debug.SetPanicOnFault(true)
	defer debug.SetPanicOnFault(old)
	defer func() {
		if p := recover(); p != nil {
			err = &damageError{fmt.Errorf("bbolt: %v", p)}
		}
	}()
	return f()
}
