package zck

import (
	"bytes"
	"fmt"

	"github.com/klauspost/compress/zstd"
)

// Decoder unpacks chunks of one file, one after the other. It holds what zstd
// needs; Close gives it back.
type Decoder struct {
	header *Header
	zstd   *zstd.Decoder // nil when nothing is packed
	sum    []byte
}

// NewDecoder makes a decoder for the chunks of h.
func (h *Header) NewDecoder() (*Decoder, error) {
	d := &Decoder{header: h, sum: make([]byte, 0, h.Digest.Bytes())}
	if !h.Packed {
		return d, nil
	}
	var err error
	d.zstd, err = zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
		zstd.WithDecodeAllCapLimit(true), zstd.WithDecoderMaxMemory(MaxChunkBytes), zstd.IgnoreChecksum(true))
	if err != nil {
		return nil, fmt.Errorf("cannot make a zstd decoder: %w", err)
	}
	return d, nil
}

// Decode returns the plain bytes of chunk c, of which body holds the bytes as
// they lie in the file, and has verified them: other bytes than the header's
// digests say are an error that wraps ErrDamaged. The result is in dst if that
// has room (its length does not matter), or in body itself if nothing is packed.
func (d *Decoder) Decode(dst []byte, c Chunk, body []byte) ([]byte, error) {
	if d.sum = d.header.Digest.Append(d.sum[:0], body); len(body) != c.BodySize || !bytes.Equal(d.sum, c.BodyDigest) {
		return nil, fmt.Errorf("cannot use chunk at %d: %w: it differs from the digest in the header", c.Offset, ErrDamaged)
	}
	if d.zstd == nil {
		return body, nil
	}
	if cap(dst) < c.Size {
		dst = make([]byte, 0, c.Size)
	}
	plain, err := d.zstd.DecodeAll(body, dst[:0:c.Size])
	if err != nil {
		return nil, fmt.Errorf("cannot unpack chunk at %d: %w: %w", c.Offset, ErrDamaged, err)
	}
	if !d.header.Check(c, plain) {
		return nil, fmt.Errorf("cannot use chunk at %d: %w: unpacked, it differs from the digest in the header", c.Offset, ErrDamaged)
	}
	return plain, nil
}

// Close gives back what the decoder holds.
func (d *Decoder) Close() {
	if d.zstd != nil {
		d.zstd.Close()
	}
}
