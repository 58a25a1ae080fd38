//go:build race

package main

// raced: the race detector follows at most 8128 goroutines, and a box has nine.
const raced = true
