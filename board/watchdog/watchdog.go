// Package watchdog feeds a hardware watchdog through the Linux interface: a
// device that resets the box unless it is written to in time.
//
// Opening it starts it. A `V` as the last byte before the close stops it (the
// magic close), unless the driver was built or loaded with nowayout; a close
// without it, or the end of the process, leaves it running, and the box is
// reset when nobody opens it again in time.
//
// Source: Documentation/watchdog/watchdog-api.rst of the Linux kernel.
package watchdog

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// Device is an open watchdog. It is for one goroutine.
type Device struct {
	f *os.File
	// Timeout is what the hardware made of the time that was asked for; what was
	// asked for when it does not say.
	Timeout time.Duration
	// NoWayOut says that Stop will not stop it.
	NoWayOut bool
}

// Sentinels that callers branch on.
var (
	// ErrTaken says that another program has the device open.
	ErrTaken = errors.New("watchdog: taken")
	// ErrNone says that there is no such device.
	ErrNone = errors.New("watchdog: none")
)

// Open starts the watchdog at path. timeout is rounded up to seconds; a driver
// that cannot be told keeps its own.
func Open(path string, timeout time.Duration) (*Device, error) {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return nil, openFault(path, err)
	}
	d := &Device{f: f, Timeout: timeout, NoWayOut: noWayOut(path)}
	if actual, ok := setTimeout(f, timeout); ok {
		d.Timeout = actual
	}
	return d, nil
}

func openFault(path string, err error) error {
	switch {
	case errors.Is(err, syscall.EBUSY):
		return fmt.Errorf("cannot use watchdog %q: another program feeds it (%w): %w", path, ErrTaken, err)
	case errors.Is(err, os.ErrNotExist), errors.Is(err, syscall.ENODEV), errors.Is(err, syscall.ENXIO):
		return fmt.Errorf("cannot use watchdog %q: the kernel has no driver for it (%w): %w", path, ErrNone, err)
	}
	return fmt.Errorf("cannot use watchdog %q: %w", path, err)
}

// Feed puts the reset off by Timeout.
func (d *Device) Feed() error {
	if _, err := d.f.Write([]byte{0}); err != nil { // any byte but V
		return fmt.Errorf("cannot feed the watchdog: %w", err)
	}
	return nil
}

// Stop stops the watchdog, where there is a way out, and closes it.
func (d *Device) Stop() error {
	_, err := d.f.Write([]byte("V"))
	if err := errors.Join(err, d.f.Close()); err != nil {
		return fmt.Errorf("cannot stop the watchdog: %w", err)
	}
	return nil
}

// Leave closes the device and lets the watchdog run: the box is reset unless
// somebody opens it again in time.
func (d *Device) Leave() error { return d.f.Close() }

// noWayOut asks the kernel about the device at path; /dev/watchdog is the
// first one.
func noWayOut(path string) bool {
	name := filepath.Base(path)
	if name == "watchdog" {
		name = "watchdog0"
	}
	text, err := os.ReadFile("/sys/class/watchdog/" + name + "/nowayout")
	return err == nil && strings.TrimSpace(string(text)) == "1"
}
