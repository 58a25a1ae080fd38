package install

import (
	"bytes"
	"hash"
)

// blockWriter puts blocks into the slot one after the other, each at a
// multiple of the block size.
type blockWriter struct {
	slot      Slot
	skipEqual bool
	block     []byte    // filled by the caller
	held      []byte    // what the slot holds, with skipEqual
	digest    hash.Hash // of what was written
	whole     hash.Hash // of the slot from its start; nil without an offset
	done      int64
	unsynced  int64
}

// pacedBytes bounds the dirty pages: the medium takes them in steady portions
// and playback keeps its memory.
const pacedBytes = 16 << 20

// write puts the first n bytes of the block at the current place.
func (w *blockWriter) write(n int) error {
	if n == 0 {
		return nil
	}
	data := w.block[:n]
	w.digest.Write(data)
	if w.whole != nil {
		w.whole.Write(data)
	}
	if !w.equal(data) {
		if _, err := w.slot.WriteAt(data, w.done); err != nil {
			return err
		}
		w.unsynced += int64(n)
	}
	w.done += int64(n)
	if w.unsynced < pacedBytes {
		return nil
	}
	w.unsynced = 0
	if err := w.slot.Sync(); err != nil {
		return err
	}
	return w.slot.DropCache()
}

// equal tells whether the slot holds data already. A slot that cannot be read
// is written.
func (w *blockWriter) equal(data []byte) bool {
	if !w.skipEqual {
		return false
	}
	held := w.held[:len(data)]
	n, _ := w.slot.ReadAt(held, w.done)
	return n == len(data) && bytes.Equal(held, data)
}
