package hooks

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"otad/board"
	"otad/ota/durable"
	"otad/ota/hook"
)

// current is the answer of the hook of that name.
type current struct {
	ID       string `json:"id"` // "" for the kernel's boot ID
	Slot     string `json:"slot"`
	Trial    bool   `json:"trial"`
	Next     string `json:"next"`
	Fallback string `json:"fallback"` // "" for none
}

// Current implements [board.BootControl].
func (b *Board) Current(ctx context.Context) (board.Boot, error) {
	var c current
	if err := b.ask(ctx, request{Act: actCurrent}, &c); err != nil {
		return board.Boot{}, fmt.Errorf("cannot tell which slot runs: %w", err)
	}
	for member, name := range map[string]string{"slot": c.Slot, "next": c.Next, "fallback": c.Fallback} {
		if _, err := b.Find(name); err != nil && (name != "" || member != "fallback") {
			return board.Boot{}, fmt.Errorf("cannot tell which slot runs: hook %q: %s: %w", actCurrent, member, err)
		}
	}
	if c.ID == "" {
		id, err := durable.ReadFile(b.fs, "/proc/sys/kernel/random/boot_id", 4096)
		if err != nil {
			return board.Boot{}, fmt.Errorf("cannot tell boots apart: %w", err)
		}
		c.ID = strings.TrimSpace(string(id))
	}
	return board.Boot(c), nil
}

// MarkUnbootable implements [board.BootControl].
func (b *Board) MarkUnbootable(ctx context.Context, slot string) error {
	if err := b.staged.Drop(); err != nil {
		return err
	}
	return b.changeIdle(ctx, request{Act: actMarkUnbootable, Slot: slot}, "mark unbootable")
}

// Arm implements [board.BootControl].
func (b *Board) Arm(ctx context.Context, slot string) error {
	variables, err := b.staged.For(slot)
	if err != nil {
		return err
	}
	if err := b.changeIdle(ctx, request{Act: actArm, Slot: slot, Variables: variables}, "arm"); err != nil {
		return err
	}
	return b.staged.Drop()
}

// changeIdle asks for an act on a slot that must not be the active one; that
// is not left to the hook.
func (b *Board) changeIdle(ctx context.Context, r request, verb string) error {
	if _, err := b.Find(r.Slot); err != nil {
		return err
	}
	boot, err := b.Current(ctx)
	if err != nil {
		return err
	}
	if boot.Slot == r.Slot {
		err = board.ErrActiveSlot
	} else {
		err = b.ask(ctx, r, nil)
	}
	if err != nil {
		return fmt.Errorf("cannot %s slot %q: %w", verb, r.Slot, err)
	}
	return nil
}

// Confirm implements [board.BootControl].
func (b *Board) Confirm(ctx context.Context) error {
	if err := b.ask(ctx, request{Act: actConfirm}, nil); err != nil {
		return fmt.Errorf("cannot confirm the active slot: %w", err)
	}
	return nil
}

// Reject implements [board.BootControl].
func (b *Board) Reject(ctx context.Context) error {
	if err := b.ask(ctx, request{Act: actReject}, nil); err != nil {
		return fmt.Errorf("cannot reject the active slot: %w", err)
	}
	return nil
}

// Reboot implements [board.Rebooter].
func (b *Board) Reboot(ctx context.Context, reason string) error {
	if err := b.ask(ctx, request{Act: actReboot, Reason: reason}, nil); err != nil {
		return fmt.Errorf("cannot restart the box: %w", err)
	}
	return nil
}

// Reason implements [board.Reasoner]; without the hook it is not known.
func (b *Board) Reason() (string, error) {
	var answer struct {
		Reason string `json:"reason"`
	}
	_, err := b.askOptional(context.Background(), request{Act: actReason}, &answer)
	return answer.Reason, err
}

// CheckVariable implements [board.Variables]: the hook knows which variables
// are an artifact's to set, and to what. Without it none is.
func (b *Board) CheckVariable(slot string, change board.Variable) error {
	if !b.has(actCheckVariable) {
		return fmt.Errorf("%w: this board has no hook %q", board.ErrVariable, actCheckVariable)
	}
	err := b.ask(context.Background(), request{Act: actCheckVariable, Slot: slot, Name: change.Name, Value: change.Value}, nil)
	if e := (*hook.Error)(nil); errors.As(err, &e) {
		return fmt.Errorf("%w: %w", board.ErrVariable, err)
	}
	return err
}

// StageVariables implements [board.Variables].
func (b *Board) StageVariables(_ context.Context, slot string, changes []board.Variable) error {
	if _, err := b.Find(slot); err != nil {
		return err
	}
	for _, c := range changes {
		if err := b.CheckVariable(slot, c); err != nil {
			return err
		}
	}
	return b.staged.Keep(slot, changes)
}
