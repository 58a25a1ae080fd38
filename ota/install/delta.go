package install

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"otad/ota"
	"otad/ota/swu"
	"otad/ota/zck"
)

// A delta is an image that comes as a list of chunks: the artifact holds the
// header of a zchunk file, in which each of them has its hash, and so the
// signature covers every byte. Most chunks are on the box: in the slot that
// runs, or, when an earlier attempt was interrupted, already in their place. The
// rest is fetched from the file itself, in pieces, in the order of the image.
// Each chunk is held against its hash before it is written, wherever it comes
// from; nothing is kept between.

// Delta is how images of type delta come together. The zero value refuses them.
type Delta struct {
	// Fetch reads pieces of the file of chunks, one behind the other. The reader
	// survives cut connections by itself; its Close ends a Read under way.
	Fetch func(ctx context.Context, w Wanted) (io.ReadCloser, error)
	// Source opens for reading what the system that runs has in place of a target,
	// to copy from; nil, or an error: all is fetched that is not in its place.
	Source func(ctx context.Context, target string) (Medium, error)
	// Told hears what was found before the first byte is fetched; may be nil.
	Told func(Survey)
}

// Wanted is what has to be fetched.
type Wanted struct {
	URL        string     // of the file, as the description has it: it may be relative to the artifact
	MaxRanges  int        // that a request may ask for, as the description says; 0: no word of it
	TotalBytes int64      // of the file; another size is another file
	Pieces     []ota.Span // in the order of the file; the list is used up
}

// Survey is where the bytes of an image come from.
type Survey struct {
	ImageBytes  int64 // in all
	PlacedBytes int64 // are in their place already
	CopiedBytes int64 // are elsewhere on the box
	// FetchBytes have to come, compressed as they are in the file.
	FetchBytes int64
	// NoSource is why nothing could be copied from the system that runs; nil when
	// it could.
	NoSource error
}

// aheadOfMedium is how many bytes at most are fetched and not handed to the
// medium: with what it has not synced they come again after a power cut.
const aheadOfMedium = (transferBlocks + 1) * blockBytes

// describe reads the header of a delta and checks that its image fits. Its
// bytes were verified before.
func (p *Plan) describe(w *work, stored io.Reader) error {
	h, err := zck.ReadHeader(stored, swu.MaxDeltaHeaderBytes)
	switch {
	case errors.Is(err, zck.ErrUnsupported):
		return ota.NewPermanent(ota.CodeArtifactUnsupported, fmt.Errorf("cannot install %q: %w", w.image.Filename, err))
	case errors.Is(err, zck.ErrDamaged):
		return ota.NewPermanent(ota.CodeArtifactDamaged, fmt.Errorf("cannot install %q: %w", w.image.Filename, err))
	case err != nil:
		return artifactFault(err)
	}
	if want := w.image.DecompressedBytes; want >= 0 && want != h.Size {
		return ota.NewPermanent(ota.CodeArtifactDamaged,
			fmt.Errorf("cannot install %q: its chunks make %d bytes, the description says %d", w.image.Filename, h.Size, want))
	}
	w.delta, w.image.DecompressedBytes = h, h.Size
	return p.checkSize(w.image, *w.target)
}

// describeDeltas reads the headers of all that are in the archive.
func (p *Plan) describeDeltas() error {
	for _, w := range p.targets() {
		if w.image.Type != swu.TypeDelta {
			continue
		}
		if err := p.describe(w, p.payload(w.image.Filename)); err != nil {
			return err
		}
	}
	return nil
}

// targets are the works that fill a target.
func (p *Plan) targets() (list []*work) {
	if p.FillsSlot() {
		list = append(list, &p.slot)
	}
	for i := range p.others {
		list = append(list, &p.others[i])
	}
	return list
}

// Fetches tells whether bytes come over the network while the plan is written.
func (p *Plan) Fetches() bool {
	for _, w := range p.targets() {
		if w.image.Type == swu.TypeDelta {
			return true
		}
	}
	return false
}

// fillsTarget tells of an image whether it goes to a medium as a whole.
func fillsTarget(i swu.Image) bool { return i.Type == swu.TypeRaw || i.Type == swu.TypeDelta }

// checkDelta refuses a delta that this box cannot put together.
func (p *Plan) checkDelta(image swu.Image) error {
	if p.around.Delta.Fetch == nil {
		return unsupported(image, "a delta, and this box fetches none")
	}
	if err := cutsOf(image).Check(); err != nil {
		return unsupported(image, "a delta that it cannot compare: "+err.Error())
	}
	return nil
}

// cutsOf is how an image was cut into chunks.
func cutsOf(image swu.Image) zck.Params {
	if d := image.Delta; d.ChunkAverage > 0 {
		return zck.Params{Min: d.ChunkMin, Average: d.ChunkAverage, Max: d.ChunkMax}
	}
	return zck.ToolParams
}

// writeDelta is writeImage for a delta.
func (p *Plan) writeDelta(ctx context.Context, job work, slot Slot, skipEqual bool, bar *bar) (ota.Image, error) {
	in := &deltaReader{ctx: ctx, delta: p.around.Delta, image: job.image, header: job.delta, slot: slot}
	defer in.Close()
	var err error
	if in.decoder, err = job.delta.NewDecoder(); err != nil {
		return ota.Image{}, err
	}
	if err := in.survey(job.target.Name, bar.progress); err != nil {
		return ota.Image{}, err
	}
	t := &transfer{job: job, flow: &swu.Flow{ReadCloser: in}, interrupt: in.interrupt, wrote: func(b *block) error {
		bar.add(len(b.data))
		return nil
	}}
	if t.w, err = newBlockWriter(slot, 0, skipEqual); err != nil {
		return ota.Image{}, err
	}
	t.w.syncEvery = pacedBytes - aheadOfMedium
	return p.finish(ctx, t)
}

// landDelta fills a target with what the entry is the header of. Nothing is
// marked: what is in its place shows by itself how far an earlier attempt came.
func (s *Streaming) landDelta(ctx context.Context, w work, e swu.Entry, slot Slot, skipEqual bool) (ota.Image, error) {
	if e.SizeBytes > swu.MaxDeltaHeaderBytes {
		return ota.Image{}, cannotStream(w.image, fmt.Sprintf("has a header of %d bytes, and %d at most are held in memory", e.SizeBytes, swu.MaxDeltaHeaderBytes))
	}
	header, err := s.verified(w.image, e)
	if err != nil {
		return ota.Image{}, err
	}
	if err := s.plan.describe(&w, bytes.NewReader(header)); err != nil {
		return ota.Image{}, err
	}
	return s.plan.writeDelta(ctx, w, slot, skipEqual, &bar{progress: s.bar, totalBytes: w.image.DecompressedBytes})
}

var errNoSource = errors.New("the board declares none")
