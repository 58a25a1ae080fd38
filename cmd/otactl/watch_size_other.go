//go:build !unix

package main

import "os"

// terminalSize is a guess: there is no portable way to ask.
func terminalSize(*os.File) (width, height int) { return 80, 24 }
