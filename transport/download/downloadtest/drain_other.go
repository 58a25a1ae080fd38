//go:build !linux

package downloadtest

import (
	"net"
	"time"
)

// drain gives what is on its way time to arrive.
func drain(*net.TCPConn) { time.Sleep(100 * time.Millisecond) }
