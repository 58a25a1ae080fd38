package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// check is one promise that was held against what happened.
type check struct {
	ok           bool
	what, detail string
}

// checks collects them.
type checks struct {
	screen *screen
	all    []check
}

// that notes whether a promise was kept, and shows it.
func (c *checks) that(ok bool, what, format string, args ...any) {
	k := check{ok, what, fmt.Sprintf(format, args...)}
	c.all = append(c.all, k)
	c.screen.clipped(fmt.Sprintf("  %s %s: %s", c.mark(k), k.what, k.detail))
}

// holds notes a promise whose check is an error or nil.
func (c *checks) holds(what string, err error, detail string) {
	if err != nil {
		detail = err.Error()
	}
	c.that(err == nil, what, "%s", detail)
}

func (c *checks) mark(k check) string {
	if k.ok {
		return c.screen.glyphs.pass
	}
	return c.screen.glyphs.fail
}

func (c *checks) broken() int {
	n := 0
	for _, k := range c.all {
		if !k.ok {
			n++
		}
	}
	return n
}

// table prints all of them once more.
func (c *checks) table() {
	width := 0
	for _, k := range c.all {
		width = max(width, len(k.what))
	}
	for _, k := range c.all {
		c.screen.clipped(fmt.Sprintf("  %s  %-*s  %s", c.mark(k), width, k.what, k.detail))
	}
}

// sameBytes compares a slot with the image that should be at its start.
func sameBytes(slot, image string) error {
	a, err := os.Open(slot)
	if err != nil {
		return err
	}
	defer a.Close()
	b, err := os.Open(image)
	if err != nil {
		return err
	}
	defer b.Close()
	x, y := make([]byte, 1<<20), make([]byte, 1<<20)
	for at := int64(0); ; {
		n, err := io.ReadFull(b, y)
		if _, slotErr := io.ReadFull(a, x[:n]); slotErr != nil && n > 0 {
			return slotErr
		}
		if !bytes.Equal(x[:n], y[:n]) {
			return fmt.Errorf("%q differs from %q after byte %d", slot, image, at)
		}
		at += int64(n)
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// fingerprint is the SHA-256 over whole files.
func fingerprint(names ...string) (string, error) {
	h := sha256.New()
	for _, name := range names {
		f, err := os.Open(name)
		if err != nil {
			return "", err
		}
		_, err = io.Copy(h, f)
		if err = errors.Join(err, f.Close()); err != nil {
			return "", err
		}
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// running lists the processes whose program or command line is of dir. Where
// there is no /proc it finds none.
func running(dir string) []string {
	var found []string
	entries, _ := filepath.Glob("/proc/[0-9]*") // a good pattern
	for _, p := range entries {
		exe, _ := os.Readlink(filepath.Join(p, "exe")) // they come and go
		line, _ := os.ReadFile(filepath.Join(p, "cmdline"))
		if filepath.Base(p) != fmt.Sprint(os.Getpid()) &&
			(strings.HasPrefix(exe, dir) || strings.Contains(string(line), dir)) {
			found = append(found, filepath.Base(p)+" "+exe)
		}
	}
	return found
}
