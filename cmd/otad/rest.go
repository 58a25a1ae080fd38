package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"runtime/debug"
	"strings"
	"syscall"
	"time"
)

// quiet is how long nothing must have changed before the service takes a rest.
const quiet = 5 * time.Second

// rest gives back what a busy time took, once it is over: the start, a check,
// an install. Nothing wakes it while nothing happens.
func rest(ctx context.Context, a interface {
	Watch() (changed <-chan struct{}, stop func())
}) {
	changed, stop := a.Watch()
	defer stop()
	over := time.NewTimer(quiet)
	defer over.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-changed:
			over.Reset(quiet)
		case <-over.C:
			debug.FreeOSMemory()
			letGo()
		}
	}
}

// letGo takes the pages of the program out of this process. Those in use are
// mapped again at the next touch; the others, which only the busy time needed,
// are page cache like any other, which the kernel gives to playback first.
// Where /proc is not what it should be, nothing happens.
func letGo() {
	file, err := os.Open("/proc/self/smaps")
	if err != nil {
		return
	}
	defer file.Close()
	var at mapping
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		if next, ok := parseMapping(lines.Text()); ok {
			at = next
		} else if at.constant && strings.Join(strings.Fields(lines.Text()), " ") == "Anonymous: 0 kB" {
			syscall.Syscall(syscall.SYS_MADVISE, at.begin, at.end-at.begin, syscall.MADV_DONTNEED) // advice, no more
		}
	}
}

// mapping is a range of addresses. A constant one is of a file and cannot be
// written to: unless the loader has changed it, which shows in anonymous pages,
// the file has all of it.
type mapping struct {
	begin, end uintptr
	constant   bool
}

// parseMapping reads the line of /proc/PID/smaps that begins a mapping (proc(5)):
//
//	00010000-0054f000 r-xp 00000000 b3:02 1234   /usr/sbin/otad
func parseMapping(line string) (m mapping, ok bool) {
	var access, offset, device, path string
	var inode int64
	n, _ := fmt.Sscanf(line, "%x-%x %s %s %s %d %s", &m.begin, &m.end, &access, &offset, &device, &inode, &path)
	m.constant = inode != 0 && strings.HasPrefix(access, "r-") && strings.HasSuffix(access, "p")
	return m, n >= 6
}
