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
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"time"

	"otad/board"
	"otad/ota/durable"
	"otad/ota/hook"
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
)

var (
	required = []string{actCurrent, actMarkUnbootable, actArm, actConfirm, actReject, actReboot}
	optional = []string{actBusy, actHealth, actCheckVariable}
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
	Slot   string `json:"slot,omitempty"`   // mark-unbootable, arm
	Reason string `json:"reason,omitempty"` // reboot
	Name   string `json:"name,omitempty"`   // check-variable
	// Variables are what arm has to set in the same change.
	Variables []board.Variable `json:"variables,omitempty"`
}

// Board implements [board.Board], [board.Parts], [board.Variables],
// [board.Busy] and [board.Health].
type Board struct {
	board.Sets
	fs      durable.FS
	dir     string
	staged  board.Staged
	timeout time.Duration
	log     *slog.Logger
}

var (
	_ board.Board     = (*Board)(nil)
	_ board.Parts     = (*Board)(nil)
	_ board.Variables = (*Board)(nil)
	_ board.Busy      = (*Board)(nil)
	_ board.Health    = (*Board)(nil)
)

// Open checks that the hooks are there and what they say about the slots.
func Open(o Options) (*Board, error) {
	b := &Board{fs: o.FS, dir: o.Dir, timeout: o.Timeout, log: o.Log}
	if b.fs == nil {
		b.fs = durable.OS
	}
	b.staged = board.Staged{FS: b.fs, Path: o.Staged}
	b.Sets = board.Sets{FS: b.fs, Sets: slices.Clone(o.Slots), Active: func(ctx context.Context) (string, error) {
		boot, err := b.Current(ctx)
		return boot.Slot, err
	}}
	if b.timeout == 0 {
		b.timeout = 30 * time.Second
	}
	if b.log == nil {
		b.log = slog.Default()
	}
	if err := b.check(); err != nil {
		return nil, fmt.Errorf("cannot use the hooks in %q: %w", o.Dir, err)
	}
	return b, nil
}

func (b *Board) check() error {
	if !filepath.IsAbs(b.dir) {
		return errors.New("not an absolute path")
	}
	var errs []error
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
	return b.Check()
}

// checkHook refuses what anybody but the image's maker could have put there.
func (b *Board) checkHook(act string, must bool) error {
	info, err := os.Stat(filepath.Join(b.dir, act))
	switch {
	case errors.Is(err, fs.ErrNotExist) && !must:
		return nil
	case err != nil:
		return err
	case !info.Mode().IsRegular() || info.Mode()&0o111 == 0:
		return fmt.Errorf("%q is not an executable file", act)
	case info.Mode()&0o002 != 0:
		return fmt.Errorf("%q can be written by everybody", act)
	}
	return nil
}

// ask runs the hook of an act and reads its answer into answer, unless that is nil.
func (b *Board) ask(ctx context.Context, r request, answer any) error {
	r.V = 1
	var input bytes.Buffer
	encoder := json.NewEncoder(&input)
	encoder.SetEscapeHTML(false) // what a shell script reads is plain
	if err := encoder.Encode(r); err != nil {
		return fmt.Errorf("cannot ask hook %q: %w", r.Act, err)
	}
	if r.Act != actHealth {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, b.timeout)
		defer cancel()
	}
	result, err := hook.Run(ctx, filepath.Join(b.dir, r.Act), input.Bytes())
	if err != nil {
		return classed(err)
	}
	if result.Said != "" {
		b.log.Info("a hook said", "hook", r.Act, "text", result.Said)
	}
	if answer == nil {
		return nil
	}
	if err := decode(result.Answer, answer); err != nil {
		return fmt.Errorf("hook %q: cannot read its answer: %w", r.Act, err)
	}
	return nil
}

// decode reads one JSON value with members of the contract only, so that a
// typing error in a hook does not become a missing fact.
func decode(data []byte, value any) error {
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(value); err != nil {
		return err
	}
	if _, err := d.Token(); err != io.EOF {
		return errors.New("something follows the value")
	}
	return nil
}

// classed gives exit codes their meaning.
func classed(err error) error {
	var e *hook.Error
	if !errors.As(err, &e) {
		return err
	}
	switch e.Code {
	case exitNoFallback:
		return fmt.Errorf("%w: %w", board.ErrNoFallback, err)
	case exitEnvironment:
		return fmt.Errorf("%w: %w", board.ErrEnvironment, err)
	}
	return err
}
