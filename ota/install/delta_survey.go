package install

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"slices"

	"otad/ota"
	"otad/ota/durable"
	"otad/ota/zck"
)

// Where a chunk comes from: an offset of the source, or one of these.
const (
	fromNet    int64 = -1 // it is fetched
	fromPlace  int64 = -2 // it is in its place
	fromBefore int64 = -3 // it is the same as the chunk before it
	// fromChunk and what is below it: from where another chunk was written; see
	// writtenChunk.
	fromChunk int64 = -4
)

func ofChunk(i int) int64         { return fromChunk - int64(i) }
func writtenChunk(from int64) int { return int(fromChunk - from) }

// inPassing returns r for one who reads it from front to back and has no more
// need of it, where it can let go of a range: the memory is for what runs beside.
func inPassing(r io.ReaderAt) io.ReaderAt {
	if f, ok := r.(Forgetter); ok {
		return durable.PassingBy(r, f.Forget)
	}
	return r
}

// tellBytes of the source lie between two reports of the comparison.
const tellBytes = 8 << 20

// survey finds out where each chunk comes from, and begins to fetch.
func (d *deltaReader) survey(target string, progress Progress) error {
	h := d.header
	d.from = make([]int64, h.Len())
	noSource := d.compare(target, progress)
	if err := d.ctx.Err(); err != nil {
		return err
	}
	missing, err := d.missing()
	if err != nil {
		return err
	}
	d.plain = d.plain[:0] // nothing is under way yet
	d.repeats(missing)
	s := Survey{ImageBytes: h.Size, NoSource: noSource}
	var pieces []ota.Span
	for i, c := range h.Chunks(0) {
		switch d.from[i] {
		case fromNet:
			s.FetchBytes += int64(c.BodySize)
			pieces = adjoin(pieces, d.piece(c))
		case fromPlace:
			s.PlacedBytes += int64(c.Size)
		default:
			s.CopiedBytes += int64(c.Size)
		}
	}
	if d.delta.Told != nil {
		d.delta.Told(s)
	}
	return d.begin(pieces)
}

// adjoin adds a piece, to the last one if there is nothing between.
func adjoin(list []ota.Span, s ota.Span) []ota.Span {
	if n := len(list); n > 0 && list[n-1].End() == s.Offset {
		list[n-1].Length += s.Length
		return list
	}
	return append(list, s)
}

// compare looks for the chunks in what runs. Its error is why there is nothing
// to copy; a source of which a part cannot be read is used as far as it goes.
func (d *deltaReader) compare(target string, progress Progress) error {
	for i := range d.from {
		d.from[i] = fromNet
	}
	if d.delta.Source == nil {
		return errNoSource
	}
	source, err := d.delta.Source(d.ctx, target)
	if err != nil {
		return err
	}
	d.source, d.copies = source, inPassing(source)
	in := &sourceReader{ctx: d.ctx, from: d.copies, size: extentOf(source, source.Size()), progress: progress}
	progress(StageCompare, 0, in.size)
	index := zck.NewIndex(d.header)
	if err := index.Scan(in, cutsOf(d.image)); err != nil {
		return err
	}
	for i, c := range d.header.Chunks(0) {
		if at, found := index.Find(c); found {
			d.from[i] = at
		}
	}
	return in.err
}

// sourceReader reads what runs from front to back. A part that cannot be read
// ends it.
type sourceReader struct {
	ctx      context.Context
	from     io.ReaderAt
	size     int64
	progress Progress
	at       int64
	err      error // that ended it early
}

func (r *sourceReader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	if r.at >= r.size || r.err != nil {
		return 0, io.EOF
	}
	n, err := r.from.ReadAt(p[:min(int64(len(p)), r.size-r.at)], r.at)
	if (r.at+int64(n))/tellBytes != r.at/tellBytes {
		r.progress(StageCompare, r.at+int64(n), r.size)
	}
	r.at += int64(n)
	if err != nil && !errors.Is(err, io.EOF) {
		r.err, err = err, io.EOF
	}
	return n, err
}

// missingChunk is a chunk that has to be fetched, and the beginning of its
// digest.
type missingChunk struct {
	digest uint64
	number int32
}

// missing are the chunks that are neither in the source nor in their place, in
// their order.
func (d *deltaReader) missing() (list []missingChunk, err error) {
	idle := inPassing(d.slot)
	for i, c := range d.header.Chunks(0) {
		if d.from[i] != fromNet {
			continue
		}
		if err := d.ctx.Err(); err != nil {
			return nil, err
		}
		if d.load(idle, c.Offset, c) {
			d.from[i] = fromPlace
			continue
		}
		list = append(list, missingChunk{binary.NativeEndian.Uint64(c.Digest), int32(i)})
	}
	return list, nil
}

// repeats finds, among the chunks to be fetched, those that need to be fetched
// once only: the chunk before is the same, or the same one is on the medium by
// then. While a block is filled, those before it may still be on their way.
func (d *deltaReader) repeats(missing []missingChunk) {
	slices.SortFunc(missing, func(a, b missingChunk) int {
		return cmp.Or(cmp.Compare(a.digest, b.digest), cmp.Compare(a.number, b.number))
	})
	for at := 1; at < len(missing); at++ {
		before, now := int(missing[at-1].number), int(missing[at].number)
		if missing[at-1].digest != missing[at].digest {
			continue
		}
		like, c := d.header.Chunk(before), d.header.Chunk(now)
		written := (c.Offset/blockBytes - (transferBlocks - 1)) * blockBytes
		switch {
		case !bytes.Equal(like.Digest, c.Digest):
		case before == now-1:
			d.from[now] = fromBefore
		case like.Offset+int64(like.Size) <= written:
			d.from[now] = ofChunk(before)
		}
	}
}
