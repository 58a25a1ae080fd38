package hooks

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"otad/board"
	"otad/ota/durable"
)

// Slots implements [board.SlotStore].
func (b *Board) Slots(context.Context) ([]board.Slot, error) {
	slots := make([]board.Slot, 0, len(b.slots))
	for _, s := range b.slots {
		m, err := b.openMedium(s, true)
		if err != nil {
			return nil, err
		}
		slots = append(slots, board.Slot{Name: s.Name, Device: s.Device, SizeBytes: m.size})
		if err := m.Close(); err != nil {
			return nil, fmt.Errorf("cannot examine slot %q: %w", s.Name, err)
		}
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
	m, err := b.openMedium(slot, slot.Name == boot.Slot)
	if err != nil {
		return nil, err
	}
	return m, nil
}

func (b *Board) openMedium(s Slot, readOnly bool) (*medium, error) {
	flag := os.O_RDWR
	if readOnly {
		flag = os.O_RDONLY
	}
	f, err := b.fs.OpenFile(s.Device, flag, 0)
	if err != nil {
		return nil, fmt.Errorf("cannot open slot %q: %w", s.Name, err)
	}
	size, err := f.Seek(0, io.SeekEnd) // a block device has no size in Stat
	if err != nil {
		return nil, errors.Join(fmt.Errorf("cannot examine slot %q: %w", s.Name, err), f.Close())
	}
	return &medium{File: f, size: size, active: readOnly}, nil
}

// medium is an open slot.
type medium struct {
	durable.File
	size   int64
	active bool
}

// Size implements [board.Medium].
func (m *medium) Size() int64 { return m.size }

// WriteAt refuses the active slot, and to make a slot in a file longer.
func (m *medium) WriteAt(p []byte, off int64) (int, error) {
	if m.active {
		return 0, fmt.Errorf("cannot write %q: %w", m.Name(), board.ErrActiveSlot)
	}
	if off < 0 || off > m.size-int64(len(p)) {
		return 0, fmt.Errorf("cannot write %q: %d bytes at %d pass its end at %d", m.Name(), len(p), off, m.size)
	}
	return m.File.WriteAt(p, off)
}

func (b *Board) slot(name string) (Slot, error) {
	for _, s := range b.slots {
		if s.Name == name {
			return s, nil
		}
	}
	return Slot{}, fmt.Errorf("%w: %q", board.ErrUnknownSlot, name)
}
