package uboot

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"otad/board"
)

// notForOthers are variables by which a boot script of either style, U-Boot
// itself or a canary works.
var notForOthers = []string{
	orderVariable, trialVariable, canaryVariable,
	"bootcount", "bootlimit", "upgrade_available", "bootcmd", "altbootcmd",
	"mender_check_saveenv_canary", "mender_saveenv_canary",
}

// own tells whether a variable is one of them, or one of the boot script's.
func (b *Board) own(name string) bool {
	if c, ok := b.script.(bootCount); ok && (name == c.variable || name == c.variable+"_hex") {
		return true
	}
	left := strings.HasPrefix(name, "BOOT_") && strings.HasSuffix(name, "_LEFT")
	return left || slices.Contains(notForOthers, name)
}

// CheckVariable implements [board.Variables]. Artifacts that were made for
// SWUpdate arm their slot themselves: what they set for that is taken if it is
// what the boot script is told by Arm anyway.
func (b *Board) CheckVariable(slot string, change board.Variable) error {
	switch {
	case change.Name == "" || strings.ContainsAny(change.Name, "=\x00\n"):
		return fmt.Errorf("%w: %q is no name", board.ErrVariable, change.Name)
	case b.own(change.Name):
		return b.checkOwn(slot, change)
	}
	return nil
}

// checkOwn compares the change with what arming slot would write into the
// environment as it is now.
func (b *Board) checkOwn(name string, change board.Variable) error {
	slot, err := b.slot(name)
	if err != nil {
		return err
	}
	running, err := b.running()
	if err != nil {
		return err
	}
	if !b.script.sets(change.Name, running.BootName, slot.BootName) {
		return fmt.Errorf("%w: U-Boot chooses the slot or counts its tries by %q, which no artifact may set", board.ErrVariable, change.Name)
	}
	if slot.Name == running.Name {
		return nil // a rescue system will fill it, and compare then
	}
	env, err := b.store.read()
	if err != nil {
		return err
	}
	armed := slices.Clone(env.variables)
	if err := b.script.arm(&armed, running.BootName, slot.BootName); err != nil {
		return err
	}
	if want, ok := armed.get(change.Name); !ok || want != change.Value {
		return fmt.Errorf("%w: U-Boot chooses the slot or counts its tries by %q, which otad sets itself, to %q for slot %q; the artifact says %q",
			board.ErrVariable, change.Name, want, name, change.Value)
	}
	return nil
}

// StageVariables implements [board.Variables]. Changes for which the
// environment has no room are refused now, not when the slot is armed.
func (b *Board) StageVariables(_ context.Context, slot string, changes []board.Variable) error {
	if _, err := b.slot(slot); err != nil {
		return err
	}
	for _, c := range changes {
		if err := b.CheckVariable(slot, c); err != nil {
			return err
		}
	}
	changes = slices.DeleteFunc(slices.Clone(changes), func(c board.Variable) bool { return b.own(c.Name) })
	if len(changes) > 0 {
		env, err := b.store.read()
		if err != nil {
			return err
		}
		env.variables = slices.Clone(env.variables)
		env.change(changes)
		if _, err := b.store.encode(env); err != nil {
			return fmt.Errorf("cannot stage variables: %w", err)
		}
	}
	return b.staged.Keep(slot, changes)
}
