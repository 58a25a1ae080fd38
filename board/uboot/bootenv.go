package uboot

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"otad/board"
)

// notForOthers are variables by which a boot script of either style, U-Boot
// itself or a canary works. An artifact that sets them was made for a box where
// nobody else does.
var notForOthers = []string{
	orderVariable, trialVariable, canaryVariable,
	"bootcount", "bootlimit", "upgrade_available", "bootcmd", "altbootcmd",
	"mender_check_saveenv_canary", "mender_saveenv_canary",
}

// CheckVariable implements [board.Variables].
func (b *Board) CheckVariable(name string) error {
	slotVariable := ""
	if c, ok := b.script.(bootCount); ok {
		slotVariable = c.variable
	}
	left := strings.HasPrefix(name, "BOOT_") && strings.HasSuffix(name, "_LEFT")
	switch {
	case name == "" || strings.ContainsAny(name, "=\x00\n"):
		return fmt.Errorf("%w: %q is no name", board.ErrVariable, name)
	case left, slices.Contains(notForOthers, name), slotVariable != "" && (name == slotVariable || name == slotVariable+"_hex"):
		return fmt.Errorf("%w: U-Boot chooses the slot or counts its tries by %q, which otad sets itself", board.ErrVariable, name)
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
		if err := b.CheckVariable(c.Name); err != nil {
			return err
		}
	}
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
