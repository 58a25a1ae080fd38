//go:build !race

package swu

const raceEnabled = false
