package install

import (
	"context"
	"fmt"
	"io"

	"otad/ota"
	"otad/ota/swu"
	"otad/ota/zck"
)

// deltaReader is the image of a delta, from its first byte to its last.
type deltaReader struct {
	ctx    context.Context
	delta  Delta
	image  swu.Image
	header *zck.Header
	slot   Slot
	source Medium      // nil for none
	copies io.ReaderAt // the source, read in passing
	from   []int64     // of each chunk

	decoder  *zck.Decoder
	stream   io.ReadCloser // what has to be fetched; nil for nothing
	incoming *ahead        // it, a bounded way ahead

	next   int    // chunk
	plain  []byte // of the chunk under way
	at     int    // in plain
	packed []byte
}

// begin begins to fetch.
func (d *deltaReader) begin(pieces []ota.Span) (err error) {
	if len(pieces) == 0 {
		return nil
	}
	if d.stream, err = d.fetch(pieces); err != nil {
		return err
	}
	d.incoming = readAhead(d.stream)
	return nil
}

func (d *deltaReader) fetch(pieces []ota.Span) (io.ReadCloser, error) {
	return d.delta.Fetch(d.ctx, Wanted{URL: d.image.Delta.URL, MaxRanges: d.image.Delta.MaxRanges, TotalBytes: d.header.HeaderSize + d.header.BodySize, Pieces: pieces})
}

// interrupt ends a Read that waits for the network.
func (d *deltaReader) interrupt() {
	if d.stream != nil {
		d.stream.Close()
	}
}

// Close gives back what the reader holds.
func (d *deltaReader) Close() error {
	if d.incoming != nil {
		d.incoming.stop(d.stream)
		d.stream.Close()
	}
	if d.decoder != nil {
		d.decoder.Close()
	}
	if d.source != nil {
		return d.source.Close()
	}
	return nil
}

// Read implements io.Reader.
func (d *deltaReader) Read(p []byte) (int, error) {
	for d.at == len(d.plain) {
		if d.next == d.header.Len() {
			return 0, io.EOF
		}
		if err := d.chunk(d.next); err != nil {
			return 0, err
		}
		d.next, d.at = d.next+1, 0
	}
	n := copy(p, d.plain[d.at:])
	d.at += n
	return n, nil
}

// chunk makes a chunk the one under way. What is not, after all, where it was
// found is fetched: what runs may be written to at any time.
func (d *deltaReader) chunk(i int) error {
	c, right := d.header.Chunk(i), false
	switch from := d.from[i]; {
	case from == fromNet:
		var err error
		if right, err = d.take(d.incoming, c); err != nil {
			return err
		}
	case from == fromBefore:
		return nil // it is the one under way
	case from == fromPlace:
		right = d.load(d.slot, c.Offset, c)
	case from <= fromChunk:
		right = d.load(d.slot, d.header.Chunk(writtenChunk(from)).Offset, c)
	default:
		right = d.load(d.copies, from, c)
	}
	if right {
		return nil
	}
	return d.again(i, c)
}

// load makes what lies at an offset the chunk under way, and tells whether it is
// that.
func (d *deltaReader) load(r io.ReaderAt, at int64, c zck.Chunk) bool {
	d.plain = sized(d.plain, c.Size)
	n, _ := r.ReadAt(d.plain, at)
	return n == len(d.plain) && d.header.Check(c, d.plain)
}

// take makes the next chunk that comes in the one under way, and tells whether
// it is that.
func (d *deltaReader) take(r io.Reader, c zck.Chunk) (bool, error) {
	d.packed = sized(d.packed, c.BodySize)
	if _, err := io.ReadFull(r, d.packed); err != nil {
		return false, err
	}
	plain, err := d.decoder.Decode(d.plain, c, d.packed)
	if err == nil {
		d.plain = append(d.plain[:0], plain...)
	}
	return err == nil, nil
}

// again fetches one chunk by itself, because it was not what it should have
// been.
func (d *deltaReader) again(i int, c zck.Chunk) error {
	r, err := d.fetch([]ota.Span{d.piece(c)})
	if err != nil {
		return err
	}
	defer r.Close()
	if right, err := d.take(r, c); right || err != nil {
		return err
	}
	return ota.NewPermanent(ota.CodeArtifactHash,
		fmt.Errorf("cannot use %q: chunk %d, the %d bytes at %d of %q, is not what was signed", d.image.Filename, i, c.BodySize, d.piece(c).Offset, d.image.Delta.URL)).
		WithHint("upload the file that was packed together with the artifact; never replace a published one")
}

// piece is where a chunk is in the file.
func (d *deltaReader) piece(c zck.Chunk) ota.Span {
	return ota.Span{Offset: d.header.HeaderSize + c.BodyOffset, Length: int64(c.BodySize)}
}

// sized is b with n bytes.
func sized(b []byte, n int) []byte {
	if cap(b) < n {
		return make([]byte, n)
	}
	return b[:n]
}
