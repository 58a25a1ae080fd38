package board

import "otad/ota/durable"

// pieceBytes is the unit of write-back. Two pieces are dirty or on their way at
// a time, and one block more: a recording next door neither waits for a flush of
// all that a box may have dirty, nor loses its pages to those of the slot.
const pieceBytes = 1 << 20

// behind follows the writer of a slot: the write-back of a piece starts when it
// is full, and the piece before it is waited for and leaves the page cache.
type behind struct {
	pages        durable.Pages // nil: the system does as it likes
	dirty, begun extent
}

// extent is a range that was written without a gap.
type extent struct{ off, length int64 }

// wrote takes note of a write.
func (b *behind) wrote(off, n int64) error {
	if b.pages == nil || n == 0 {
		return nil
	}
	if b.dirty.length > 0 && off != b.dirty.off+b.dirty.length { // what holds the same is skipped
		if err := b.turn(); err != nil {
			return err
		}
	}
	if b.dirty.length == 0 {
		b.dirty.off = off
	}
	if b.dirty.length += n; b.dirty.length < pieceBytes {
		return nil
	}
	return b.turn()
}

// turn starts the write-back of what is dirty and waits for the one before.
func (b *behind) turn() error {
	if err := b.pages.StartWrite(b.dirty.off, b.dirty.length); err != nil {
		return err
	}
	if b.begun.length > 0 { // a length of 0 would mean "to the end"
		if err := b.pages.Settle(b.begun.off, b.begun.length); err != nil {
			return err
		}
	}
	b.begun, b.dirty = b.dirty, extent{}
	return nil
}
