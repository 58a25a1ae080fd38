package install

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"

	"otad/ota"
	"otad/ota/swu"
)

// Source is an artifact on its way in: read from front to back, and never kept.
// It survives cut connections by itself.
type Source interface {
	io.Reader
	// SkipTo moves on to an offset of the artifact that lies ahead.
	SkipTo(offset int64) error
	// Close ends a Read under way. It may be called more than once.
	Close() error
}

// Streaming is an artifact whose signature was verified, and which is allowed,
// but whose payloads have yet to come. They go to their places as they come, in
// the order of the archive, each held against the signed description at its
// end. So a slot may come to hold what was never signed; it is unbootable
// then, and [Streaming.Write] fails. Nothing else is ever touched by bytes that
// were not verified: what would be (scripts, archives, bundles of
// certificates) is kept in memory until it is whole, and refused when it is too
// large for that.
type Streaming struct {
	plan   *Plan
	source Source
	in     *swu.Stream
	places map[string]place  // of every payload that is wanted, by its name
	held   map[string][]byte // payloads that are kept in memory
	room   int64             // for more of them
	slot   Slot
	save   func(Landed) error
	every  int64
	bar    Progress
	total  int64
	image  ota.Image // of the slot, once it is done
}

// place is what becomes of a payload.
type place struct {
	work   work // of an image or a file
	script *swu.Image
	done   bool
}

// Landed is how far a streamed artifact is on the media.
type Landed struct {
	Offset int64           // where the transfer can go on
	Point  ota.StreamPoint // where the writing can go on
	Image  ota.Image       // of the slot, once it is done, and of its parts that are
}

// maxHeldBytes bounds what is kept in memory.
const maxHeldBytes = 512 << 10

// OpenStream reads the head of an artifact and verifies all that [Open] does
// but the payloads, which have not come yet. Nothing is written. What cannot be
// streamed is refused by its name. Errors of the source come back as they are.
func OpenStream(source Source, rules Rules) (*Streaming, error) {
	in, err := swu.OpenStream(source, source.SkipTo)
	if err != nil {
		return nil, artifactFault(err)
	}
	description, signer, err := in.Description(rules.Trust, rules.At)
	if err != nil {
		return nil, artifactFault(err)
	}
	selected, err := choose(description, rules)
	if err != nil {
		return nil, err
	}
	s := &Streaming{plan: newPlan(selected, signer, rules), source: source, in: in,
		places: map[string]place{}, held: map[string][]byte{}, room: maxHeldBytes}
	s.plan.payload = s.payload
	if err := s.plan.arrange(selected, rules); err != nil {
		return nil, err
	}
	return s, s.assign()
}

// Plan is what the artifact asks for.
func (s *Streaming) Plan() *Plan { return s.plan }

// assign gives every payload its place.
func (s *Streaming) assign() error {
	p := s.plan
	add := func(image swu.Image, to place) error {
		if _, twice := s.places[image.Filename]; twice {
			return cannotStream(image, "is asked for twice")
		}
		s.places[image.Filename] = to
		return nil
	}
	works := slices.Concat(p.others, p.files)
	if p.FillsSlot() {
		works = append(works, p.slot)
	}
	for _, w := range works {
		if err := add(w.image, place{work: w}); err != nil {
			return err
		}
	}
	for _, script := range p.scripts {
		if err := add(script, place{script: &script}); err != nil {
			return err
		}
	}
	return nil
}

func cannotStream(image swu.Image, why string) error {
	return ota.NewPermanent(ota.CodeArtifactUnsupported,
		fmt.Errorf("cannot stream artifact: %q %s", image.Filename, why)).
		WithHint("make room in the staging directory, or build the artifact as docs/artifact.md says for streaming")
}

// payload is what the plan reads: what is held, or what comes in now.
func (s *Streaming) payload(name string) io.Reader {
	if b, ok := s.held[name]; ok {
		return bytes.NewReader(b)
	}
	return s.in
}

// StreamTo says where to and from where on a streamed artifact is written.
type StreamTo struct {
	Slot Slot
	// From is where an earlier Write had come, by what Save kept; the zero value
	// for the start.
	From Landed
	// SkipEqual leaves alone what the media hold already, as in [Plan.Write].
	SkipEqual bool
	// Save keeps durably how far the media are; nothing is saved twice for fewer
	// than MarkEvery bytes of the artifact.
	Save      func(Landed) error
	MarkEvery int64
	// TotalBytes of the artifact, 0 while unknown, are for the progress, which
	// counts what came in.
	TotalBytes int64
	Progress   Progress
}

