package uboot

import (
	"context"
	"fmt"

	"otad/board"
)

// Slots implements [board.SlotStore].
func (b *Board) Slots(context.Context) ([]board.Slot, error) {
	slots := make([]board.Slot, 0, len(b.slots))
	for _, s := range b.slots {
		size, err := board.FileSize(b.fs, b.path(s.Device))
		if err != nil {
			return nil, fmt.Errorf("cannot examine slot %q: %w", s.Name, err)
		}
		slots = append(slots, board.Slot{Name: s.Name, Device: s.Device, SizeBytes: size})
	}
	return slots, nil
}

// OpenSlot implements [board.SlotStore].
func (b *Board) OpenSlot(_ context.Context, name string) (board.Medium, error) {
	slot, err := b.slot(name)
	if err != nil {
		return nil, err
	}
	running, err := b.running()
	if err != nil {
		return nil, err
	}
	m, err := board.OpenFile(b.fs, b.path(slot.Device), slot == running)
	if err != nil {
		return nil, fmt.Errorf("cannot open slot %q: %w", name, err)
	}
	return m, nil
}
