//go:build race

package main_test

// raced tells whether these tests run with the race detector.
const raced = true