// Write is [Plan.Write] for what comes in: it returns when the last payload is
// in its place, synced, and is what was signed.
func (s *Streaming) Write(ctx context.Context, to StreamTo) (ota.Image, error) {
	s.slot, s.save, s.every, s.bar, s.total, s.image = to.Slot, to.Save, to.MarkEvery, to.Progress, to.TotalBytes, to.From.Image
	err := s.write(ctx, to.From.Point, to.SkipEqual)
	if err != nil && ctx.Err() == nil && len(s.plan.scripts) > 0 {
		_ = s.plan.runHeld(ctx, s.held) // changes nothing
	}
	return s.image, err
}

// runHeld runs for the failure the scripts that have come.
func (p *Plan) runHeld(ctx context.Context, held map[string][]byte) error {
	p.scripts = slices.DeleteFunc(slices.Clone(p.scripts), func(i swu.Image) bool { return held[i.Filename] == nil })
	return p.runScripts(ctx, afterFailure)
}

func (s *Streaming) write(ctx context.Context, from ota.StreamPoint, skipEqual bool) error {
	begun, behind := false, from.Entry != ""
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		e, err := s.in.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return artifactFault(err)
		}
		to, wanted := s.places[e.Name]
		if !wanted {
			continue
		}
		to.done = true
		s.places[e.Name] = to
		if to.script != nil {
			if err := s.hold(*to.script, e); err != nil {
				return err
			}
			continue
		}
		if !begun {
			if err := s.begin(ctx, e, behind); err != nil {
				return err
			}
			begun = true
		}
		if behind && e.Name != from.Entry {
			continue // it is in its place since then
		}
		if !behind {
			from = ota.StreamPoint{}
		}
		behind = false
		if err := s.land(ctx, to.work, e, from, skipEqual); err != nil {
			return err
		}
	}
	if err := s.complete(); err != nil {
		return err
	}
	if err := s.plan.runScripts(ctx, afterImages); err != nil {
		return err
	}
	return s.plan.stageVariables(ctx)
}

// begin does what comes before the first payload is put into its place.
func (s *Streaming) begin(ctx context.Context, first swu.Entry, resumed bool) error {
	for _, script := range s.plan.scripts {
		if s.held[script.Filename] == nil && slices.Contains(runsAt[beforeImages], script.Type) {
			return cannotStream(script, fmt.Sprintf("must run before %q is installed, and lies behind it", first.Name))
		}
	}
	if !resumed {
		if err := s.plan.discardPending(); err != nil {
			return err
		}
	}
	// After a restart they run again: what they did to the running system is gone.
	return s.plan.runScripts(ctx, beforeImages)
}

// complete demands that every payload came.
func (s *Streaming) complete() error {
	for name, to := range s.places {
		if !to.done {
			return ota.NewPermanent(ota.CodeArtifactDamaged, fmt.Errorf("cannot use artifact: the archive has no entry %q", name))
		}
	}
	if s.plan.FillsSlot() && s.image.SHA256 == "" {
		return ota.NewPermanent(ota.CodeInternal, errors.New("cannot use artifact: the image of the slot was passed over"))
	}
	return nil
}

// hold keeps a payload in memory, once it is whole and what was signed.
func (s *Streaming) hold(image swu.Image, e swu.Entry) error {
	if err := checkStored(image, e); err != nil {
		return err
	}
	if e.SizeBytes > s.room {
		return cannotStream(image, fmt.Sprintf("has %d bytes, and %d at most can be kept in memory until they are verified", e.SizeBytes, s.room))
	}
	s.room -= e.SizeBytes
	b, err := s.verified(image, e)
	s.held[e.Name] = b
	return err
}

// verified reads a payload whole, of a size that was found bearable.
func (s *Streaming) verified(image swu.Image, e swu.Entry) ([]byte, error) {
	b := make([]byte, e.SizeBytes)
	if _, err := io.ReadFull(s.in, b); err != nil {
		return nil, artifactFault(err)
	}
	if sum := sha256.Sum256(b); hex.EncodeToString(sum[:]) != image.SHA256 {
		return nil, ota.NewPermanent(ota.CodeArtifactHash,
			fmt.Errorf("cannot use artifact: entry %q: its sha256 is %x, the signed description says %s", e.Name, sum, image.SHA256))
	}
	return b, nil
}

