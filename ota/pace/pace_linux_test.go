package pace

import (
	"testing"

	"golang.org/x/sys/unix"
)

// The thread of the work is idle to the medium and nice, no other is.
func TestBackground(t *testing.T) {
	t.Parallel()
	priorities := func() (class uintptr, nice int) {
		io, _, _ := unix.Syscall(unix.SYS_IOPRIO_GET, whoThread, thisProcess, 0)
		n, err := unix.Getpriority(unix.PRIO_PROCESS, thisProcess)
		if err != nil {
			t.Error(err)
		}
		return io >> 13, 20 - n // the system call answers 20 less nice
	}
	err := Background(func() error {
		if class, nice := priorities(); class != classIdle>>13 || nice < background {
			t.Errorf("in the background: class %d, nice %d", class, nice)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	if class, nice := priorities(); class == classIdle>>13 || nice >= background {
		t.Errorf("beside it: class %d, nice %d", class, nice)
	}
}
