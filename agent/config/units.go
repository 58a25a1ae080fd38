package config

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"otad/ota/policy"
)

// Duration is a length of time, written "90s", "6h", "2h30m".
type Duration time.Duration

// UnmarshalText implements encoding.TextUnmarshaler.
func (d *Duration) UnmarshalText(text []byte) error {
	v, err := time.ParseDuration(string(text))
	if err != nil || v < 0 {
		return fmt.Errorf("cannot read duration %q: want a number with a unit, as in \"90s\" or \"6h\"", text)
	}
	*d = Duration(v)
	return nil
}

// MarshalText implements encoding.TextMarshaler.
func (d Duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

// Size is a number of bytes, written "512KiB", "16MiB", "4GiB" or "1000B".
type Size int64

var sizeUnits = []struct {
	name  string
	bytes int64
}{{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}, {"B", 1}}

// UnmarshalText implements encoding.TextUnmarshaler.
func (s *Size) UnmarshalText(text []byte) error {
	for _, u := range sizeUnits {
		digits, ok := strings.CutSuffix(string(text), u.name)
		if !ok {
			continue
		}
		n, err := strconv.ParseInt(strings.TrimSpace(digits), 10, 64)
		if err != nil || n < 0 || n > (1<<62)/u.bytes {
			break
		}
		*s = Size(n * u.bytes)
		return nil
	}
	return fmt.Errorf("cannot read size %q: want a number with a unit, as in \"512KiB\" or \"16MiB\"", text)
}

// MarshalText implements encoding.TextMarshaler.
func (s Size) MarshalText() ([]byte, error) {
	for _, u := range sizeUnits {
		if int64(s)%u.bytes == 0 && int64(s) >= u.bytes {
			return fmt.Appendf(nil, "%d%s", int64(s)/u.bytes, u.name), nil
		}
	}
	return []byte("0B"), nil
}

// Rate is a number of bytes a second, written "512KiB/s"; 0 is no limit.
type Rate int64

// UnmarshalText implements encoding.TextUnmarshaler.
func (r *Rate) UnmarshalText(text []byte) error {
	digits, ok := strings.CutSuffix(string(text), "/s")
	var s Size
	if err := s.UnmarshalText([]byte(digits)); !ok || err != nil {
		return fmt.Errorf("cannot read rate %q: want a size a second, as in \"512KiB/s\"", text)
	}
	*r = Rate(s)
	return nil
}

// MarshalText implements encoding.TextMarshaler.
func (r Rate) MarshalText() ([]byte, error) {
	s, err := Size(r).MarshalText()
	return append(s, "/s"...), err
}

// Window is a maintenance window, written "02:00-05:00" or "mon-fri 02:00-05:00".
type Window policy.Window

// UnmarshalText implements encoding.TextUnmarshaler.
func (w *Window) UnmarshalText(text []byte) error {
	v, err := policy.ParseWindow(string(text))
	*w = Window(v)
	return err
}

// MarshalText implements encoding.TextMarshaler.
func (w Window) MarshalText() ([]byte, error) {
	return []byte(policy.Window(w).String()), nil
}
