package swu

import (
	"errors"
	"io"
	"strings"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// Kinds of compression, as the field compressed names them.
const (
	KindNone = "none"
	KindZlib = "zlib" // the gzip format, as in SWUpdate
	KindZstd = "zstd"
	KindXZ   = "xz"
	KindLZ4  = "lz4" // the frame format
)

// readKinds are those that can be read; [Compress] writes fewer.
var readKinds = []string{KindZlib, KindZstd, KindXZ, KindLZ4}

// MaxZstdWindowBytes is the largest window that a zstd payload may ask for; the
// decoder holds that much. It is what `zstd -19` uses; --ultra and --long ask
// for more.
const MaxZstdWindowBytes = 8 << 20

// Decompress reads the plain bytes of a payload of the given kind: "" or
// "none", "zlib", "zstd" or "lz4" with any number of frames, or "xz" with any
// number of streams. It works in the caller's goroutine with little memory: for
// zstd and xz about the window that the payload was made with, for lz4 twice
// its block. The output is not bounded, see [Image.Decompress]. A malformed
// payload is an [Error] of kind Damaged; an error of r comes back unchanged.
func Decompress(kind string, r io.Reader) (io.ReadCloser, error) {
	source := &sourceReader{r: r}
	switch kind {
	case "", KindNone:
		return io.NopCloser(r), nil
	case KindZlib:
		z, err := gzip.NewReader(source)
		if err != nil {
			return nil, source.explain(err)
		}
		return &decompressor{z: z, source: source, stop: func() { z.Close() }}, nil
	case KindZstd:
		z, err := newZstd(source)
		if err != nil {
			return nil, source.explain(err)
		}
		return &decompressor{z: z, source: source, stop: z.Close}, nil
	case KindXZ:
		z, err := newXZReader(source)
		if err != nil {
			return nil, source.explain(err)
		}
		return &decompressor{z: z, source: source, stop: func() {}}, nil
	case KindLZ4:
		z, err := newLZ4Reader(source)
		if err != nil {
			return nil, source.explain(err)
		}
		return &decompressor{z: z, source: source, stop: func() {}}, nil
	}
	return nil, unknownKind(kind)
}

// newZstd makes a decoder that works in the caller's goroutine. r may be nil
// until its Reset.
func newZstd(r io.Reader) (*zstd.Decoder, error) {
	return zstd.NewReader(r,
		zstd.WithDecoderConcurrency(1),
		zstd.WithDecoderLowmem(true),
		zstd.WithDecoderMaxWindow(MaxZstdWindowBytes),
		zstd.WithDecoderMaxMemory(MaxZstdWindowBytes))
}

func unknownKind(kind string) *Error {
	return archiveError(Unsupported, "", "compression %q is not supported, only %s", kind, strings.Join(readKinds, ", "))
}

// sourceReader remembers the source's own error, so that it can be told from
// malformed data.
type sourceReader struct {
	r   io.Reader
	err error
}

func (s *sourceReader) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	if err != nil && err != io.EOF {
		s.err = err
	}
	return n, err
}

func (s *sourceReader) explain(err error) error {
	switch {
	case err == nil:
		return nil
	case s.err != nil:
		return s.err
	case errors.Is(err, zstd.ErrWindowSizeExceeded), errors.Is(err, zstd.ErrDecoderSizeExceeded):
		return archiveError(Unsupported, "", "the zstd payload needs a window of more than %d MiB", MaxZstdWindowBytes>>20).
			withHint("compress without --long and --ultra")
	case errors.Is(err, errXZDictionary):
		return archiveError(Unsupported, "", "the xz payload needs a dictionary of more than %d MiB", MaxXZDictionaryBytes>>20).
			withHint("compress with xz -6 or less")
	case err == io.EOF:
		err = io.ErrUnexpectedEOF
	}
	return archiveError(Damaged, "", "cannot decompress: %w", err)
}

// decompressor gives a decoder's errors their kind.
type decompressor struct {
	z      io.Reader
	source *sourceReader
	stop   func()
}

func (d *decompressor) Read(p []byte) (int, error) {
	n, err := d.z.Read(p)
	if err == nil || err == io.EOF {
		return n, err
	}
	return n, d.source.explain(err)
}

func (d *decompressor) Close() error {
	d.stop()
	return nil
}
