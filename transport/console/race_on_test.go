//go:build race

package console_test

// raced: the race detector makes everything slow.
const raced = true
