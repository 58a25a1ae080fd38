package journal

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc64"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"syscall"
	"time"

	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"

	"otad/ota"
	"otad/ota/durable"
)

// lockWait is how long Open waits for another process to let go of the file.
const lockWait = 100 * time.Millisecond

// Recovery says that the file was damaged and where it was kept. It is kept in
// the fresh file and returned by every Open until a Change tells of it.
type Recovery struct {
	Kept  string // the damaged file
	Cause error
}

// Open opens the journal at path, or makes it. A damaged file is kept aside
// and a fresh one is made; the Recovery then says so, at this Open and at the
// next ones until a [Change] tells of it. at names the file kept
// aside. A file of a newer schema is damaged for this version: an older otad
// must not misread it.
func Open(path string, at time.Time) (*Journal, *Recovery, error) {
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		// Power cut between the renames of a recovery: go on with it.
		if err := create(path, cutOff(path)); err != nil {
			return nil, nil, fault("create", err)
		}
	}
	j, untold, err := openExisting(path)
	if err == nil {
		return j, untold, nil
	}
	var damage *damageError
	if !errors.As(err, &damage) {
		return nil, nil, openFault(path, err)
	}
	kept := path + damagedMark + stamp(at)
	if err := durable.Rename(durable.OS, path, kept); err != nil {
		return nil, nil, fault("keep the damaged", err)
	}
	if err := forgetOld(path, kept); err != nil {
		return nil, nil, fault("tidy up beside the", err)
	}
	if err := create(path, &Recovery{Kept: kept, Cause: damage.cause}); err != nil {
		return nil, nil, fault("create", err)
	}
	if j, untold, err = openExisting(path); err != nil {
		return nil, nil, openFault(path, err)
	}
	return j, untold, nil
}

// cutOff is the recovery that was begun when there is a damaged file and none
// in its place; nil when there never was one.
func cutOff(path string) *Recovery {
	kept, err := filepath.Glob(path + damagedMark + "*") // in the order of their stamps
	if err != nil || len(kept) == 0 {
		return nil
	}
	return &Recovery{Kept: kept[len(kept)-1], Cause: errors.New("it was kept aside, and none was made in its place")}
}

// recoveryMark is a Recovery in its persisted form.
type recoveryMark struct {
	Kept  string `json:"kept"`
	Cause string `json:"cause"`
}

// untold returns the recovery that nobody was told of yet; nil for none.
func (j *Journal) untold() (r *Recovery, err error) {
	err = j.view(func(tx *bbolt.Tx) error {
		data := tx.Bucket(bucketMeta).Get(keyRecovery)
		if data == nil {
			return nil
		}
		var mark recoveryMark
		if err := json.Unmarshal(data, &mark); err != nil {
			return err
		}
		r = &Recovery{Kept: mark.Kept, Cause: errors.New(mark.Cause)}
		return nil
	})
	return r, err
}

const (
	damagedMark = ".damaged-"
	maxKept     = 3 // damaged files that are kept: a bad medium must not fill itself
)

// forgetOld removes the oldest of the damaged files above maxKept, never the
// one that was kept just now.
func forgetOld(path, justKept string) error {
	old, err := filepath.Glob(path + damagedMark + "*") // in the order of their stamps
	if err != nil {
		return err
	}
	old = slices.DeleteFunc(old, func(name string) bool { return name == justKept })
	for _, name := range old[:max(0, len(old)-maxKept+1)] {
		if err := durable.Remove(durable.OS, name); err != nil {
			return err
		}
	}
	return nil
}

func openFault(path string, err error) error {
	if errors.Is(err, bolterrors.ErrTimeout) {
		return ota.NewRefused(ota.CodeLocked, fmt.Errorf("cannot open journal %q: another otad has it open", path))
	}
	return fault("open", err)
}

// damageError says that the content, not the access, is at fault.
type damageError struct{ cause error }

func (e *damageError) Error() string { return "damaged: " + e.cause.Error() }

