package install

import (
	"context"
	"encoding"
	"encoding/base64"
	"io"
	"sync"

	"otad/ota"
	"otad/ota/swu"
)

// transfer moves one image into its target, in blocks that go round: one stage
// fetches and unpacks, one hashes, one writes and syncs. So a slow medium does
// not hold up the network, nor the network the medium, and memory is that of
// the blocks, whatever the image. Bytes reach the medium in their order, from
// one goroutine.
type transfer struct {
	job   work
	flow  *swu.Flow
	w     *blockWriter
	wrote func(b *block) error // called after each block, by the goroutine that writes
	// takenBytes tells how much of the artifact the flow took, and every how many
	// of them a mark is wanted; nil and 0 where nobody resumes.
	takenBytes func() int64
	markEvery  int64
	// interrupt ends a Read of the flow that waits for the network; may be nil.
	interrupt func()
}

// block is a piece of the image on its way.
type block struct {
	buf   []byte
	data  []byte // of buf
	taken int64  // bytes of the artifact that the flow had taken at its end
	// What is needed to go on behind it, where that is possible and wanted.
	marked        bool
	stored, plain int64
	hash          string
}

// transferBlocks is how many blocks go round: one for each stage. While the
// medium syncs, the two others and what is read ahead keep the network busy.
const transferBlocks = 3

// blockPool keeps the buffers from one image to the next.
var blockPool = sync.Pool{New: func() any { return &block{buf: make([]byte, blockBytes)} }}

// run returns when the last block was written, though not synced.
func (t *transfer) run(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	free, unpacked, hashed := make(chan *block, transferBlocks), make(chan *block, transferBlocks), make(chan *block, transferBlocks)
	for range transferBlocks {
		b := blockPool.Get().(*block)
		defer blockPool.Put(b)
		free <- b
	}
	var stages sync.WaitGroup
	stages.Go(func() {
		defer close(hashed)
		for b := range unpacked {
			t.hash(b)
			hashed <- b
		}
	})
	stages.Go(func() {
		for b := range hashed {
			if ctx.Err() == nil {
				if err := t.write(b); err != nil {
					cancel(err)
					if t.interrupt != nil {
						t.interrupt()
					}
				}
			}
			free <- b
		}
	})
	err := t.unpack(ctx, free, unpacked)
	close(unpacked)
	stages.Wait()
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return err
}

// unpack is the first stage.
func (t *transfer) unpack(ctx context.Context, free <-chan *block, unpacked chan<- *block) error {
	at, marked := t.w.done, int64(0)
	if t.takenBytes != nil {
		marked = t.takenBytes()
	}
	for {
		var b *block
		select {
		case b = <-free:
		case <-ctx.Done():
			return ctx.Err()
		}
		err := t.fill(ctx, b, int(blockBytes-at%blockBytes), marked)
		if err != nil && err != io.EOF {
			return artifactFault(err)
		}
		if at += int64(len(b.data)); at > t.w.slot.Size() {
			return tooLarge(t.job.image.Filename, at, t.w.slot.Size())
		}
		if b.marked {
			marked = b.taken
		}
		if len(b.data) > 0 {
			unpacked <- b // there is room for all blocks
		}
		if err == io.EOF {
			return nil
		}
	}
}

// fill reads up to n bytes, fewer where a mark is due and possible, or the
// image ends.
func (t *transfer) fill(ctx context.Context, b *block, n int, marked int64) error {
	b.data, b.marked = b.buf[:0], false
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		got, err := t.flow.Read(b.buf[len(b.data):n])
		b.data = b.buf[:len(b.data)+got]
		if t.takenBytes != nil {
			b.taken = t.takenBytes()
		}
		if err != nil {
			return err
		}
		full := len(b.data) == n
		if t.markEvery > 0 && b.taken-marked >= t.markEvery {
			// Stored bytes can be cut anywhere: at the end of the block is best.
			if b.stored, b.plain, b.marked = t.flow.Mark(); b.marked && (full || t.job.image.Compressed != "") {
				return nil
			}
			b.marked = false
		}
		if full {
			return nil
		}
	}
}

// hash is the second stage.
func (t *transfer) hash(b *block) {
	t.w.sum(b.data)
	if !b.marked {
		return
	}
	state, err := t.w.digest.(encoding.BinaryMarshaler).MarshalBinary()
	b.hash, b.marked = base64.StdEncoding.EncodeToString(state), err == nil
}

// write is the third stage.
func (t *transfer) write(b *block) error {
	if err := t.w.put(b.data); err != nil {
		return boardFault("write", err)
	}
	if b.marked && t.w.unsynced > 0 {
		if err := t.w.sync(); err != nil {
			return boardFault("sync", err)
		}
	}
	return t.wrote(b)
}

// goOn sets the writer to where an earlier transfer had come. False: the mark
// makes no sense, and the image is to be written from its start.
func (w *blockWriter) goOn(from ota.StreamPoint) bool {
	state, err := base64.StdEncoding.DecodeString(from.Hash)
	if err != nil || from.PlainBytes > w.slot.Size() || w.whole != nil ||
		w.digest.(encoding.BinaryUnmarshaler).UnmarshalBinary(state) != nil {
		w.digest.Reset()
		return false
	}
	w.done = from.PlainBytes
	return true
}
