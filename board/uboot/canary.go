package uboot

import (
	"errors"
	"fmt"

	"otad/board"
)

const (
	canaryVariable = "otad_canary"
	canaryArgument = "otad.canary"
)

// checkCanary makes sure that the environment is the one the bootloader uses.
// If it reads another one (a wrong offset, a default built in), arming would
// do nothing, again and again.
func (b *Board) checkCanary(env variables) error {
	// Mender's canary goes the other way: U-Boot has saved a variable that we
	// read. It needs no option, since its scripts say that it is in use.
	if check, _ := env.get("mender_check_saveenv_canary"); check == "1" {
		if saved, _ := env.get("mender_saveenv_canary"); saved != "1" {
			return fmt.Errorf("%w: mender_saveenv_canary is not set, so U-Boot does not save the environment here", board.ErrEnvironment)
		}
	}
	if !b.canary {
		return nil
	}
	want, _ := env.get(canaryVariable)
	got, _, err := b.argument(canaryArgument)
	if err == nil && (want == "" || got != want) {
		err = errors.New("restart the box once; if this remains, U-Boot reads another environment, or its script does not pass " + canaryArgument)
	}
	if err != nil {
		return fmt.Errorf("%w: the bootloader has not shown that it reads %s=%s: %w", board.ErrEnvironment, canaryVariable, want, err)
	}
	return nil
}
