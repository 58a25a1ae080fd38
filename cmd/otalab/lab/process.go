//go:build unix

package lab

import (
	"os/exec"
	"syscall"
)

// kill and terminate reach the whole process group; that it is gone already
// is no error.
func kill(cmd *exec.Cmd)      { syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
func terminate(cmd *exec.Cmd) { syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }
