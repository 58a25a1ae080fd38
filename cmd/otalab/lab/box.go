// Package lab plays what is around otad: a set-top box that it runs on, and
// the servers that it talks to.
//
// A [Box] is a whole machine in a directory: the bootloader and the slots of
// board/sim, a "kernel" that mounts the slot's squashfs by unpacking it, and
// an "init" that starts the otad of that very image and starts it again when
// it dies. Its power can be cut and its otad killed at any instant. A [Server]
// is UpgradeLink, an MQTT broker and a firmware host on loopback.
//
// Assumptions: everything here is for demonstrations and tests; one process
// plays a box at a time. Nothing outlives the process that plays: otad dies
// with it (on Linux even when it is killed).
package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"otad/board/sim"
	"otad/cmd/otalab/rootfs"
	"otad/ota/durable"
)

// Times of a box. A real one is slower.
const (
	bootTime     = 200 * time.Millisecond // bootloader and kernel
	watchdogTime = 500 * time.Millisecond // from a panic to the reset
	restartTime  = 200 * time.Millisecond // from the end of otad to its next start
	shutdownTime = 5 * time.Second        // from SIGTERM to SIGKILL
	pollTime     = 50 * time.Millisecond  // how often init looks for a reboot request
	quickTime    = 2 * time.Second        // an otad that lives shorter has failed
	quickRestart = 5                      // so many quick failures in a row, and init gives up
)

// Box is a set-top box in a directory. Its methods may be called from any
// goroutine.
type Box struct {
	// Console gets the lines of bootloader, kernel and init; Log what otad
	// writes to standard error. Set them before PowerOn.
	Console func(line string)
	Log     io.Writer

	dir     string
	machine *sim.Machine

	mu    sync.Mutex
	otad  *exec.Cmd          // while it runs
	off   context.CancelFunc // while powered on
	ended chan struct{}      // closed when the machine stands still
}

// Open opens the box that [Create] made in dir. It is switched off.
func Open(dir string) (*Box, error) {
	machine, err := sim.NewMachine(durable.OS, dir)
	if err != nil {
		return nil, err
	}
	return &Box{Console: func(string) {}, Log: io.Discard, dir: dir, machine: machine}, nil
}

// Root is where the running system is mounted.
func (b *Box) Root() string { return filepath.Join(b.dir, "root") }

// ConfigFile is otad's configuration, which no update touches.
func (b *Box) ConfigFile() string { return filepath.Join(b.dir, "otad.toml") }

// Socket is otad's local door.
func (b *Box) Socket() string { return filepath.Join(b.dir, "otad.sock") }

// SlotPath is the image file of a slot.
func (b *Box) SlotPath(slot string) (string, error) { return b.machine.SlotPath(slot) }

// PowerOn switches the box on; it has no effect when it is on.
func (b *Box) PowerOn() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.off != nil {
		return
	}
	ctx, off := context.WithCancel(context.Background())
	b.off, b.ended = off, make(chan struct{})
	go func(ended chan struct{}) {
		defer close(ended)
		b.live(ctx)
	}(b.ended)
}

// PullPlug cuts the power: otad gets SIGKILL. It returns when nothing runs.
func (b *Box) PullPlug() {
	b.mu.Lock()
	off, ended := b.off, b.ended
	b.off = nil
	b.mu.Unlock()
	if off == nil {
		return
	}
	off()
	<-ended
	b.Console("power: off")
}

// KillAgent kills otad with SIGKILL, if it runs; init starts it again.
func (b *Box) KillAgent() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.otad != nil {
		kill(b.otad)
	}
}

// Ended is closed when the box, once on, stands still: the plug was pulled,
// or there is nothing left that it could start.
func (b *Box) Ended() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.ended
}

// live is the box from power on to power off: boot after boot.
func (b *Box) live(ctx context.Context) {
	ownThread() // otad dies with the thread that started it
	defer disownThread()
	b.say("power: on")
	for ctx.Err() == nil {
		slot, image, err := b.machine.PowerOn()
		if err != nil {
			b.say("bootloader: %v", err)
			return
		}
		b.say("bootloader: starting slot %s", slot)
		if !wait(ctx, bootTime) {
			return
		}
		if err := b.run(ctx, image); err != nil && ctx.Err() == nil {
			b.say("kernel: panic: %v", err)
			wait(ctx, watchdogTime)
			b.say("watchdog: reset")
		}
	}
}

// run mounts the image and runs its otad until the system asks for a reboot,
// the power goes (nil both), or the system is of no use.
func (b *Box) run(ctx context.Context, image string) error {
	if err := b.mount(image); err != nil {
		return err
	}
	for quick := 0; quick < quickRestart; quick++ {
		started := time.Now()
		ended, err := b.runAgent(ctx)
		if err != nil {
			return err
		}
		reason, err := b.machine.RebootRequested()
		if err != nil {
			return err
		}
		if ctx.Err() != nil {
			return nil
		}
		if reason != "" {
			b.say("init: rebooting: %s", reason)
			return nil
		}
		b.say("init: otad ended: %s; restarting", ended)
		if time.Since(started) > quickTime {
			quick = 0
		}
		wait(ctx, restartTime)
	}
	return errors.New("init: otad does not stay up")
}

func (b *Box) mount(image string) error {
	if err := os.RemoveAll(b.Root()); err != nil {
		return err
	}
	// A process that another goroutine forks now would hold otad open for
	// writing until it execs, and otad could not be started.
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	return rootfs.Unpack(image, b.Root())
}

// runAgent starts otad and returns how it ended. An error means that it
// cannot be started at all.
func (b *Box) runAgent(ctx context.Context) (ended string, err error) {
	cmd := exec.Command(filepath.Join(b.Root(), "usr/sbin/otad"), "run", "--config", b.ConfigFile())
	cmd.Dir = b.Root()
	cmd.Stdout, cmd.Stderr = b.Log, b.Log
	cmd.WaitDelay = time.Second // hooks that hold the pipe do not hold the box
	bindToParent(cmd)
	b.mu.Lock()
	err = cmd.Start()
	if err == nil {
		b.otad = cmd
	}
	b.mu.Unlock()
	if err != nil {
		return "", fmt.Errorf("no init: %w", err)
	}
	stopWatching := b.watch(ctx, cmd)
	err = cmd.Wait()
	stopWatching()
	b.mu.Lock()
	b.otad = nil
	kill(cmd) // what it left behind
	b.mu.Unlock()
	if err == nil {
		return "exit status 0", nil
	}
	return err.Error(), nil
}

// watch ends otad when the power goes, or when the system wants to reboot and
// otad does not end by itself. The function that it returns ends the watch.
func (b *Box) watch(ctx context.Context, cmd *exec.Cmd) (stop func()) {
	watching, cancel := context.WithCancel(ctx)
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		tick := time.NewTicker(pollTime)
		defer tick.Stop()
		var deadline time.Time
		for {
			select {
			case <-watching.Done():
				if ctx.Err() != nil {
					kill(cmd)
				}
				return
			case <-tick.C:
			}
			switch reason, _ := b.machine.RebootRequested(); {
			case reason == "":
			case deadline.IsZero():
				deadline = time.Now().Add(shutdownTime)
				terminate(cmd)
			case time.Now().After(deadline):
				kill(cmd)
			}
		}
	}()
	return func() { cancel(); <-stopped }
}

func (b *Box) say(format string, args ...any) { b.Console(fmt.Sprintf(format, args...)) }

// wait waits for d and returns true, or false as soon as ctx ends.
func wait(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
