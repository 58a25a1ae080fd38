//go:build !race

package install

const underRace = false
