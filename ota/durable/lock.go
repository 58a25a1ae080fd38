package durable

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"
)

// ErrLocked says that another process holds the lock.
var ErrLocked = errors.New("locked")

// Lock is a lock between processes. It goes away with its holder, however
// that ends.
type Lock struct{ f *os.File }

// AcquireLock takes the lock at name without waiting and leaves who in the
// file for others to read. ErrLocked, with what the holder wrote, when it is
// taken.
func AcquireLock(name, who string) (*Lock, error) {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, fmt.Errorf("cannot open lock %q: %w", name, err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		defer f.Close()
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("cannot lock %q: %w", name, err)
		}
		holder, _ := io.ReadAll(io.LimitReader(f, 256))
		return nil, fmt.Errorf("cannot lock %q: %w by %s", name, ErrLocked, strings.TrimSpace(string(holder)))
	}
	if err := errors.Join(f.Truncate(0), writeAt0(f, who+"\n")); err != nil {
		f.Close()
		return nil, fmt.Errorf("cannot write lock %q: %w", name, err)
	}
	return &Lock{f: f}, nil
}

func writeAt0(f *os.File, s string) error {
	_, err := f.WriteAt([]byte(s), 0)
	return err
}

// Release gives the lock back.
func (l *Lock) Release() error { return l.f.Close() }
