// Package boardtest is the contract of package board as a test: every driver,
// simulated or not, passes [Run].
//
// The suite plays the system on the box; the harness plays everything else,
// above all the bootloader. It asks for nothing that a driver may decide for
// itself, so a failure here is a defect of the driver or of the bootloader's
// script, never a matter of taste.
package boardtest

import (
	"testing"

	"otad/board"
)

// Harness is a box with two slots that was just switched on for the first
// time: its first slot runs and is confirmed, the second one is idle.
type Harness struct {
	// Board is the driver, as the running system opened it.
	Board board.Board
	// PowerOn ends the running system without warning, does what the
	// bootloader does (count the tries, choose a slot) and returns the driver
	// as the next system opens it.
	PowerOn func() (board.Board, error)
	// Tries is how often the bootloader starts an armed slot.
	Tries int
	// Reason returns what the system that runs finds as the reason of the
	// last restart; nil when the board cannot keep one.
	Reason func() (string, error)
	// DamageEnv spoils the given copy, 0 or 1, of the boot environment; nil
	// when the board does not keep two.
	DamageEnv func(copy int) error
	// Variable returns what the bootloader reads of a variable, "" for one that
	// is not set; nil when it takes none.
	Variable func(name string) (string, error)
	// OwnVariables are some that no artifact may set.
	OwnVariables []string
	// Armed are changes that only repeat what arming the second slot sets, if
	// artifacts may bring such.
	Armed []board.Variable
}

// Run runs the suite. open makes a new box for each test, in its factory
// state; the tests run in parallel.
func Run(t *testing.T, open func(t *testing.T) Harness) {
	tests := []struct {
		name string
		run  func(*box)
	}{
		{"slots are declared in a stable order", slotsStable},
		{"a factory box is confirmed", factoryState},
		{"an idle slot keeps what was written", idleSlotKeeps},
		{"a slot ends where it ends", slotBounds},
		{"the active slot is read only", activeReadOnly},
		{"the active slot can be neither armed nor marked", activeProtected},
		{"an unknown slot is refused", unknownSlot},
		{"armed, tried, confirmed: stays", armConfirm},
		{"armed, never confirmed: falls back", armFallBack},
		{"arming again gives all tries back", armAgain},
		{"armed, rejected: old slot next", armReject},
		{"a marked slot is not started", markUnbootable},
		{"marking undoes arming", markUndoesArm},
		{"a marked slot can be armed", markThenArm},
		{"each act done twice is done once", idempotent},
		{"confirming a confirmed slot changes nothing", confirmConfirmed},
		{"a confirmed slot cannot be rejected", rejectConfirmed},
		{"a slot on trial is active", trialIsActive},
		{"there and back again", thereAndBack},
		{"boot IDs tell boots apart", bootIDs},
		{"the reason of a reboot is kept", rebootReason},
		{"variables count with the arming", variablesWithArming},
		{"variables are dropped with the update", variablesDropped},
		{"the bootloader's own variables are refused", variablesRefused},
		{"what repeats the arming is taken and left out", variablesRepeatArm},
		{"each slot has its parts", partsOfEachSlot},
		{"the parts of the active slot are read only", partsFollowTheirSlot},
		{"one damaged environment copy is survived", damagedOnce},
		{"two damaged copies are an error, not a brick", damagedTwice},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			test.run(newBox(t, open(t)))
		})
	}
}

// box is a harness with its board's slots looked up.
type box struct {
	*testing.T
	Harness
	active, idle string // the slots' names at the first boot
}

func newBox(t *testing.T, h Harness) *box {
	t.Helper()
	slots, err := h.Board.Slots(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(slots) != 2 {
		t.Fatalf("got %d slots, want 2", len(slots))
	}
	return &box{T: t, Harness: h, active: slots[0].Name, idle: slots[1].Name}
}

// do fails the test at once if an act failed.
func (b *box) do(act string, err error) {
	b.Helper()
	if err != nil {
		b.Fatalf("%s: %v", act, err)
	}
}

func (b *box) arm(slot string) { b.Helper(); b.do("Arm", b.Board.Arm(b.Context(), slot)) }
func (b *box) confirm()        { b.Helper(); b.do("Confirm", b.Board.Confirm(b.Context())) }
func (b *box) reject()         { b.Helper(); b.do("Reject", b.Board.Reject(b.Context())) }
func (b *box) mark(slot string) {
	b.Helper()
	b.do("MarkUnbootable", b.Board.MarkUnbootable(b.Context(), slot))
}
func (b *box) current() board.Boot { b.Helper(); return b.boot(b.Board) }

func (b *box) boot(driver board.Board) board.Boot {
	b.Helper()
	boot, err := driver.Current(b.Context())
	b.do("Current", err)
	return boot
}

func (b *box) powerOn() {
	b.Helper()
	next, err := b.PowerOn()
	b.do("PowerOn", err)
	b.Board = next
}

// want compares the boot, but for its ID.
func (b *box) want(slot string, trial bool, next, fallback string) {
	b.Helper()
	got := b.current()
	got.ID = ""
	if want := (board.Boot{Slot: slot, Trial: trial, Next: next, Fallback: fallback}); got != want {
		b.Fatalf("current boot:\n got %+v\nwant %+v", got, want)
	}
}

// runs checks which slot runs and whether on trial, and leaves the rest open.
func (b *box) runs(slot string, trial bool) {
	b.Helper()
	if got := b.current(); got.Slot != slot || got.Trial != trial {
		b.Fatalf("got slot %q running, trial %t; want %q, trial %t", got.Slot, got.Trial, slot, trial)
	}
}
