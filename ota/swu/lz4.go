package swu

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/bits"
)

// This file reads the LZ4 frame format, version 1.6.4, which is small enough
// to own. The library for it takes a frame that is cut between two blocks for a
// whole one.

const (
	lz4Magic       = 0x184d2204
	lz4Skippable   = 0x184d2a50 // and the 15 numbers behind it
	lz4WindowBytes = 64 << 10
)

// The bits of a frame's flags.
const (
	lz4HasDictionary = 1 << 0
	lz4HasContentSum = 1 << 2
	lz4HasSize       = 1 << 3
	lz4HasBlockSums  = 1 << 4
	lz4Version       = 1 << 6 // of two bits
)

var (
	errLZ4Frame = errors.New("lz4: no frame header")
	errLZ4Block = errors.New("lz4: a block is malformed")
)

// lz4Reader decodes frames one after the other. It holds one block, of at most
// 4 MiB, as it is stored and as it is plain, with the window before it.
type lz4Reader struct {
	r      *bufio.Reader
	flags  byte
	block  int    // the largest block of the frame, 0 between frames
	stored []byte // the block as it is stored
	window []byte // the last bytes of the frame, then the block
	plain  []byte // of the block, not yet read; in window
	sum    xxh32
}

func newLZ4Reader(r io.Reader) (*lz4Reader, error) {
	z := &lz4Reader{r: bufio.NewReader(r)}
	return z, unexpected(z.frame())
}

func (z *lz4Reader) Read(p []byte) (int, error) {
	for len(z.plain) == 0 && len(p) > 0 {
		if z.block == 0 {
			if err := z.frame(); err != nil {
				return 0, err // io.EOF where a frame would begin is the end
			}
			continue
		}
		if err := z.nextBlock(); err != nil {
			return 0, unexpected(err)
		}
	}
	n := copy(p, z.plain)
	z.plain = z.plain[n:]
	return n, nil
}

func (z *lz4Reader) number() (uint32, error) {
	var b [4]byte
	_, err := io.ReadFull(z.r, b[:])
	return binary.LittleEndian.Uint32(b[:]), err
}

// frame reads a frame's header; io.EOF if nothing is there.
func (z *lz4Reader) frame() error {
	magic, err := z.number()
	if err != nil {
		return err
	}
	if magic&^15 == lz4Skippable {
		n, err := z.number()
		if err == nil {
			_, err = io.CopyN(io.Discard, z.r, int64(n))
		}
		return unexpected(err)
	}
	if magic != lz4Magic {
		return errLZ4Frame
	}
	header := make([]byte, 2, 15)
	if _, err := io.ReadFull(z.r, header); err != nil {
		return unexpected(err)
	}
	z.flags = header[0]
	more := 1 // the header's check
	if z.flags&lz4HasSize != 0 {
		more += 8
	}
	header = header[:2+more]
	if _, err := io.ReadFull(z.r, header[2:]); err != nil {
		return unexpected(err)
	}
	body, check := header[:len(header)-1], header[len(header)-1]
	size := header[1] >> 4 & 7
	if z.flags>>6 != lz4Version>>6 || z.flags&2 != 0 || header[1]&0x8f != 0 || size < 4 || byte(xxh32Of(body)>>8) != check {
		return errLZ4Frame
	}
	if z.flags&lz4HasDictionary != 0 {
		return errors.New("lz4: the frame needs a dictionary")
	}
	z.block = 1 << (8 + 2*uint(size))
	z.window, z.plain = z.window[:0], nil // blocks never look into another frame
	z.sum = newXXH32()
	return nil
}

// nextBlock decodes a block into plain, or ends the frame.
func (z *lz4Reader) nextBlock() error {
	size, err := z.number()
	if err != nil {
		return err
	}
	if size == 0 {
		return z.endFrame()
	}
	raw := size>>31 != 0
	n := int(size & (1<<31 - 1))
	if n > z.block {
		return errLZ4Block
	}
	if cap(z.stored) < n {
		z.stored = make([]byte, z.block)
	}
	z.stored = z.stored[:n]
	if _, err := io.ReadFull(z.r, z.stored); err != nil {
		return unexpected(err)
	}
	if z.flags&lz4HasBlockSums != 0 {
		if want, err := z.number(); err != nil || want != xxh32Of(z.stored) {
			return fmt.Errorf("%w: its check is wrong", errLZ4Block)
		}
	}
	if keep := len(z.window) - lz4WindowBytes; keep > 0 {
		z.window = z.window[:copy(z.window, z.window[keep:])]
	}
	if need := lz4WindowBytes + z.block; cap(z.window) < need {
		z.window = append(make([]byte, 0, need), z.window...)
	}
	start := len(z.window)
	if raw {
		z.window = append(z.window, z.stored...)
	} else if z.window, err = lz4Block(z.window, z.stored, start+z.block); err != nil {
		return err
	}
	z.plain = z.window[start:]
	if z.flags&lz4HasContentSum != 0 {
		z.sum.write(z.plain)
	}
	return nil
}

