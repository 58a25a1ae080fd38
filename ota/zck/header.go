package zck

import (
	"bytes"
	"errors"
	"io"
	"iter"
)

const (
	// MaxChunkBytes bounds a chunk, packed or plain: what is held in memory at
	// once. The tool zck makes chunks of 128 KiB at most, unless it is told to.
	MaxChunkBytes = 1 << 20

	magic         = "\x00ZCK1"
	maxLeadBytes  = len(magic) + 9 + 9 + 64 // digest kind, header size, digest
	flagStreams   = 1 << 0
	flagElements  = 1 << 1
	flagPlain     = 1 << 2 // the index also has the digests of the plain chunks
	methodNone    = 0
	methodZstd    = 2
	markEvery     = 16 // chunks between two marks
	maxImageBytes = 1 << 50
)

// Header is the index of a zchunk file. It does not change once it is read, so
// it may be used by several goroutines.
type Header struct {
	HeaderSize int64  // of the header: where in the file the body begins
	BodySize   int64  // of all chunks, packed
	Size       int64  // of the image
	Digest     Digest // of the chunks
	Packed     bool   // chunks are packed with zstd; else they are stored as they are

	length int    // number of chunks
	plain  bool   // entries have two digests, of the packed and of the plain chunk
	index  []byte // the entries of the chunks, as they stand in the file
	marks  []mark
}

// mark is the state of a reader of the index before an entry.
type mark struct {
	at           uint32 // in index
	offset, body int64
}

// Chunk is one entry of the index.
type Chunk struct {
	Offset     int64  // in the image
	Size       int    // of the plain bytes, 1 to MaxChunkBytes
	BodyOffset int64  // in the body: add Header.HeaderSize for the place in the file
	BodySize   int    // as it lies in the body, 1 to MaxChunkBytes and a little
	Digest     []byte // of the plain bytes; part of the header, not to be changed
	BodyDigest []byte // of the bytes in the body; as Digest
}

// ReadHeader reads a header from the start of r and no byte beyond it. A header
// of more than limit bytes, which must be positive, is refused before it is read.
// Errors wrap ErrDamaged, ErrUnsupported or are those of r.
func ReadHeader(r io.Reader, limit int64) (*Header, error) {
	lead, err := readLead(r)
	if err != nil {
		return nil, err
	}
	if lead.size > uint64(max(limit, 0)) || int64(lead.size)+int64(len(lead.raw)) > limit {
		return nil, unsupported("its header has %d bytes, more than the limit of %d", lead.size, limit)
	}
	rest := make([]byte, lead.size)
	if err := readFull(r, rest); err != nil {
		return nil, err
	}
	if err := lead.verify(rest); err != nil {
		return nil, err
	}
	h := &Header{HeaderSize: int64(len(lead.raw) + len(rest))}
	return h, h.read(rest, lead.digest)
}

// lead is what stands before the part of a header whose size it gives.
type lead struct {
	raw      []byte // up to the header's digest and with it
	digestAt int
	digest   Digest // of the header
	size     uint64 // of the rest of the header
}

// readLead reads byte by byte what has no fixed length, so that nothing behind
// the header is taken from r.
func readLead(r io.Reader) (*lead, error) {
	l := &lead{raw: make([]byte, len(magic), maxLeadBytes)}
	if err := readFull(r, l.raw); err != nil {
		return nil, err
	}
	if string(l.raw) != magic {
		return nil, damaged("it is no zchunk file")
	}
	kind, err := l.number(r)
	if err != nil {
		return nil, err
	}
	if l.digest, err = readDigest("header", kind); err != nil {
		return nil, err
	}
	if l.size, err = l.number(r); err != nil {
		return nil, err
	}
	l.digestAt = len(l.raw)
	l.raw = l.raw[:l.digestAt+l.digest.Bytes()]
	return l, readFull(r, l.raw[l.digestAt:])
}

// number reads one number of the lead.
func (l *lead) number(r io.Reader) (uint64, error) {
	from := len(l.raw)
	for range 9 {
		at := len(l.raw)
		l.raw = l.raw[:at+1]
		if err := readFull(r, l.raw[at:]); err != nil {
			return 0, err
		}
		if l.raw[at]&0x80 != 0 {
			break
		}
	}
	f := fields{b: l.raw[from:]}
	v := f.number()
	if f.broken {
		return 0, damaged("a number in its lead is too large")
	}
	return v, nil
}

// verify holds the header against its own digest, which is over everything but
// itself.
func (l *lead) verify(rest []byte) error {
	sum := l.digest.New()
	sum.Write(l.raw[:l.digestAt])
	sum.Write(rest)
	if !bytes.Equal(sum.Sum(nil)[:l.digest.Bytes()], l.raw[l.digestAt:]) {
		return damaged("its digest is wrong")
	}
	return nil
}

// read takes the header apart behind its lead.
func (h *Header) read(rest []byte, overall Digest) error {
	f := fields{b: rest}
	f.bytes(overall.Bytes()) // of the whole body; zeros when there are plain digests
	flags, method, size := f.number(), f.number(), f.number()
	switch {
	case f.broken:
		return damaged("its preface is cut")
	case flags&flagStreams != 0:
		return unsupported("it has data streams")
	case flags&flagElements != 0:
		return unsupported("it has optional elements")
	case flags&^flagPlain != 0:
		return unsupported("it has the unknown flags %#x", flags)
	case method != methodNone && method != methodZstd:
		return unsupported("it is packed with the unknown method %d", method)
	case method == methodZstd && flags&flagPlain == 0:
		return unsupported("it has no digests of the plain chunks: make it with zck -u")
	case size > uint64(len(f.b)):
		return damaged("its index is cut")
	}
	h.Packed, h.plain = method == methodZstd, flags&flagPlain != 0
	index := f.bytes(int(size))
	if signatures := f.number(); f.broken || len(f.b) > 0 && signatures == 0 {
		return damaged("it does not end behind its index")
	} else if signatures > 0 {
		return unsupported("it is signed inside")
	}
	return h.readIndex(index)
}

