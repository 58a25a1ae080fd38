package watchdog

import (
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// setTimeout tells the driver, and returns what it made of that; false when it
// does not say, as one that has a fixed time, or a file that is no watchdog.
func setTimeout(f *os.File, timeout time.Duration) (time.Duration, bool) {
	c, err := f.SyscallConn()
	if err != nil {
		return 0, false
	}
	seconds, known := int((timeout+time.Second-1)/time.Second), false
	err = c.Control(func(fd uintptr) {
		_ = unix.IoctlSetPointerInt(int(fd), unix.WDIOC_SETTIMEOUT, seconds) // asked back below
		if actual, err := unix.IoctlGetInt(int(fd), unix.WDIOC_GETTIMEOUT); err == nil && actual > 0 {
			seconds, known = actual, true
		}
	})
	return time.Duration(seconds) * time.Second, known && err == nil
}
