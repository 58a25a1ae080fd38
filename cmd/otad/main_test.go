// Package main_test runs the real otad as its users do: a program with a
// settings file, on a simulated box, against real servers on loopback. What is
// asserted is what can be seen from outside: exit codes, what it prints, what
// is in the slots, what the bootloader would do next, what the broker got.
package main_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// program is the otad under test, built once; with the race detector when
// these tests have it. OTAD_PROGRAM names a finished one instead: what is
// shipped is measured with it.
var program = os.Getenv("OTAD_PROGRAM")

func TestMain(m *testing.M) { os.Exit(buildAndRun(m)) }

func buildAndRun(m *testing.M) int {
	if os.Getenv("OTAD_PROGRAM") != "" {
		return m.Run()
	}
	dir, err := os.MkdirTemp("", "otad")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	program = filepath.Join(dir, "otad")
	args := []string{"build", "-o", program}
	if raced {
		args = append(args, "-race")
	}
	build := exec.Command("go", append(args, ".")...)
	build.Stderr = os.Stderr
	if err := build.Run(); err != nil {
		fmt.Fprintf(os.Stderr, "cannot build otad: %v\n", err)
		return 1
	}
	return m.Run()
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
