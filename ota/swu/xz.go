package swu

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"hash/crc64"
	"io"

	"github.com/ulikunitz/xz/lzma"
)

// This file reads the container of the .xz file format, version 1.2.0; the
// LZMA2 inside is the library's. The library's own container reader would
// allocate whatever dictionary a block asks for, up to 4 GiB, and keep a
// record of every block until the index comes.

// MaxXZDictionaryBytes is the largest dictionary that an xz payload may ask
// for; the decoder holds that much. It is what `xz -6`, the default, uses.
const MaxXZDictionaryBytes = 8 << 20

const (
	xzMagic       = "\xfd7zXZ\x00"
	xzFooterMagic = "YZ"
	xzHeaderBytes = 12 // of a stream's header and of its footer
	xzFilterLZMA2 = 0x21
)

var errXZDictionary = errors.New("the xz dictionary is too large")

// xzReader decodes streams one after the other.
type xzReader struct {
	r       *xzSource
	flags   [2]byte // of the stream
	block   io.Reader
	started int64 // where the block's header began
	check   hash.Hash
	plain   int64 // decoded bytes of the block
	blocks  uint64
	records hash.Hash // of the blocks' sizes, to be compared with the index
}

// xzSource counts what is read, so that sizes and padding can be checked.
type xzSource struct {
	r *bufio.Reader
	n int64
}

func (s *xzSource) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	s.n += int64(n)
	return n, err
}

func (s *xzSource) ReadByte() (byte, error) {
	b, err := s.r.ReadByte()
	if err == nil {
		s.n++
	}
	return b, err
}

// take reads the next n bytes; n is small.
func (s *xzSource) take(n int) ([]byte, error) {
	b := make([]byte, n)
	_, err := io.ReadFull(s, b)
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return b, err
}

// pad reads zeros up to the next multiple of 4 after from.
func (s *xzSource) pad(from int64) error {
	b, err := s.take(int(-(s.n - from) & 3))
	if err == nil && len(bytes.Trim(b, "\x00")) > 0 {
		err = errors.New("xz: the padding is not zero")
	}
	return err
}

func newXZReader(r io.Reader) (*xzReader, error) {
	x := &xzReader{r: &xzSource{r: bufio.NewReader(r)}}
	return x, x.stream()
}

func (x *xzReader) Read(p []byte) (int, error) {
	for len(p) > 0 {
		if x.block == nil {
			if err := x.next(); err != nil {
				return 0, err
			}
			continue // the next may be another stream
		}
		n, err := x.block.Read(p)
		x.check.Write(p[:n])
		x.plain += int64(n)
		if err == io.EOF {
			err = x.endBlock()
		}
		if n > 0 || err != nil {
			return n, err
		}
	}
	return 0, nil
}

// stream reads a stream's header.
func (x *xzReader) stream() error {
	h, err := x.r.take(xzHeaderBytes)
	if err != nil {
		return err
	}
	if string(h[:6]) != xzMagic || crc32.ChecksumIEEE(h[6:8]) != binary.LittleEndian.Uint32(h[8:]) || h[6] != 0 {
		return errors.New("xz: no stream header")
	}
	copy(x.flags[:], h[6:8])
	x.blocks, x.records = 0, sha256.New()
	return x.newCheck()
}

// newCheck makes the check that the stream's blocks carry.
func (x *xzReader) newCheck() error {
	switch x.flags[1] {
	case 0x00:
		x.check = noCheck{}
	case 0x01:
		x.check = crc32.NewIEEE()
	case 0x04:
		x.check = crc64.New(crc64.MakeTable(crc64.ECMA))
	case 0x0a:
		x.check = sha256.New()
	default:
		return fmt.Errorf("xz: check type %d is not known", x.flags[1])
	}
	return nil
}

// noCheck is the check of a stream without one.
type noCheck struct{ hash.Hash }

func (noCheck) Write(p []byte) (int, error) { return len(p), nil }
func (noCheck) Sum(b []byte) []byte         { return b }
func (noCheck) Reset()                      {}

// next starts the next block, or finishes the stream and starts the next one.
func (x *xzReader) next() error {
	x.started = x.r.n
	size, err := x.r.ReadByte()
	if err != nil {
		return unexpected(err)
	}
	if size == 0 {
		return x.endStream()
	}
	rest, err := x.r.take(int(size)*4 + 3)
	if err != nil {
		return err
	}
	body := append([]byte{size}, rest[:len(rest)-4]...)
	if crc32.ChecksumIEEE(body) != binary.LittleEndian.Uint32(rest[len(rest)-4:]) {
		return errors.New("xz: the block header is damaged")
	}
	dictionary, err := xzDictionary(body[1:])
	if err != nil {
		return err
	}
	x.check.Reset()
	x.plain = 0
	x.block, err = lzma.Reader2Config{DictCap: dictionary}.NewReader2(x.r)
	return unexpected(err)
}

