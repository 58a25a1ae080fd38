package boardtest

import (
	"bytes"
	"errors"
	"io"
	"slices"

	"otad/board"
)

func slotsStable(b *box) {
	first, err := b.Board.Slots(b.Context())
	b.do("Slots", err)
	for _, slot := range first {
		if slot.Name == "" || slot.Device == "" || slot.SizeBytes <= 0 {
			b.Errorf("slot lacks a member: %+v", slot)
		}
	}
	if first[0].Name == first[1].Name || first[0].Device == first[1].Device {
		b.Errorf("slots cannot be told apart: %+v", first)
	}
	same := func(when string) {
		again, err := b.Board.Slots(b.Context())
		b.do("Slots", err)
		if !slices.Equal(first, again) {
			b.Errorf("%s:\n got %+v\nwant %+v", when, again, first)
		}
	}
	same("asked again")
	b.arm(b.idle)
	same("with the second slot armed")
	b.powerOn()
	same("with the second slot running")
}

func idleSlotKeeps(b *box) {
	medium := b.open(b.idle)
	defer medium.Close()
	start := bytes.Repeat([]byte("start"), 1000)
	end := []byte("end")
	b.write(medium, start, 0)
	b.write(medium, end, medium.Size()-int64(len(end)))
	b.write(medium, []byte("START"), 5)
	copy(start[5:], "START")
	b.do("Sync", medium.Sync())
	b.do("DropCache", medium.DropCache())
	check := func(m board.Medium) {
		b.wantBytes(m, start, 0)
		b.wantBytes(m, end, m.Size()-int64(len(end)))
	}
	check(medium)
	b.do("Close", medium.Close())

	b.powerOn()
	again := b.open(b.idle)
	defer again.Close()
	check(again)
}

func slotBounds(b *box) {
	slots, err := b.Board.Slots(b.Context())
	b.do("Slots", err)
	for _, slot := range slots {
		medium := b.open(slot.Name)
		defer medium.Close()
		if medium.Size() != slot.SizeBytes {
			b.Errorf("slot %q: medium has %d bytes, Slots says %d", slot.Name, medium.Size(), slot.SizeBytes)
		}
		if n, err := medium.ReadAt(make([]byte, 2), slot.SizeBytes-1); n != 1 || !errors.Is(err, io.EOF) {
			b.Errorf("slot %q: reading over the end: got %d bytes and %v, want 1 and EOF", slot.Name, n, err)
		}
	}
	medium := b.open(b.idle)
	defer medium.Close()
	for _, off := range []int64{-1, medium.Size() - 1, medium.Size(), medium.Size() + 1<<20} {
		if _, err := medium.WriteAt([]byte("ab"), off); err == nil {
			b.Errorf("writing 2 bytes at %d of %d: got no error", off, medium.Size())
		}
	}
	b.do("Sync", medium.Sync())
	again := b.open(b.idle)
	defer again.Close()
	if again.Size() != slots[1].SizeBytes {
		b.Errorf("slot %q changed its size to %d", b.idle, again.Size())
	}
}

// activeReadOnly allows a driver to refuse a write or already to open the slot
// for one, as long as reading works and nothing changes.
func activeReadOnly(b *box) {
	medium := b.open(b.active)
	defer medium.Close()
	before := make([]byte, 512)
	_, err := medium.ReadAt(before, 0)
	b.do("ReadAt", err)
	if _, err := medium.WriteAt(bytes.Repeat([]byte{0xAA}, 512), 0); !errors.Is(err, board.ErrActiveSlot) {
		b.Errorf("writing the active slot: got %v, want ErrActiveSlot", err)
	}
	b.wantBytes(medium, before, 0)
}

// trialIsActive is the case that is easy to get wrong: on trial the running
// slot is not the permanent one, and yet it is the one not to be touched.
func trialIsActive(b *box) {
	b.arm(b.idle)
	b.powerOn()
	medium := b.open(b.idle)
	defer medium.Close()
	if _, err := medium.WriteAt([]byte("x"), 0); !errors.Is(err, board.ErrActiveSlot) {
		b.Errorf("writing the slot on trial: got %v, want ErrActiveSlot", err)
	}
	if err := b.Board.MarkUnbootable(b.Context(), b.idle); !errors.Is(err, board.ErrActiveSlot) {
		b.Errorf("marking the slot on trial: got %v, want ErrActiveSlot", err)
	}
	if err := b.Board.Arm(b.Context(), b.idle); !errors.Is(err, board.ErrActiveSlot) {
		b.Errorf("arming the slot on trial: got %v, want ErrActiveSlot", err)
	}
	b.runs(b.idle, true)
}

func (b *box) open(slot string) board.Medium {
	b.Helper()
	medium, err := b.Board.OpenSlot(b.Context(), slot)
	b.do("OpenSlot", err)
	return medium
}

func (b *box) write(m board.Medium, p []byte, off int64) {
	b.Helper()
	n, err := m.WriteAt(p, off)
	b.do("WriteAt", err)
	if n != len(p) {
		b.Fatalf("WriteAt: wrote %d of %d bytes without an error", n, len(p))
	}
}

func (b *box) wantBytes(m board.Medium, want []byte, off int64) {
	b.Helper()
	got := make([]byte, len(want))
	if _, err := m.ReadAt(got, off); err != nil && !errors.Is(err, io.EOF) {
		b.Fatalf("ReadAt %d: %v", off, err)
	}
	if !bytes.Equal(got, want) {
		b.Errorf("bytes at %d differ from what was written", off)
	}
}
