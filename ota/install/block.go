package install

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"hash"
	"io"
)

// blockWriter puts blocks into the slot one after the other, each at a
// multiple of the block size.
type blockWriter struct {
	slot      Slot
	skipEqual bool
	held      []byte    // what the slot holds, with skipEqual
	digest    hash.Hash // of what was written
	whole     hash.Hash // of the slot from its start; nil without an offset
	done      int64
	unsynced  int64
	syncEvery int64
}

// newBlockWriter begins at an offset of the slot.
func newBlockWriter(slot Slot, offset int64, skipEqual bool) (*blockWriter, error) {
	w := &blockWriter{slot: slot, skipEqual: skipEqual, digest: sha256.New(), done: offset, syncEvery: pacedBytes}
	if skipEqual {
		w.held = make([]byte, blockBytes)
	}
	if offset == 0 {
		return w, nil
	}
	// What the slot holds before the offset belongs to what is read back.
	w.whole = sha256.New()
	_, err := io.CopyBuffer(w.whole, io.NewSectionReader(slot, 0, offset), make([]byte, blockBytes))
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, boardFault("read", err)
	}
	return w, nil
}

// pacedBytes bounds the dirty pages of a slot that does not do so by itself, and
// what an interrupted install has to write again.
const pacedBytes = 16 << 20

// sum takes data into the digests.
func (w *blockWriter) sum(data []byte) {
	w.digest.Write(data)
	if w.whole != nil {
		w.whole.Write(data)
	}
}

// put writes data at the current place.
func (w *blockWriter) put(data []byte) error {
	n := len(data)
	if !w.equal(data) {
		if _, err := w.slot.WriteAt(data, w.done); err != nil {
			return err
		}
		w.unsynced += int64(n)
	}
	w.done += int64(n)
	if w.unsynced < w.syncEvery {
		return nil
	}
	return w.sync()
}

// sync returns when all that was put is on the medium.
func (w *blockWriter) sync() error {
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

// sha256 is of the slot up to the last byte written.
func (w *blockWriter) sha256() string {
	if w.whole != nil {
		return hex.EncodeToString(w.whole.Sum(nil))
	}
	return hex.EncodeToString(w.digest.Sum(nil))
}
