package lab

import (
	"os/exec"
	"runtime"
	"syscall"
)

// bindToParent makes cmd a process group of its own, so that a terminal's
// interrupt is the box's to handle, and lets the kernel kill it when the
// thread that starts it ends, however that happens.
func bindToParent(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

func ownThread()    { runtime.LockOSThread() }
func disownThread() { runtime.UnlockOSThread() }
