package swu

import (
	"encoding/binary"
	"errors"
	"io"

	"github.com/klauspost/compress/zstd"
)

// Resumable tells whether a reading of the payload can begin in its midst: it
// is stored as it is, or as zstd frames that do not depend on each other, and
// the hash of the plain bytes is signed, so that no hash of the stored ones is
// needed.
func (i Image) Resumable() bool {
	return i.Encrypted == "" && i.DecompressedSHA256 != "" && (i.Compressed == "" || i.Compressed == KindZstd)
}

// Flow reads the plain bytes of a payload once, and knows from where else a
// reading could begin.
type Flow struct {
	io.ReadCloser
	frames        *zstdFrames // nil unless zstd and resumable
	raw           bool        // stored as they are, and resumable
	stored, plain int64       // of the whole payload, where this reading began
	read          int64       // plain bytes, by this reading
}

// Flow is [Image.Plain] from a [Flow.Mark] on: stored begins at the mark's
// stored byte. Both are 0 for the start.
func (i Image) Flow(stored io.Reader, key *Key, storedBytes, plainBytes int64) (*Flow, error) {
	f := &Flow{stored: storedBytes, plain: plainBytes}
	if !i.Resumable() {
		r, err := i.Plain(stored, key)
		f.ReadCloser = r
		return f, err
	}
	f.raw, f.ReadCloser = true, io.NopCloser(stored)
	if i.Compressed == KindZstd {
		frames, err := newZstdFrames(stored)
		if err != nil {
			return nil, err
		}
		f.raw, f.frames, f.ReadCloser = false, frames, frames
	}
	if want := i.DecompressedBytes; want >= 0 {
		f.ReadCloser = &exactReader{ReadCloser: f.ReadCloser, entry: i.Filename, want: want, left: want - plainBytes}
	}
	return f, nil
}

// Read never reads over a mark.
func (f *Flow) Read(p []byte) (int, error) {
	n, err := f.ReadCloser.Read(p)
	f.read += int64(n)
	return n, err
}

// Mark tells whether a reading could begin behind the bytes that were read, and
// at which stored and plain byte of the payload that is.
func (f *Flow) Mark() (storedBytes, plainBytes int64, ok bool) {
	switch {
	case f.raw:
		return f.stored + f.read, f.plain + f.read, true
	case f.frames != nil && f.frames.between():
		return f.stored + f.frames.source.taken, f.plain + f.read, true
	}
	return 0, 0, false
}

// zstdFrames decompresses frame by frame. Its Read never reads over the end of
// a frame.
type zstdFrames struct {
	z       *zstd.Decoder
	stored  *sourceReader
	source  *frameSource
	inFrame bool
	ahead   [1]byte // read to see whether a frame ended
	held    int     // of ahead
}

func newZstdFrames(stored io.Reader) (*zstdFrames, error) {
	f := &zstdFrames{stored: &sourceReader{r: stored}}
	f.source = &frameSource{r: f.stored}
	z, err := newZstd(nil)
	f.z = z
	return f, err
}

// between tells whether all that was read are whole frames.
func (f *zstdFrames) between() bool { return !f.inFrame }

func (f *zstdFrames) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for {
		if !f.inFrame {
			if err := f.source.begin(); err == io.EOF {
				return 0, io.EOF
			} else if err != nil {
				return 0, f.stored.explain(err)
			}
			if err := f.z.Reset(f.source); err != nil {
				return 0, f.stored.explain(err)
			}
			f.inFrame = true
		}
		n := copy(p, f.ahead[:f.held])
		f.held = 0
		var err error
		if n == 0 {
			n, err = f.z.Read(p)
		}
		if err == nil && f.source.nearEnd() {
			// Perhaps these were the frame's last bytes: the next one tells.
			f.held, err = f.z.Read(f.ahead[:])
		}
		if err == io.EOF {
			f.inFrame, err = false, nil
		}
		if n > 0 || err != nil {
			return n, f.stored.explain(err)
		}
	}
}

