//go:build !linux

package main

import "os"

// rawTerminal leaves the terminal as it is: what is typed goes out by lines.
func rawTerminal(*os.File) (restore func(), err error) { return func() {}, nil }
