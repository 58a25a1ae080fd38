//go:build race

package install

const underRace = true
