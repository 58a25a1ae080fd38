// Package board is the contract between otad and a piece of hardware: who it
// is, which slots it has, which one runs and which one is tried next.
//
// A driver does one hardware act per call and decides nothing. The board is
// the truth about which slot runs: otad asks it at every start and believes
// it over its own journal. Every driver passes the suite in boardtest.
//
// Assumptions: one process uses a board at a time (otad holds a lock); an act
// that returned nil survives a power cut at the next instant.
package board

import (
	"context"
	"errors"
	"io"
)

// Board is all that otad needs of a piece of hardware. Further powers are the
// optional interfaces [Parts], [Variables], [Busy] and [Health].
type Board interface {
	SlotStore
	BootControl
	Rebooter
}

// SlotStore gives access to the copies of the system.
type SlotStore interface {
	// Slots lists the declared slots, always in the same order. The first one
	// is `copy1` of an artifact with software sets, the second one `copy2`.
	Slots(ctx context.Context) ([]Slot, error)
	// OpenSlot opens a slot for reading and writing. Opening the active slot
	// for writing is refused with ErrActiveSlot.
	OpenSlot(ctx context.Context, name string) (Medium, error)
}

// Slot is one copy of the system.
type Slot struct {
	Name      string // "a"
	Device    string // how an artifact's description may call it: "/dev/mmcblk0p2"
	SizeBytes int64
}

// Parts is the optional power of slots that are a set of several media: the
// kernel's partition beside that of the root file system. A set is marked and
// armed as one, by the name of its slot.
type Parts interface {
	// Parts lists the further media of a slot, in the same order and with the
	// same names for each slot; none if the slot is a single medium.
	Parts(ctx context.Context, slot string) ([]Slot, error)
	// OpenPart opens one of them as [SlotStore.OpenSlot] opens the slot.
	OpenPart(ctx context.Context, slot, part string) (Medium, error)
}

// Medium is an open slot. Offsets are from the start of the slot.
type Medium interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	// Size is the capacity in bytes.
	Size() int64
	// Sync returns when all that was written is on the medium itself, past
	// every volatile cache that can be flushed.
	Sync() error
	// DropCache makes the next reads come from the medium and not from memory.
	// Best effort: on a medium without a cache it does nothing.
	DropCache() error
}

// BootControl is the bootloader's side of A/B.
type BootControl interface {
	// Current tells which slot runs, and whether it runs on trial.
	Current(ctx context.Context) (Boot, error)
	// MarkUnbootable forbids the bootloader to start an idle slot, before it
	// is overwritten. Refused for the active slot with ErrActiveSlot.
	MarkUnbootable(ctx context.Context, slot string) error
	// Arm makes the bootloader try slot at the next boot, a bounded number of
	// times, and fall back to the active one unless it is confirmed. It is one
	// atomic write of the boot environment. Arming an armed slot gives it its
	// full number of tries again.
	Arm(ctx context.Context, slot string) error
	// Confirm makes the active slot the permanent choice. Confirming a
	// confirmed slot changes nothing.
	Confirm(ctx context.Context) error
	// Reject gives up the active, unconfirmed slot: at the next boot the
	// bootloader starts the other one. With no other bootable slot it is
	// refused with ErrNoFallback.
	Reject(ctx context.Context) error
}

// Boot is what the bootloader did and will do.
type Boot struct {
	// ID is the same as long as the system runs and differs between any two
	// boots of the box.
	ID    string
	Slot  string // the slot that runs now
	Trial bool   // it runs on trial: not confirmed
	Next  string // the slot that the bootloader will start next
	// Fallback is the slot it will start when Next has used up its tries;
	// empty when there is none.
	Fallback string
}

// Variables is the optional power to set variables of the bootloader in the
// very write that arms a slot: never without it, and never some of them.
type Variables interface {
	// CheckVariable refuses with ErrVariable a change, made for slot, that is not
	// for others to make: above all of what the bootloader chooses the slot or
	// counts its tries by. An artifact may repeat what Arm of slot sets itself,
	// with that very value. Other errors: it cannot be told now.
	CheckVariable(slot string, change Variable) error
	// StageVariables keeps changes for the next Arm of slot, durably and in
	// place of all staged before. Arm of this slot makes them count; Arm of
	// another one and any MarkUnbootable drop them, and so does an empty list.
	// What only repeats Arm is not kept.
	StageVariables(ctx context.Context, slot string, changes []Variable) error
}

// Variable is a change: an empty value unsets the name.
type Variable struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// Rebooter restarts the box.
type Rebooter interface {
	// Reboot asks for a restart and gives the reason, which the driver keeps
	// where the next system can find it. It returns nil when the request was
	// taken: the caller stops work and waits to be ended.
	Reboot(ctx context.Context, reason string) error
}

// Busy is the optional power to know that somebody watches or records.
type Busy interface {
	// Busy returns why the box must not be disturbed now ("recording"), or ""
	// when nobody would notice.
	Busy(ctx context.Context) (reason string, err error)
}

// Health is the optional power to judge a system on trial beyond what otad
// checks by itself.
type Health interface {
	// Health returns nil when the running system works, an error that says
	// what does not otherwise. The context carries the deadline.
	Health(ctx context.Context) error
}

// Sentinels that callers branch on.
var (
	// ErrActiveSlot: the act would touch the slot that runs.
	ErrActiveSlot = errors.New("board: the slot is active")
	// ErrUnknownSlot: the board declares no slot, or no part, of this name.
	ErrUnknownSlot = errors.New("board: no such slot")
	// ErrNoFallback: there is no other bootable slot to go back to.
	ErrNoFallback = errors.New("board: no bootable slot to fall back to")
	// ErrVariable: the variable is not for others to set.
	ErrVariable = errors.New("board: not a variable for artifacts")
	// ErrEnvironment: the boot environment cannot be trusted or written.
	ErrEnvironment = errors.New("board: boot environment unusable")
)
