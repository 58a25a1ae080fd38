package watchdog

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// pipe stands in for the device: what is written to it can be read, and its
// end is seen.
func pipe(t *testing.T) (path string, hardware *os.File) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "watchdog")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	hardware, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { hardware.Close() })
	return path, hardware
}

// The kernel takes the last byte before the close for its word on whether to
// stop: V or not.
func TestMagicClose(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		end   func(*Device) error
		stops bool
	}{{"stop", (*Device).Stop, true}, {"leave", (*Device).Leave, false}} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			path, hardware := pipe(t)
			d, err := Open(path, 30*time.Second)
			if err != nil {
				t.Fatal(err)
			}
			if d.Timeout != 30*time.Second || d.NoWayOut {
				t.Errorf("got %+v", d)
			}
			for range 3 {
				if err := d.Feed(); err != nil {
					t.Fatal(err)
				}
			}
			if err := c.end(d); err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(hardware)
			if err != nil {
				t.Fatal(err)
			}
			fed, stopped := strings.CutSuffix(string(got), "V")
			if stopped != c.stops || len(fed) != 3 || strings.Contains(fed, "V") {
				t.Errorf("the hardware read %q", got)
			}
			if d.Feed() == nil {
				t.Error("fed after the end")
			}
		})
	}
}

func TestOpenSaysWhy(t *testing.T) {
	t.Parallel()
	if _, err := Open(filepath.Join(t.TempDir(), "watchdog"), time.Minute); !errors.Is(err, ErrNone) {
		t.Errorf("got %v, want ErrNone", err)
	}
	for _, c := range []struct {
		cause error
		want  error
		text  string
	}{
		{syscall.EBUSY, ErrTaken, "another program feeds it"},
		{syscall.ENODEV, ErrNone, "no driver"},
		{syscall.EACCES, syscall.EACCES, "permission denied"},
	} {
		err := openFault("/dev/watchdog", &os.PathError{Op: "open", Path: "/dev/watchdog", Err: c.cause})
		if !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.text) {
			t.Errorf("%v: got %v", c.cause, err)
		}
	}
}
