//go:build unix && !linux

package lab

import (
	"os/exec"
	"syscall"
)

// bindToParent makes cmd a process group of its own. Only Linux can also kill
// it when the parent was killed.
func bindToParent(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }

func ownThread()    {}
func disownThread() {}
