package doctor

import (
	"os"
	"path/filepath"
	"strings"
)

// watchdog looks whether there is a device and who has it. It does not open it:
// that would start it.
func (e *examination) watchdog() {
	device := e.Config.Watchdog.Device
	if device == "" {
		e.ok("watchdog", "", "none is configured")
		return
	}
	info, err := os.Stat(device)
	switch {
	case err != nil:
		e.fail("watchdog", device, "load the driver of the board's watchdog, or leave watchdog.device empty", "%v", err)
		return
	case info.IsDir() || info.Mode().IsRegular():
		e.fail("watchdog", device, "name the device, as in /dev/watchdog", "it is no device")
		return
	}
	holder, pid := holderOf(device)
	switch {
	case holder == "" && e.Service:
		e.fail("watchdog", device, "see the log of the service: `otad logs`", "the service does not feed it")
	case holder == "":
		e.ok("watchdog", device, "it is there, and nobody feeds it")
	case holder == "otad":
		e.ok("watchdog", device, "the service feeds it")
	default:
		e.fail("watchdog", device, "only one program can feed it: take it from the other one (systemd: RuntimeWatchdogSec=0), or leave watchdog.device empty",
			"%s (process %s) feeds it", holder, pid)
	}
}

// holderOf is the program that has the device open, "" when there is none that
// we may know of.
func holderOf(device string) (name, pid string) {
	links, _ := filepath.Glob("/proc/[0-9]*/fd/*") // the pattern is good
	for _, link := range links {
		target, err := os.Readlink(link)
		if err != nil || target != device && !(strings.HasPrefix(target, "/dev/watchdog") && strings.HasPrefix(device, "/dev/watchdog")) {
			continue
		}
		pid = strings.Split(link, "/")[2]
		if !writes(pid, filepath.Base(link)) {
			continue
		}
		comm, err := os.ReadFile("/proc/" + pid + "/comm")
		if err == nil {
			return strings.TrimSpace(string(comm)), pid
		}
	}
	return "", ""
}

// writes tells whether a process has a file open for writing.
func writes(pid, fd string) bool {
	info, err := os.ReadFile("/proc/" + pid + "/fdinfo/" + fd)
	if err != nil {
		return false
	}
	_, flags, _ := strings.Cut(string(info), "flags:")
	flags, _, _ = strings.Cut(strings.TrimSpace(flags), "\n")
	return strings.HasSuffix(flags, "1") || strings.HasSuffix(flags, "2") // O_WRONLY, O_RDWR
}
