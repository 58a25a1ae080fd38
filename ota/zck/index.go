package zck

import (
	"encoding/binary"
	"errors"
	"io"
	"slices"
)

// Index says where in a source the chunks of an image are. It holds 16 bytes a
// chunk of the image, whatever the source is, and only the first bytes of each
// digest: what it finds must be held against the whole ([Header.Check]) when it
// is read, which also covers a source that has changed since.
type Index struct {
	header *Header
	keys   []uint64 // sorted; of all chunks of the image
	places []int64  // by key: in the source, or nowhere
}

const nowhere = -1

// NewIndex makes an empty index for the chunks of h.
func NewIndex(h *Header) *Index {
	x := &Index{header: h, keys: make([]uint64, 0, h.Len())}
	for _, c := range h.Chunks(0) {
		x.keys = append(x.keys, keyOf(c.Digest))
	}
	slices.Sort(x.keys)
	x.keys = slices.Compact(x.keys)
	x.places = slices.Repeat([]int64{nowhere}, len(x.keys))
	return x
}

func keyOf(digest []byte) uint64 { return binary.BigEndian.Uint64(digest) }

// Scan cuts a whole source and notes each chunk that the image also has. It
// takes as long as the source is: bound it to what can hold an image.
func (x *Index) Scan(source io.Reader, p Params) error {
	var sum [64]byte
	at := int64(0)
	for c := NewChunker(source, p); ; {
		chunk, err := c.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		x.Add(x.header.Digest.Append(sum[:0], chunk), at)
		at += int64(len(chunk))
	}
}

// Add notes that the chunk with this digest is at the offset of the source. It
// reports whether that is news: the image has the chunk, and no place was known.
func (x *Index) Add(digest []byte, offset int64) bool {
	i, found := slices.BinarySearch(x.keys, keyOf(digest))
	if !found || x.places[i] != nowhere {
		return false
	}
	x.places[i] = offset
	return true
}

// Find returns where in the source the chunk is said to be.
func (x *Index) Find(c Chunk) (offset int64, found bool) {
	i, found := slices.BinarySearch(x.keys, keyOf(c.Digest))
	if !found || x.places[i] == nowhere {
		return 0, false
	}
	return x.places[i], true
}

// Cost counts what a box with this source needs from elsewhere: bytes of the
// body, each chunk once although the image may hold it often, and the chunks.
func (x *Index) Cost() (bodyBytes int64, chunks int) {
	asked := make([]bool, len(x.keys))
	for _, c := range x.header.Chunks(0) {
		i, _ := slices.BinarySearch(x.keys, keyOf(c.Digest))
		if x.places[i] == nowhere && !asked[i] {
			asked[i] = true
			bodyBytes += int64(c.BodySize)
			chunks++
		}
	}
	return bodyBytes, chunks
}
