package hooks

import (
	"context"
	"fmt"

	"otad/board"
)

// Slots implements [board.SlotStore].
func (b *Board) Slots(context.Context) ([]board.Slot, error) {
	slots := make([]board.Slot, 0, len(b.slots))
	for _, s := range b.slots {
		size, err := board.FileSize(b.fs, s.Device)
		if err != nil {
			return nil, fmt.Errorf("cannot examine slot %q: %w", s.Name, err)
		}
		slots = append(slots, board.Slot{Name: s.Name, Device: s.Device, SizeBytes: size})
	}
	return slots, nil
}

// OpenSlot implements [board.SlotStore].
func (b *Board) OpenSlot(ctx context.Context, name string) (board.Medium, error) {
	slot, err := b.slot(name)
	if err != nil {
		return nil, err
	}
	boot, err := b.Current(ctx)
	if err != nil {
		return nil, err
	}
	m, err := board.OpenFile(b.fs, slot.Device, slot.Name == boot.Slot)
	if err != nil {
		return nil, fmt.Errorf("cannot open slot %q: %w", name, err)
	}
	return m, nil
}

func (b *Board) slot(name string) (Slot, error) {
	for _, s := range b.slots {
		if s.Name == name {
			return s, nil
		}
	}
	return Slot{}, fmt.Errorf("%w: %q", board.ErrUnknownSlot, name)
}