func (f *zstdFrames) Close() error {
	f.z.Close()
	return nil
}

// The frame format of zstd (RFC 8878, section 3.1), as far as it takes to find
// the end of a frame.
const (
	zstdMagic      = 0xfd2fb528
	skippableMagic = 0x184d2a50 // and the 15 after it
	blockRLE       = 1
	sumBytes       = 4
)

// frameSource hands one frame at a time to the decoder, to which a frame's end
// is the end of the source.
type frameSource struct {
	r     io.Reader
	taken int64 // bytes read from r

	header []byte // was read and is not handed over
	buf    [18]byte
	left   int64 // bytes of r to hand over behind the header
	last   bool  // no block follows
	sum    bool  // a check sum does
	err    error // met ahead of the decoder
}

// handedOver tells whether the decoder has all of the frame.
func (f *frameSource) handedOver() bool {
	return f.last && !f.sum && f.left == 0 && len(f.header) == 0
}

// nearEnd tells whether all the decoder has yet to get are an empty block,
// which encoders end a frame with, and the check sum.
func (f *frameSource) nearEnd() bool {
	if !f.last && f.left == 0 && len(f.header) == 0 && f.err == nil {
		f.err = f.nextPart()
	}
	return f.last && f.left == 0 && f.err == nil
}

// begin reads the header of the next frame; io.EOF when there is none.
func (f *frameSource) begin() error {
	f.header = f.buf[:0]
	if n, err := io.ReadFull(f.r, f.buf[:4]); n == 0 {
		return err
	} else if err != nil {
		return io.ErrUnexpectedEOF
	}
	f.taken += 4
	f.header, f.left, f.last, f.sum = f.buf[:4], 0, true, false
	switch magic := binary.LittleEndian.Uint32(f.buf[:]); {
	case magic&^15 == skippableMagic:
		err := f.extend(4)
		f.left = int64(binary.LittleEndian.Uint32(f.buf[4:]))
		return err
	case magic != zstdMagic:
		return nil // the decoder says so
	}
	if err := f.extend(1); err != nil {
		return err
	}
	descriptor := f.buf[4]
	single := descriptor >> 5 & 1
	fields := int(1-single) + []int{0, 1, 2, 4}[descriptor&3] + []int{int(single), 2, 4, 8}[descriptor>>6]
	f.last, f.sum = false, descriptor>>2&1 == 1
	return f.extend(fields)
}

// extend reads n more bytes of the header.
func (f *frameSource) extend(n int) error {
	have := len(f.header)
	got, err := io.ReadFull(f.r, f.buf[have:have+n])
	f.taken += int64(got)
	f.header = f.buf[:have+got]
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return err
}

func (f *frameSource) Read(p []byte) (int, error) {
	if f.err != nil {
		return 0, f.err
	}
	if len(f.header) == 0 && f.left == 0 {
		if f.handedOver() {
			return 0, io.EOF
		}
		if err := f.nextPart(); err != nil {
			return 0, err
		}
	}
	if len(f.header) > 0 {
		n := copy(p, f.header)
		f.header = f.header[n:]
		return n, nil
	}
	n, err := f.r.Read(p[:min(int64(len(p)), f.left)])
	f.taken += int64(n)
	f.left -= int64(n)
	if err == io.EOF && f.left > 0 {
		return n, io.ErrUnexpectedEOF
	} else if err == io.EOF {
		err = nil
	}
	return n, err
}

// nextPart finds the next block, or the check sum behind the last one.
func (f *frameSource) nextPart() error {
	if f.last {
		f.left, f.sum = sumBytes, false
		return nil
	}
	f.header = f.buf[:0]
	if err := f.extend(3); err != nil {
		return err
	}
	h := uint32(f.buf[0]) | uint32(f.buf[1])<<8 | uint32(f.buf[2])<<16
	f.last, f.left = h&1 == 1, int64(h>>3)
	if h>>1&3 == blockRLE {
		f.left = 1
	}
	return nil
}
