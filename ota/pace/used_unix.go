//go:build unix

package pace

import (
	"time"

	"golang.org/x/sys/unix"
)

// Used is how much of the processor this program has used since it began; 0
// where the system does not say.
func Used() time.Duration {
	var u unix.Rusage
	if unix.Getrusage(unix.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
