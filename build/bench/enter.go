package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
)

// entered is set in the environment of the program that runs inside.
const entered = "BENCH_INSIDE"

// enter runs this program again in a mount namespace of its own, so that nothing
// that is mounted is seen outside or left behind. It tells whether this is the
// one inside; the one outside only waits for it.
func enter() (inside bool, err error) {
	if os.Getenv(entered) != "" {
		// What is mounted from now on is ours alone.
		return true, syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, "")
	}
	if os.Geteuid() != 0 {
		return false, errors.New("root is needed, for loop devices and mounts")
	}
	again := exec.Command("/proc/self/exe", os.Args[1:]...)
	again.Env = append(os.Environ(), entered+"=1")
	again.Stdin, again.Stdout, again.Stderr = os.Stdin, os.Stdout, os.Stderr
	again.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGTERM}
	err = again.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() == 1 {
		os.Exit(1) // it has said why
	}
	if err != nil {
		err = fmt.Errorf("cannot measure: %w", err)
	}
	return false, err
}