func (z *lz4Reader) endFrame() error {
	z.block = 0
	if z.flags&lz4HasContentSum == 0 {
		return nil
	}
	want, err := z.number()
	if err == nil && want != z.sum.sum() {
		err = errors.New("lz4: the check of the content is wrong")
	}
	return err
}

// lz4Block appends a block's plain bytes to out, which must not grow past
// limit; matches may reach back to all of out.
func lz4Block(out, in []byte, limit int) ([]byte, error) {
	for len(in) > 0 {
		token := in[0]
		literals, in2, ok := lz4Length(in[1:], int(token>>4))
		if !ok || literals > len(in2) || len(out)+literals > limit {
			return out, errLZ4Block
		}
		out = append(out, in2[:literals]...)
		if in = in2[literals:]; len(in) == 0 {
			return out, nil // the last sequence has no match
		}
		if len(in) < 2 {
			return out, errLZ4Block
		}
		back := int(in[0]) | int(in[1])<<8
		length, in2, ok := lz4Length(in[2:], int(token&15))
		length += 4
		if !ok || back == 0 || back > len(out) || len(out)+length > limit {
			return out, errLZ4Block
		}
		in = in2
		for length > 0 { // the match may overlap what it makes
			n := min(length, back)
			from := len(out) - back
			out = append(out, out[from:from+n]...)
			length -= n
		}
	}
	return out, errLZ4Block // a block ends with literals
}

// lz4Length reads the rest of a length whose first four bits were n.
func lz4Length(in []byte, n int) (int, []byte, bool) {
	if n < 15 {
		return n, in, true
	}
	for i, b := range in {
		n += int(b)
		if b < 255 {
			return n, in[i+1:], true
		}
	}
	return 0, nil, false
}

// xxh32 is the hash of LZ4 frames, XXH32 with seed 0.
type xxh32 struct {
	lanes [4]uint32
	rest  []byte
	n     uint64
}

const (
	xxhPrime1 uint32 = 0x9e3779b1
	xxhPrime2 uint32 = 0x85ebca77
	xxhPrime3 uint32 = 0xc2b2ae3d
	xxhPrime4 uint32 = 0x27d4eb2f
	xxhPrime5 uint32 = 0x165667b1
)

func newXXH32() xxh32 {
	p1, p2 := xxhPrime1, xxhPrime2
	return xxh32{lanes: [4]uint32{p1 + p2, p2, 0, -p1}}
}

func xxh32Of(b []byte) uint32 {
	h := newXXH32()
	h.write(b)
	return h.sum()
}

func (h *xxh32) write(p []byte) {
	h.n += uint64(len(p))
	if len(h.rest) > 0 {
		n := min(16-len(h.rest), len(p))
		h.rest = append(h.rest, p[:n]...)
		if p = p[n:]; len(h.rest) < 16 {
			return
		}
		h.stripe(h.rest)
		h.rest = h.rest[:0]
	}
	for ; len(p) >= 16; p = p[16:] {
		h.stripe(p)
	}
	h.rest = append(h.rest, p...)
}

func (h *xxh32) stripe(p []byte) {
	for i := range h.lanes {
		h.lanes[i] = bits.RotateLeft32(h.lanes[i]+binary.LittleEndian.Uint32(p[4*i:])*xxhPrime2, 13) * xxhPrime1
	}
}

func (h *xxh32) sum() uint32 {
	v := xxhPrime5
	if h.n >= 16 {
		v = 0
		for i, turn := range []int{1, 7, 12, 18} {
			v += bits.RotateLeft32(h.lanes[i], turn)
		}
	}
	v += uint32(h.n)
	p := h.rest
	for ; len(p) >= 4; p = p[4:] {
		v = bits.RotateLeft32(v+binary.LittleEndian.Uint32(p)*xxhPrime3, 17) * xxhPrime4
	}
	for _, b := range p {
		v = bits.RotateLeft32(v+uint32(b)*xxhPrime5, 11) * xxhPrime1
	}
	v = (v ^ v>>15) * xxhPrime2
	v = (v ^ v>>13) * xxhPrime3
	return v ^ v>>16
}
