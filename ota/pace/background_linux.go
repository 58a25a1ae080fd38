package pace

import (
	"runtime"

	"golang.org/x/sys/unix"
)

// What the kernel calls them; ioprio_set has no name in the unix package.
const (
	whoThread   = 1       // IOPRIO_WHO_PROCESS: a thread, 0 for this one
	classIdle   = 3 << 13 // IOPRIO_CLASS_IDLE: when nobody else wants the medium
	background  = 10      // nice
	thisProcess = 0
)

// Background runs work on a thread of its own, which gets the medium when
// nobody else wants it and the processor when few do. The thread ends with it:
// an unprivileged one could not be made eager again. What the kernel does not
// know is done without.
func Background(work func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // and never unlocked
		_, _, _ = unix.Syscall(unix.SYS_IOPRIO_SET, whoThread, thisProcess, classIdle)
		_ = unix.Setpriority(unix.PRIO_PROCESS, thisProcess, background)
		done <- work()
	}()
	return <-done
}
