package zck

import (
	"errors"
	"fmt"
)

// What is wrong with a file; the errors of this package wrap one of them, but
// for those of the caller's own readers and writers.
var (
	// ErrDamaged: truncated, malformed, or not what its digests say.
	ErrDamaged = errors.New("damaged")
	// ErrUnsupported: well-formed, but made in a way that is not done here.
	ErrUnsupported = errors.New("not supported")
)

func damaged(format string, args ...any) error {
	return fmt.Errorf("cannot read zchunk header: %w: %s", ErrDamaged, fmt.Sprintf(format, args...))
}

func unsupported(format string, args ...any) error {
	return fmt.Errorf("cannot use zchunk file: %w: %s", ErrUnsupported, fmt.Sprintf(format, args...))
}
