package uboot

import "otad/board"

// Style names how the boot script counts tries.
type Style string

const (
	// BootOrder is the style of RAUC's boot script: BOOT_ORDER lists the slots,
	// BOOT_<slot>_LEFT says how often each may still be started.
	BootOrder Style = "boot-order"
	// BootCount is U-Boot's own: while upgrade_available is 1, each boot raises
	// bootcount, and past bootlimit altbootcmd goes back to the other slot. The
	// slot is in a variable of the integrator's choice.
	BootCount Style = "boot-count"
)

// script is the other half of a boot script: it says in variables what
// [board.BootControl] says in acts. Slots are called as the script calls them.
type script interface {
	// boot reads the variables; running is the slot that runs.
	boot(env variables, running string) (board.Boot, error)
	// sets tells whether arm of slot sets the variable of this name.
	sets(name, running, slot string) bool
	// The acts edit the variables; those to be written are written in one go.
	markUnbootable(env *variables, running, slot string) error
	arm(env *variables, running, slot string) error
	confirm(env *variables, running string) error
	reject(env *variables, running string) error
	// cameUp is told once a boot that the running slot brought otad up.
	cameUp(env *variables, running string) error
}
