//go:build !linux

package durable

import "os"

// Boxes run Linux. Elsewhere (a developer's machine) the page cache is left to
// the system.

// StartWrite does nothing here.
func StartWrite(_ *os.File, _, _ int64) error { return nil }

// Settle does nothing here.
func Settle(_ *os.File, _, _ int64) error { return nil }

// DropRange does nothing here.
func DropRange(_ *os.File, _, _ int64) error { return nil }
