//go:build !linux

package pace

// Background runs work.
func Background(work func() error) error { return work() }
