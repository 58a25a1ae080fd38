package swu

import (
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"hash"
	"io"

	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"
)

const (
	// FrameBytes is how much input goes into one zstd frame. Frames do not
	// depend on each other, so an install can resume at each of them.
	FrameBytes = 4 << 20
	// windowBytes is what a box needs to decompress.
	windowBytes = 2 << 20
)

// Stored describes a payload as it lies in the archive, and what it becomes.
type Stored struct {
	Compressed  string // as in [Image]; empty: none
	SizeBytes   int64
	SHA256      string
	Checksum    uint32 // cpio's
	PlainBytes  int64
	PlainSHA256 string
}

// Compress writes src to dst in the given kind ("", "none", "zlib", "zstd" or "xz")
// and describes the result. The same input gives the same bytes. Memory is
// bounded by a zstd frame's window.
func Compress(dst io.Writer, src io.Reader, kind string) (Stored, error) {
	out := &measure{w: dst, hash: sha256.New()}
	in := &measure{w: io.Discard, hash: sha256.New()}
	src = io.TeeReader(src, in)
	var err error
	switch kind {
	case "", KindNone:
		kind = ""
		_, err = io.Copy(out, src)
	case KindZlib:
		err = writeZlib(out, src)
	case KindZstd:
		err = writeZstd(out, src)
	case KindXZ:
		err = writeXZ(out, src)
	default:
		err = archiveError(Unsupported, "", "compression %q is not supported, only none, zlib, zstd and xz", kind)
	}
	return Stored{
		Compressed: kind,
		SizeBytes:  out.n, SHA256: out.sha256(), Checksum: out.sum,
		PlainBytes: in.n, PlainSHA256: in.sha256(),
	}, err
}

// writeZlib uses the standard library's encoder, whose output is kept stable
// with less churn than the fast one's; the header has no name and no time.
func writeZlib(dst io.Writer, src io.Reader) error {
	z, err := gzip.NewWriterLevel(dst, gzip.BestCompression)
	if err != nil {
		return err
	}
	if _, err := io.Copy(z, src); err != nil {
		return err
	}
	return z.Close()
}

// xzDictBytes is what a box needs to decompress, within what it allows.
const xzDictBytes = 4 << 20

func writeXZ(dst io.Writer, src io.Reader) error {
	z, err := xz.WriterConfig{DictCap: xzDictBytes, CheckSum: xz.CRC64}.NewWriter(dst)
	if err != nil {
		return err
	}
	if _, err := io.Copy(z, src); err != nil {
		return err
	}
	return z.Close()
}

func writeZstd(dst io.Writer, src io.Reader) error {
	z, err := zstd.NewWriter(nil,
		zstd.WithEncoderConcurrency(1),
		zstd.WithEncoderLevel(zstd.SpeedBetterCompression),
		zstd.WithWindowSize(windowBytes),
		zstd.WithZeroFrames(true))
	if err != nil {
		return err
	}
	for first := true; ; first = false {
		frame := &firstByte{r: io.LimitReader(src, FrameBytes)}
		if more, err := frame.peek(); err != nil || !more && !first {
			return err
		}
		z.Reset(dst)
		if _, err := z.ReadFrom(frame); err != nil {
			return err
		}
		if err := z.Close(); err != nil {
			return err
		}
	}
}

// firstByte can tell whether anything will come before it comes.
type firstByte struct {
	r    io.Reader
	b    [1]byte
	have int
}

func (f *firstByte) peek() (more bool, err error) {
	f.have, err = io.ReadFull(f.r, f.b[:])
	if err == io.EOF {
		err = nil
	}
	return f.have > 0, err
}

func (f *firstByte) Read(p []byte) (int, error) {
	if f.have > 0 && len(p) > 0 {
		f.have = 0
		p[0] = f.b[0]
		return 1, nil
	}
	return f.r.Read(p)
}

// measure counts, sums and hashes what passes.
type measure struct {
	w    io.Writer
	n    int64
	sum  uint32
	hash hash.Hash
}

func (m *measure) Write(p []byte) (int, error) {
	n, err := m.w.Write(p)
	m.n += int64(n)
	m.sum += byteSum(p[:n])
	m.hash.Write(p[:n])
	return n, err
}

func (m *measure) sha256() string { return hex.EncodeToString(m.hash.Sum(nil)) }
