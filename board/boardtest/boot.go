package boardtest

import (
	"errors"

	"otad/board"
)

func factoryState(b *box) {
	b.want(b.active, false, b.active, "")
	b.powerOn()
	b.want(b.active, false, b.active, "")
}

func activeProtected(b *box) {
	if err := b.Board.Arm(b.Context(), b.active); !errors.Is(err, board.ErrActiveSlot) {
		b.Errorf("arming the active slot: got %v, want ErrActiveSlot", err)
	}
	if err := b.Board.MarkUnbootable(b.Context(), b.active); !errors.Is(err, board.ErrActiveSlot) {
		b.Errorf("marking the active slot: got %v, want ErrActiveSlot", err)
	}
	b.want(b.active, false, b.active, "")
}

func unknownSlot(b *box) {
	for _, slot := range []string{"", "no-such-slot", "../" + b.idle} {
		_, err := b.Board.OpenSlot(b.Context(), slot)
		for act, err := range map[string]error{
			"OpenSlot":       err,
			"Arm":            b.Board.Arm(b.Context(), slot),
			"MarkUnbootable": b.Board.MarkUnbootable(b.Context(), slot),
		} {
			if !errors.Is(err, board.ErrUnknownSlot) {
				b.Errorf("%s %q: got %v, want ErrUnknownSlot", act, slot, err)
			}
		}
	}
	b.want(b.active, false, b.active, "")
}

func armConfirm(b *box) {
	b.arm(b.idle)
	b.want(b.active, false, b.idle, b.active)
	b.powerOn()
	b.runs(b.idle, true)
	b.confirm()
	b.want(b.idle, false, b.idle, "")
	for range b.Tries + 2 {
		b.powerOn()
		b.want(b.idle, false, b.idle, "")
	}
}

func armFallBack(b *box) {
	b.arm(b.idle)
	for range b.Tries {
		b.powerOn()
		b.runs(b.idle, true)
	}
	for range 2 {
		b.powerOn()
		b.want(b.active, false, b.active, "")
	}
}

func armAgain(b *box) {
	b.arm(b.idle)
	for range b.Tries + 1 {
		b.powerOn()
	}
	b.runs(b.active, false)
	b.arm(b.idle)
	b.arm(b.idle)
	for range b.Tries {
		b.powerOn()
		b.runs(b.idle, true)
	}
	b.powerOn()
	b.runs(b.active, false)
}

func armReject(b *box) {
	b.arm(b.idle)
	b.powerOn()
	b.reject()
	if got := b.current(); got.Slot != b.idle || got.Next != b.active {
		b.Errorf("after Reject: got %+v, want %q next", got, b.active)
	}
	for range 2 {
		b.powerOn()
		b.want(b.active, false, b.active, "")
	}
}

func markUnbootable(b *box) {
	b.mark(b.idle)
	b.want(b.active, false, b.active, "")
	b.powerOn()
	b.want(b.active, false, b.active, "")
}

func markUndoesArm(b *box) {
	b.arm(b.idle)
	b.mark(b.idle)
	b.want(b.active, false, b.active, "")
	b.powerOn()
	b.runs(b.active, false)
}

func markThenArm(b *box) {
	b.mark(b.idle)
	b.arm(b.idle)
	b.want(b.active, false, b.idle, b.active)
	b.powerOn()
	b.runs(b.idle, true)
	b.confirm()
	b.powerOn()
	b.want(b.idle, false, b.idle, "")
}

func idempotent(b *box) {
	twice := func(act string, do func() error) {
		b.Helper()
		b.do(act, do())
		once := b.current()
		b.do(act+" again", do())
		if got := b.current(); got != once {
			b.Errorf("%s twice:\n got %+v\nwant %+v", act, got, once)
		}
	}
	twice("MarkUnbootable", func() error { return b.Board.MarkUnbootable(b.Context(), b.idle) })
	twice("Arm", func() error { return b.Board.Arm(b.Context(), b.idle) })
	b.powerOn()
	twice("Reject", func() error { return b.Board.Reject(b.Context()) })
	b.powerOn()
	b.arm(b.idle)
	b.powerOn()
	twice("Confirm", func() error { return b.Board.Confirm(b.Context()) })
	twice("Reboot", func() error { return b.Board.Reboot(b.Context(), "test") })
	b.want(b.idle, false, b.idle, "")
}