// xzDictionary reads a block header behind its size: flags, two sizes that may
// be missing (the index is what is compared), and the one filter, LZMA2.
func xzDictionary(b []byte) (int, error) {
	malformed := errors.New("xz: the block header is malformed or has a filter that is not LZMA2")
	flags, b := b[0], b[1:]
	for _, has := range []byte{0x40, 0x80} {
		if flags&has == 0 {
			continue
		}
		_, n := binary.Uvarint(b)
		if n <= 0 {
			return 0, malformed
		}
		b = b[n:]
	}
	if flags&0x3f != 0 || len(b) < 3 || b[0] != xzFilterLZMA2 || b[1] != 1 || len(bytes.Trim(b[3:], "\x00")) > 0 {
		return 0, malformed
	}
	size, err := lzma.DecodeDictCap(b[2])
	if err != nil {
		return 0, malformed
	}
	if size > MaxXZDictionaryBytes {
		return 0, errXZDictionary
	}
	return int(size), nil
}

func (x *xzReader) endBlock() error {
	unpadded := x.r.n - x.started
	if err := x.r.pad(x.started); err != nil {
		return err
	}
	want := x.check.Sum(nil)
	switch x.flags[1] {
	case 0x01, 0x04: // little endian, where the hash is big endian
		for i, j := 0, len(want)-1; i < j; i, j = i+1, j-1 {
			want[i], want[j] = want[j], want[i]
		}
	}
	got, err := x.r.take(len(want))
	if err != nil {
		return err
	}
	if !bytes.Equal(got, want) {
		return errors.New("xz: the block's check is wrong")
	}
	x.blocks++
	x.record(uint64(unpadded)+uint64(len(want)), uint64(x.plain))
	x.block = nil
	return nil
}

func (x *xzReader) record(unpadded, plain uint64) {
	x.records.Write(binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint64(nil, unpadded), plain))
}

// endStream holds the index and the footer against what was read, and starts
// the next stream if one follows.
func (x *xzReader) endStream() error {
	seen, blocks := x.records.Sum(nil), x.blocks
	x.records = sha256.New()
	sum := crc32.NewIEEE()
	sum.Write([]byte{0})
	index := &xzTee{x.r, sum}
	wrong := errors.New("xz: the index does not match")
	n, err := binary.ReadUvarint(index)
	if err != nil || n != blocks {
		return wrong
	}
	for ; n > 0; n-- {
		unpadded, err1 := binary.ReadUvarint(index)
		plain, err2 := binary.ReadUvarint(index)
		if err1 != nil || err2 != nil {
			return wrong
		}
		x.record(unpadded, plain)
	}
	for (x.r.n-x.started)&3 != 0 {
		if b, err := index.ReadByte(); err != nil || b != 0 {
			return wrong
		}
	}
	crc, err := x.r.take(4)
	if err != nil || binary.LittleEndian.Uint32(crc) != sum.Sum32() || !bytes.Equal(seen, x.records.Sum(nil)) {
		return wrong
	}
	indexBytes := x.r.n - x.started
	f, err := x.r.take(xzHeaderBytes)
	if err != nil {
		return err
	}
	if crc32.ChecksumIEEE(f[4:10]) != binary.LittleEndian.Uint32(f) || !bytes.Equal(f[8:10], x.flags[:]) ||
		string(f[10:]) != xzFooterMagic || (int64(binary.LittleEndian.Uint32(f[4:]))+1)*4 != indexBytes {
		return errors.New("xz: the stream footer is wrong")
	}
	return x.following()
}

// following skips padding, zeros in fours, and starts the next stream; io.EOF
// if there is none.
func (x *xzReader) following() error {
	for {
		next, err := x.r.r.Peek(4)
		if len(next) == 0 && err == io.EOF {
			return io.EOF
		}
		if err != nil {
			return unexpected(err)
		}
		if !bytes.Equal(next, make([]byte, 4)) {
			return x.stream()
		}
		if _, err := x.r.take(4); err != nil {
			return err
		}
	}
}

// xzTee sums the bytes of the index.
type xzTee struct {
	r   *xzSource
	sum io.Writer
}

func (t *xzTee) ReadByte() (byte, error) {
	b, err := t.r.ReadByte()
	if err == nil {
		t.sum.Write([]byte{b})
	}
	return b, err
}

// unexpected says of an end that it comes too early.
func unexpected(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}
