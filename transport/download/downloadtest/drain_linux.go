package downloadtest

import (
	"net"
	"time"

	"golang.org/x/sys/unix"
)

// drain waits until the other side's kernel has acknowledged every byte: a
// reset throws away what is still on its way.
func drain(c *net.TCPConn) {
	raw, err := c.SyscallConn()
	if err != nil {
		return
	}
	for range 1000 {
		waiting := 0
		raw.Control(func(fd uintptr) { waiting, _ = unix.IoctlGetInt(int(fd), unix.SIOCOUTQ) }) // 0 for a connection that is gone
		if waiting == 0 {
			return
		}
		time.Sleep(time.Millisecond)
	}
}
