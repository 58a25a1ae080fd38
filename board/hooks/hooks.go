// Package hooks drives any box for which somebody wrote a handful of
// executables: one for each act, JSON in on standard input, JSON out on
// standard output. docs/boards.md has the contract; testdata/hooks in the root
// of the tree is a set to start from.
//
// The slots themselves are opened by otad: hooks only say which devices they
// are, so that no image ever passes through a hook.
//
// Trust: hooks are part of the image. They run with otad's rights, one at a
// time, within the bounds of package hook.
//
// Assumption about a crash: an act whose hook ended with 0 survives a power cut
// at the next instant. A hook that was killed at its deadline may have acted or
// not; every act can be repeated.
package hooks

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"otad/board"
	"otad/ota/durable"
)

// Options describe the box.
type Options struct {
	FS  durable.FS // slots are opened through it; durable.OS when nil
	Dir string     // where the executables are
	// Slots are the declared slots, two at least; empty to ask the hook `slots`.
	Slots []board.Set
	// Staged is the file in which the variables of an artifact wait for the
	// arming, on a file system that all slots share.
	Staged string
	// Timeout is how long a hook may take; 30 seconds when 0. The time for
	// `health` is the caller's.
	Timeout time.Duration
	Log     *slog.Logger // slog.Default() when nil
}

// The acts, which are the names of the executables.
const (
	actSlots          = "slots"
	actCurrent        = "current"
	actMarkUnbootable = "mark-unbootable"
	actArm            = "arm"
	actConfirm        = "confirm"
	actReject         = "reject"
	actReboot         = "reboot"
	actBusy           = "busy"           // optional
	actHealth         = "health"         // optional
	actCheckVariable  = "check-variable" // optional
	actReason         = "reboot-reason"  // optional
	// The powers of a box that is in use, all of them optional.
	actReady   = "ready"
	actMetered = "metered"
	actPrompt  = "prompt"
	actDisplay = "display"
)

var (
	required = []string{actCurrent, actMarkUnbootable, actArm, actConfirm, actReject, actReboot}
	optional = []string{actCheckVariable, actReason}
	powers   = []string{actBusy, actHealth, actReady, actMetered, actPrompt, actDisplay}
)

// Exit codes that mean more than "failed".
const (
	exitNoFallback  = 3 // board.ErrNoFallback
	exitEnvironment = 4 // board.ErrEnvironment
)

// request is what a hook reads.
type request struct {
	V      int    `json:"v"` // the version of the contract: 1
	Act    string `json:"act"`
	Slot   string `json:"slot,omitempty"`   // mark-unbootable, arm, check-variable
	Reason string `json:"reason,omitempty"` // reboot
	Name   string `json:"name,omitempty"`   // check-variable
	Value  string `json:"value,omitempty"`  // check-variable; none: to be unset
	// Variables are what arm has to set in the same change.
	Variables []board.Variable `json:"variables,omitempty"`
	*question
	*screen
}

// Board implements [board.Board], [board.Parts], [board.Variables] and, by
// its [Powers], all that is optional.
type Board struct {
	board.Sets
	Powers
	fs     durable.FS
	staged board.Staged
}

var (
	_ board.Board     = (*Board)(nil)
	_ board.Parts     = (*Board)(nil)
	_ board.Variables = (*Board)(nil)
	_ board.Reasoner  = (*Board)(nil)
)

// Open checks that the hooks are there and what they say about the slots.
func Open(o Options) (*Board, error) {
	b := &Board{Powers: newPowers(o), fs: o.FS}
	if b.fs == nil {
		b.fs = durable.OS
	}
	b.staged = board.Staged{FS: b.fs, Path: o.Staged}
	b.Sets = board.Sets{FS: b.fs, Sets: slices.Clone(o.Slots), Active: func(ctx context.Context) (string, error) {
		boot, err := b.Current(ctx)
		return boot.Slot, err
	}}
	if err := b.check(); err != nil {
		return nil, fmt.Errorf("cannot use the hooks in %q: %w", o.Dir, err)
	}
	return b, nil
}

func (b *Board) check() error {
	errs := []error{b.Powers.check()}
	for _, act := range required {
		errs = append(errs, b.checkHook(act, true))
	}
	for _, act := range optional {
		errs = append(errs, b.checkHook(act, false))
	}
	if len(b.Sets.Sets) == 0 {
		errs = append(errs, b.checkHook(actSlots, true))
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	if len(b.Sets.Sets) == 0 {
		if err := b.ask(context.Background(), request{Act: actSlots}, &b.Sets.Sets); err != nil {
			return err
		}
	}
	return b.Sets.Check()
}
