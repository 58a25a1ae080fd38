// Package consoletest makes serial lines out of pseudo-terminals, for tests of
// consoles: two ports and a line between them that is as slow and as noisy as
// a test wants it.
package consoletest
