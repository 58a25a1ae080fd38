//go:build !linux

package watchdog

import (
	"os"
	"time"
)

func setTimeout(*os.File, time.Duration) (time.Duration, bool) { return 0, false }
