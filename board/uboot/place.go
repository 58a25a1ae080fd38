package uboot

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

const (
	// maxEnvBytes bounds one copy; U-Boot's are 4 to 128 KiB.
	maxEnvBytes = 1 << 20
	// minEnvBytes holds a check sum, a flag, and the end of an empty list.
	minEnvBytes = 16
	maxConfig   = 64 << 10
)

// places says where the copies of the environment are.
type places struct {
	copies   []place // one, or two when it is redundant
	lockFile string
}

type place struct {
	path      string
	offset    int64 // from the end of the device when negative
	sizeBytes int64
}

// defaultLock is the lock of fw_setenv, so that a script that uses it and otad
// do not write at the same time.
const defaultLock = "/var/lock/fw_printenv.lock"

// parseConfig reads fw_env.config: a line for each copy with device, offset
// and size; the further columns are about raw flash.
//
// Source: libubootenv, docs/fw_env_config.md. An offset is decimal unless it
// begins with 0x (or 0, octal), a size always hexadecimal, as its reader does.
func parseConfig(data []byte) (places, error) {
	p := places{lockFile: defaultLock}
	lines := bufio.NewScanner(bytes.NewReader(data))
	for n := 1; lines.Scan(); n++ {
		text, _, _ := strings.Cut(lines.Text(), "#")
		fields := strings.Fields(text)
		if len(fields) == 0 {
			continue
		}
		c, err := parsePlace(fields)
		if err != nil {
			return places{}, fmt.Errorf("line %d: %w", n, err)
		}
		p.copies = append(p.copies, c)
	}
	if err := lines.Err(); err != nil {
		return places{}, err
	}
	return p, p.check()
}

func parsePlace(fields []string) (place, error) {
	if len(fields) < 3 || len(fields) > 6 {
		return place{}, fmt.Errorf("%d columns, want device, offset and size", len(fields))
	}
	offset, err := parseNumber(fields[1])
	if err != nil {
		return place{}, fmt.Errorf("offset: %w", err)
	}
	digits := strings.TrimPrefix(strings.ToLower(fields[2]), "0x")
	size, err := strconv.ParseInt(digits, 16, 64)
	if err != nil {
		return place{}, fmt.Errorf("size: %q is not a hexadecimal number", fields[2])
	}
	return place{path: fields[0], offset: offset, sizeBytes: size}, nil
}

// parseNumber reads a number as C's strtoll with base 0 does.
func parseNumber(s string) (int64, error) {
	n, err := strconv.ParseInt(s, 0, 64)
	digits := strings.ToLower(strings.TrimLeft(s, "+-"))
	if err != nil || strings.ContainsAny(digits, "_o") || strings.HasPrefix(digits, "0b") { // Go's own forms
		return 0, fmt.Errorf("%q is not a number", s)
	}
	return n, nil
}

// check refuses what cannot be an environment, before a byte is written there.
func (p *places) check() error {
	if len(p.copies) == 0 {
		return errors.New("no environment is declared")
	}
	if len(p.copies) > 2 {
		return fmt.Errorf("%d copies are declared, U-Boot knows two at most", len(p.copies))
	}
	for _, c := range p.copies {
		switch {
		case !strings.HasPrefix(c.path, "/"):
			return fmt.Errorf("device %q is not an absolute path", c.path)
		case strings.HasPrefix(c.path, "/dev/mtd"), strings.HasPrefix(c.path, "/dev/ubi"):
			return fmt.Errorf("device %q is raw flash, which this driver does not write", c.path)
		case c.sizeBytes < minEnvBytes || c.sizeBytes > maxEnvBytes:
			return fmt.Errorf("a size of %d bytes is not between %d and %d", c.sizeBytes, minEnvBytes, maxEnvBytes)
		case c.offset > 1<<50 || c.offset < -1<<50:
			return fmt.Errorf("an offset of %d is no place on a device", c.offset)
		case c.offset < 0 && -c.offset < c.sizeBytes:
			return fmt.Errorf("%d bytes before the end there is no room for %d", -c.offset, c.sizeBytes)
		}
	}
	if len(p.copies) == 2 {
		return p.copies[0].checkApart(p.copies[1])
	}
	return nil
}

func (a place) checkApart(b place) error {
	if a.sizeBytes != b.sizeBytes {
		return fmt.Errorf("the copies have different sizes, %#x and %#x", a.sizeBytes, b.sizeBytes)
	}
	sameEnd := (a.offset < 0) == (b.offset < 0)
	if a.path == b.path && sameEnd && max(a.offset-b.offset, b.offset-a.offset) < a.sizeBytes {
		return errors.New("the copies overlap")
	}
	return nil
}
