package main

import (
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// memory is what the processes of a run had at a time at most, in KiB.
type memory struct {
	Anon    int64 // private
	Pss     int64 // private, and their share of what they share
	Highest int64 // VmHWM, mapped files included, of the largest process
	Temp    int64 // in the file system for temporary files
	Idle    int64 // resident, of a service before it was asked for anything
}

// sampleEvery is short beside an install of a fraction of a second.
const sampleEvery = 4 * time.Millisecond

// sample looks at a group until stop is closed.
func sample(g *group, temp string, stop <-chan struct{}) memory {
	var peak memory
	for i := 0; ; i++ {
		select {
		case <-stop:
			return peak
		case <-time.After(sampleEvery):
		}
		var now memory
		for _, id := range g.processes() {
			status, _ := os.ReadFile("/proc/" + id + "/status")
			now.Anon += field(status, "RssAnon:")
			peak.Highest = max(peak.Highest, field(status, "VmHWM:"))
			if i%4 == 0 { // it is dear: the kernel walks all pages
				rollup, _ := os.ReadFile("/proc/" + id + "/smaps_rollup")
				now.Pss += field(rollup, "Pss:")
			}
		}
		var fs syscall.Statfs_t
		if syscall.Statfs(temp, &fs) == nil {
			now.Temp = int64(fs.Blocks-fs.Bfree) * fs.Bsize >> 10
		}
		peak.Anon, peak.Pss, peak.Temp = max(peak.Anon, now.Anon), max(peak.Pss, now.Pss), max(peak.Temp, now.Temp)
	}
}

// idle is what a service has resident that has nothing to do yet.
func idle(g *group) int64 {
	time.Sleep(time.Second) // it has come to rest
	var total int64
	for _, id := range g.processes() {
		status, _ := os.ReadFile("/proc/" + id + "/status")
		total += field(status, "VmRSS:")
	}
	return total
}

// field finds the number behind a name at the beginning of a line; 0 if there is
// none.
func field(text []byte, name string) int64 {
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, name); ok {
			n, _ := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
			return n
		}
	}
	return 0
}