// checkStored holds the size of an entry against the description's.
func checkStored(image swu.Image, e swu.Entry) error {
	if image.SizeBytes < 0 || image.SizeBytes == e.SizeBytes {
		return nil
	}
	return ota.NewPermanent(ota.CodeArtifactHash,
		fmt.Errorf("cannot use artifact: entry %q has %d bytes, the signed description says %d", e.Name, e.SizeBytes, image.SizeBytes))
}

// land brings a payload to its place.
func (s *Streaming) land(ctx context.Context, w work, e swu.Entry, from ota.StreamPoint, skipEqual bool) error {
	if err := checkStored(w.image, e); err != nil {
		return err
	}
	switch {
	case w.target == nil:
		return s.landFile(ctx, w, e)
	case w.target.Name == s.plan.slot.target.Name:
		image, err := s.landImage(ctx, w, e, s.slot, from, skipEqual)
		if err == nil {
			image.Parts = s.image.Parts // those that came before
			s.image = image
		}
		return err
	}
	medium, err := s.plan.around.OpenTarget(ctx, w.target.Name)
	if err != nil {
		return boardFault("open", err)
	}
	defer medium.Close()
	image, err := s.landImage(ctx, w, e, medium, from, skipEqual)
	if err != nil {
		return err
	}
	if err := ReadBack(ctx, medium, image, func(Stage, int64, int64) {}); err != nil {
		return err
	}
	s.image = s.image.WithPart(w.target.Name, image)
	return nil
}

// landFile puts a file into its place. A single file is written aside and gets
// its name once it is verified; what cannot wait so is held first.
func (s *Streaming) landFile(ctx context.Context, w work, e swu.Entry) error {
	if w.image.Type == swu.TypeArchive || w.dir.Trust {
		if err := s.hold(w.image, e); err != nil {
			return err
		}
	}
	if w.dir.Trust {
		if err := s.plan.checkBundle(w); err != nil {
			return err
		}
	}
	return s.plan.putFile(ctx, w)
}

// landImage fills a target with the entry, from a mark on.
func (s *Streaming) landImage(ctx context.Context, w work, e swu.Entry, slot Slot, from ota.StreamPoint, skipEqual bool) (ota.Image, error) {
	if w.image.Type == swu.TypeDelta {
		return s.landDelta(ctx, w, e, slot, skipEqual)
	}
	writer, err := newBlockWriter(slot, w.image.OffsetBytes, skipEqual)
	if err != nil {
		return ota.Image{}, err
	}
	resumable := w.image.Resumable() && w.image.OffsetBytes == 0
	if !resumable || from.Entry == "" || !writer.goOn(from) {
		from = ota.StreamPoint{}
	}
	if err := s.in.Skip(from.Stored); err != nil {
		return ota.Image{}, artifactFault(err)
	}
	incoming := readAhead(s.in)
	// A Read of the source that nobody waits for any more is ended.
	defer incoming.stop(s.source)
	flow, err := w.image.Flow(incoming, s.plan.around.Key, from.Stored, from.PlainBytes)
	if err != nil {
		return ota.Image{}, artifactFault(err)
	}
	defer flow.Close()
	begin := e.OffsetBytes + from.Stored
	t := &transfer{job: w, flow: flow, w: writer,
		takenBytes: func() int64 { return begin + incoming.taken },
		wrote: func(b *block) error {
			s.bar(StageWrite, b.taken, s.total)
			if !b.marked {
				return nil
			}
			return s.save(Landed{Offset: e.OffsetBytes + b.stored, Image: s.image,
				Point: ota.StreamPoint{Entry: e.Name, Stored: b.stored, PlainBytes: b.plain, Hash: b.hash}})
		}}
	if resumable {
		t.markEvery = s.every
	}
	t.interrupt = func() { s.source.Close() }
	image, err := s.plan.finish(ctx, t)
	if err == nil {
		_, err = io.Copy(io.Discard, incoming) // a decoder may end before its payload
	}
	return image, artifactFault(err)
}
