package zck

import (
	"bufio"
	"errors"
	"fmt"
	"hash"
	"io"

	"github.com/klauspost/compress/zstd"
)

// Options say how [Pack] makes a file.
type Options struct {
	Params Params
	Digest Digest // of the chunks
	// Packed packs chunks with zstd. Without it the index has one digest a
	// chunk in place of two; images that are packed inside gain by that.
	Packed bool
}

// ToolOptions make what `zck -u -h sha256` makes, and SWUpdate can use.
var ToolOptions = Options{Params: ToolParams, Digest: SHA256, Packed: true}

// Pack cuts an image and writes the body of a file to body. It returns the
// header, which stands before the body in the file and is known only at the
// end. The same image and options give the same bytes.
func Pack(body io.Writer, image io.Reader, o Options) (header []byte, err error) {
	if err := o.Params.Check(); err != nil {
		return nil, err
	}
	w := &packer{Options: o, whole: overall.New()}
	w.body = bufio.NewWriterSize(io.MultiWriter(body, w.whole), readBytes)
	if o.Packed {
		w.zstd, err = zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedBestCompression), zstd.WithEncoderConcurrency(1),
			zstd.WithEncoderCRC(false), zstd.WithSingleSegment(true))
		if err != nil {
			return nil, fmt.Errorf("cannot make a zstd encoder: %w", err)
		}
		defer w.zstd.Close()
	}
	for c := NewChunker(image, o.Params); ; {
		chunk, err := c.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		if err := w.add(chunk); err != nil {
			return nil, err
		}
	}
	if w.count == 0 {
		return nil, errors.New("cannot cut the image: it is empty")
	}
	if err := w.body.Flush(); err != nil {
		return nil, err
	}
	return w.header(), nil
}

type packer struct {
	Options
	body    *bufio.Writer
	zstd    *zstd.Encoder
	packed  []byte
	entries []byte
	count   int
	whole   hash.Hash // of the body
}

// overall is the kind of the digests of the header and the body.
const overall = SHA256

// add packs one chunk and writes its entry.
func (w *packer) add(chunk []byte) error {
	stored := chunk
	if w.Packed {
		w.packed = w.zstd.EncodeAll(chunk, w.packed[:0])
		stored = w.packed
		w.entries = w.Digest.Append(w.entries, stored)
	}
	w.entries = w.Digest.Append(w.entries, chunk)
	w.entries = appendNumber(w.entries, uint64(len(stored)))
	w.entries = appendNumber(w.entries, uint64(len(chunk)))
	w.count++
	_, err := w.body.Write(stored)
	return err
}

// header puts the parts together.
func (w *packer) header() []byte {
	digests, flags, method := 1, uint64(0), uint64(methodNone)
	if w.Packed {
		digests, flags, method = 2, flagPlain, methodZstd
	}
	var index []byte
	index = appendNumber(index, uint64(w.Digest))
	index = appendNumber(index, uint64(w.count)+1)
	index = append(index, make([]byte, digests*w.Digest.Bytes())...) // no dictionary
	index = appendNumber(appendNumber(index, 0), 0)
	index = append(index, w.entries...)

	rest := w.whole.Sum(nil)
	if w.Packed { // as zck does where it writes digests of the plain chunks
		clear(rest)
	}
	rest = appendNumber(appendNumber(rest, flags), method)
	rest = append(appendNumber(rest, uint64(len(index))), index...)
	rest = appendNumber(rest, 0) // signatures

	head := append([]byte(magic), appendNumber(nil, uint64(overall))...)
	head = appendNumber(head, uint64(len(rest)))
	sum := overall.New()
	sum.Write(head)
	sum.Write(rest)
	return append(sum.Sum(head), rest...)
}
