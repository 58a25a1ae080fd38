//go:build race

package swu

// raceEnabled makes the slow tests small.
const raceEnabled = true