// readIndex checks every entry once and marks some of them.
func (h *Header) readIndex(index []byte) error {
	f := fields{b: index}
	kind, count := f.number(), f.number()
	if f.broken {
		return damaged("its index is cut")
	}
	var err error
	if h.Digest, err = readDigest("chunk", kind); err != nil {
		return err
	}
	var dictionary Chunk // always the first entry
	h.readEntry(&f, &dictionary)
	h.index = f.b
	switch {
	case count == 0 || f.broken:
		return damaged("its index is cut")
	case dictionary.BodySize != 0 || dictionary.Size != 0:
		return unsupported("it is packed with a dictionary")
	}
	// An entry of the smallest size bounds what count may ask for.
	if (count-1)*uint64(h.entryBytes()+2) > uint64(len(h.index)) {
		return damaged("its index says %d chunks and has no room for them", count)
	}
	h.length = int(count - 1)
	h.marks = make([]mark, 0, h.length/markEvery+1)
	for i := range h.length {
		if i%markEvery == 0 {
			h.marks = append(h.marks, mark{uint32(len(h.index) - len(f.b)), h.Size, h.BodySize})
		}
		var c Chunk
		h.readEntry(&f, &c)
		if f.broken {
			return damaged("chunk %d is cut", i)
		}
		if err := h.judge(i, c); err != nil {
			return err
		}
		h.Size += int64(c.Size)
		h.BodySize += int64(c.BodySize)
	}
	if len(f.b) > 0 {
		return damaged("%d bytes follow the last chunk of the index", len(f.b))
	}
	if h.length == 0 {
		return damaged("it has no chunk")
	}
	return nil
}

// judge refuses sizes that cannot be.
func (h *Header) judge(i int, c Chunk) error {
	switch {
	case c.Size < 1 || c.BodySize < 1:
		return damaged("chunk %d is empty", i)
	case c.Size > MaxChunkBytes:
		return unsupported("chunk %d has more than %d bytes", i, MaxChunkBytes)
	case !h.Packed && c.Size != c.BodySize:
		return damaged("chunk %d is not packed, but has %d bytes in the body and %d outside", i, c.BodySize, c.Size)
	case c.BodySize > c.Size+c.Size/128+128: // more than zstd ever adds
		return damaged("chunk %d has %d bytes and is packed to %d", i, c.Size, c.BodySize)
	case !h.Packed && !bytes.Equal(c.Digest, c.BodyDigest):
		return damaged("chunk %d is not packed, but its two digests differ", i)
	case h.Size > maxImageBytes:
		return damaged("its chunks are too many")
	}
	return nil
}

// entryBytes is the length of an entry but for its two sizes.
func (h *Header) entryBytes() int {
	if h.plain {
		return 2 * h.Digest.Bytes()
	}
	return h.Digest.Bytes()
}

// readEntry takes one entry; offsets are the caller's.
func (h *Header) readEntry(f *fields, c *Chunk) {
	c.BodyDigest = f.bytes(h.Digest.Bytes())
	c.Digest = c.BodyDigest // not packed: the same bytes
	if h.plain {
		c.Digest = f.bytes(h.Digest.Bytes())
	}
	c.BodySize = clamp(f.number())
	c.Size = clamp(f.number())
}

// clamp keeps a size an int on every machine; more than MaxChunkBytes is
// refused in any case.
func clamp(v uint64) int { return int(min(v, 1<<30)) }

// Len is the number of chunks, at least 1.
func (h *Header) Len() int { return h.length }

// Chunk returns entry i, from 0 to Len()-1. To walk, [Header.Chunks] is faster.
func (h *Header) Chunk(i int) (c Chunk) {
	for _, c = range h.Chunks(i) {
		break
	}
	return c
}

// Chunks walks the entries from number first on.
func (h *Header) Chunks(first int) iter.Seq2[int, Chunk] {
	return func(yield func(int, Chunk) bool) {
		if first < 0 || first >= h.length {
			return
		}
		m := h.marks[first/markEvery]
		f := fields{b: h.index[m.at:]}
		c := Chunk{Offset: m.offset, BodyOffset: m.body}
		for i := first - first%markEvery; i < h.length; i++ {
			h.readEntry(&f, &c)
			if i >= first && !yield(i, c) {
				return
			}
			c.Offset += int64(c.Size)
			c.BodyOffset += int64(c.BodySize)
		}
	}
}

// Check reports whether these are the plain bytes of the chunk.
func (h *Header) Check(c Chunk, plain []byte) bool {
	var sum [64]byte
	return len(plain) == c.Size && bytes.Equal(h.Digest.Append(sum[:0], plain), c.Digest)
}

// readFull is io.ReadFull with an end that says what it means.
func readFull(r io.Reader, p []byte) error {
	_, err := io.ReadFull(r, p)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return damaged("it is cut")
	}
	return err
}