// create makes an empty journal: a new bbolt file is not whole before its last
// sync, so it is made aside. The recovery that it is made in, nil for none, is
// in it from the first moment on.
//
// Calls: bbolt's create, writes and syncs of path.new, then rename, syncdir.
func create(path string, recovery *Recovery) error {
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
		if err := tx.Bucket(bucketMeta).Put(keySchema, number(schema)); err != nil {
			return err
		}
		if recovery != nil {
			mark := recoveryMark{Kept: recovery.Kept, Cause: recovery.Cause.Error()}
			if err := putJSON(tx.Bucket(bucketMeta), keyRecovery, mark); err != nil {
				return err
			}
		}
		return putSum(tx)
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
func openExisting(path string) (*Journal, *Recovery, error) {
	if err := checkFile(path); err != nil {
		return nil, nil, err
	}
	var db *bbolt.DB
	err := guarded(func() (err error) {
		db, err = bbolt.Open(path, 0o600, options())
		return err
	})
	if err != nil {
		return nil, nil, err // of the medium or of rights: the content is whole
	}
	j := &Journal{db: db}
	err = j.verify()
	var untold *Recovery
	if err == nil {
		untold, err = j.untold()
	}
	if err != nil {
		_ = guarded(db.Close) // the content is given up already
		return nil, nil, &damageError{err}
	}
	return j, untold, nil
}

// checkFile walks the pages of the file while nobody can write to it.
func checkFile(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	// A child that another goroutine starts holds every lock until its exec.
	for end := time.Now().Add(lockWait); ; time.Sleep(lockWait / 20) {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_SH|syscall.LOCK_NB)
		if err == nil {
			break
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			return err
		}
		if time.Now().After(end) {
			return bolterrors.ErrTimeout
		}
	}
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return &damageError{errors.New("it is no regular file")}
	}
	if err := checkPages(f, info.Size()); err != nil {
		return &damageError{err}
	}
	return nil
}

// verify holds the content against its schema and its check sum, and reads all
// of it.
func (j *Journal) verify() error {
	err := j.view(func(tx *bbolt.Tx) error {
		for _, name := range buckets {
			if tx.Bucket(name) == nil {
				return fmt.Errorf("bucket %q is missing", name)
			}
		}
		meta := tx.Bucket(bucketMeta)
		switch v := meta.Get(keySchema); {
		case len(v) != 8:
			return fmt.Errorf("its schema %x is no number", v)
		case binary.BigEndian.Uint64(v) > schema:
			return fmt.Errorf("its schema is %d and this otad knows %d: a newer otad wrote it", binary.BigEndian.Uint64(v), schema)
		case !bytes.Equal(v, number(schema)):
			return fmt.Errorf("its schema is %d, and there is none before %d", binary.BigEndian.Uint64(v), schema)
		}
		sum, err := contentSum(tx)
		if err != nil {
			return err
		}
		if v := meta.Get(keySum); !bytes.Equal(v, number(sum)) {
			return fmt.Errorf("the check sum of its content is %x, not %x", number(sum), v)
		}
		return nil
	})
	if err != nil {
		return err
	}
	_, stateErr := j.Load()
	_, historyErr := j.History(MaxHistory)
	_, outboxErr := j.Pending(MaxOutbox)
	_, commandsErr := j.CommandSeen("")
	return errors.Join(stateErr, historyErr, outboxErr, commandsErr)
}

// contentSum is over everything but the sum itself. bbolt has check sums for
// the last page of a transaction only; a bit that flips in a record, or an old
// page in the place of a new one, shows here.
func contentSum(tx *bbolt.Tx) (uint64, error) {
	sum := crc64.New(crcTable)
	part := func(b []byte) {
		sum.Write(number(uint64(len(b))))
		sum.Write(b)
	}
	for _, name := range buckets {
		b := tx.Bucket(name)
		part(name)
		part(number(b.Sequence()))
		err := b.ForEach(func(k, v []byte) error {
			if v == nil {
				return fmt.Errorf("bucket %q holds a foreign bucket %q", name, k)
			}
			if !bytes.Equal(k, keySum) {
				part(k)
				part(v)
			}
			return nil
		})
		if err != nil {
			return 0, err
		}
	}
	return sum.Sum64(), nil
}

var crcTable = crc64.MakeTable(crc64.ECMA)

// guarded runs f and turns a panic, and a fault in the mapped file, into an
// error. After [checkPages] only a medium that fails while it is used gets here.
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