func confirmConfirmed(b *box) {
	b.confirm()
	b.want(b.active, false, b.active, "")
	// Above all it does not disarm the other slot.
	b.arm(b.idle)
	b.confirm()
	b.want(b.active, false, b.idle, b.active)
	b.powerOn()
	b.runs(b.idle, true)
}

func rejectConfirmed(b *box) {
	if err := b.Board.Reject(b.Context()); !errors.Is(err, board.ErrNoFallback) {
		b.Errorf("rejecting a confirmed slot: got %v, want ErrNoFallback", err)
	}
	b.powerOn()
	b.want(b.active, false, b.active, "")
}

func thereAndBack(b *box) {
	at, other := b.active, b.idle
	for range 4 {
		b.mark(other)
		b.arm(other)
		b.powerOn()
		b.runs(other, true)
		b.confirm()
		at, other = other, at
		b.want(at, false, at, "")
	}
	// A fall-back works in this direction, too.
	b.arm(b.idle)
	b.powerOn()
	b.reject()
	b.powerOn()
	b.want(b.active, false, b.active, "")
}

func bootIDs(b *box) {
	seen := make(map[string]bool)
	for range 4 {
		id := b.current().ID
		if id == "" {
			b.Fatal("boot ID is empty")
		}
		if seen[id] {
			b.Fatalf("boot ID %q came back", id)
		}
		seen[id] = true
		b.arm(b.idle)
		b.do("Reboot", b.Board.Reboot(b.Context(), "not yet"))
		if again := b.current().ID; again != id {
			b.Fatalf("boot ID changed from %q to %q while the system ran", id, again)
		}
		b.mark(b.idle)
		b.powerOn()
	}
}

func rebootReason(b *box) {
	if b.Reason == nil {
		b.Skip("the board keeps no reason")
	}
	b.do("Reboot", b.Board.Reboot(b.Context(), "update 42"))
	b.powerOn()
	reason, err := b.Reason()
	b.do("Reason", err)
	if reason != "update 42" {
		b.Errorf("got reason %q, want %q", reason, "update 42")
	}
	b.powerOn()
	if reason, err = b.Reason(); err != nil || reason == "update 42" {
		b.Errorf("after a power cut: got reason %q and %v, want another one", reason, err)
	}
}

// damagedOnce spoils either copy at each step of an update. The newer copy
// takes its step with it, so the box may be one act behind, never elsewhere.
func damagedOnce(b *box) {
	if b.DamageEnv == nil {
		b.Skip("the board keeps no second copy")
	}
	for copy := range 2 {
		b.do("DamageEnv", b.DamageEnv(copy))
		b.runs(b.active, false)
		b.mark(b.idle)
		b.arm(b.idle)
		b.do("DamageEnv", b.DamageEnv(copy))
		b.powerOn()
		if got := b.current(); got.Slot == b.idle {
			b.reject()
			b.powerOn()
		}
		b.want(b.active, false, b.active, "")
	}
}

func damagedTwice(b *box) {
	if b.DamageEnv == nil {
		b.Skip("the board keeps no second copy")
	}
	b.do("DamageEnv", b.DamageEnv(0))
	b.do("DamageEnv", b.DamageEnv(1))
	_, err := b.Board.Current(b.Context())
	for act, err := range map[string]error{
		"Current":        err,
		"Arm":            b.Board.Arm(b.Context(), b.idle),
		"MarkUnbootable": b.Board.MarkUnbootable(b.Context(), b.idle),
	} {
		if !errors.Is(err, board.ErrEnvironment) {
			b.Errorf("%s: got %v, want ErrEnvironment", act, err)
		}
	}
	b.powerOn()
	b.runs(b.active, false)
}
