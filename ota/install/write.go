package install

import (
	"context"
	"encoding/hex"
	"fmt"

	"otad/ota"
)

// Write does all that the artifact asks for, but for what takes effect with the
// arming: scripts before, the idle slot, further targets (read back at once),
// files, scripts after, and the staging of variables. The slot is synced, and
// described by the result for [ReadBack]. With skipEqual, blocks that a target
// holds already are not written again: an interrupted install goes on where it
// was without wearing the flash twice. A plan that does not fill the slot wants
// none, and describes none.
func (p *Plan) Write(ctx context.Context, slot Slot, skipEqual bool, progress Progress) (ota.Image, error) {
	image, err := p.write(ctx, slot, skipEqual, progress)
	if err != nil && ctx.Err() == nil && len(p.scripts) > 0 {
		// What a script says about the failure of another changes nothing.
		_ = p.runScripts(ctx, afterFailure)
	}
	return image, err
}

func (p *Plan) write(ctx context.Context, slot Slot, skipEqual bool, progress Progress) (ota.Image, error) {
	if err := p.discardPending(); err != nil {
		return ota.Image{}, err
	}
	if err := p.runScripts(ctx, beforeImages); err != nil {
		return ota.Image{}, err
	}
	bar := &bar{progress: progress, totalBytes: p.totalBytes()}
	image := ota.Image{}
	if p.FillsSlot() {
		var err error
		if image, err = p.writeImage(ctx, p.slot, slot, skipEqual, bar); err != nil {
			return ota.Image{}, err
		}
	}
	for _, w := range p.others {
		part, err := p.writeOther(ctx, w, skipEqual, bar)
		if err != nil {
			return ota.Image{}, err
		}
		image = image.WithPart(w.target.Name, part)
	}
	for _, w := range p.files {
		if err := p.putFile(ctx, w); err != nil {
			return ota.Image{}, err
		}
	}
	if err := p.runScripts(ctx, afterImages); err != nil {
		return ota.Image{}, err
	}
	return image, p.stageVariables(ctx)
}

// discardPending drops what waits of an update that ended before it was
// confirmed.
func (p *Plan) discardPending() error {
	if err := p.around.Discard(); err != nil {
		return ota.NewTransient(ota.CodeBoard, err)
	}
	return nil
}

// stageVariables hands over the variables, also when there are none: those of
// an update that failed must not stay.
func (p *Plan) stageVariables(ctx context.Context) error {
	if p.around.BootEnv != nil && p.FillsSlot() {
		if err := p.around.BootEnv.Stage(ctx, p.slot.target.Name, p.bootEnv); err != nil {
			return ota.NewTransient(ota.CodeBootEnvironment, fmt.Errorf("cannot stage bootenv: %w", err))
		}
	}
	if p.around.Vars != "" {
		if err := stageVars(p.around.Vars, p.vars); err != nil {
			return ota.NewTransient(ota.CodeBoard, fmt.Errorf("cannot stage vars: %w", err))
		}
	}
	return nil
}

// writeOther fills a further target and reads it back.
func (p *Plan) writeOther(ctx context.Context, w work, skipEqual bool, bar *bar) (ota.Image, error) {
	medium, err := p.around.OpenTarget(ctx, w.target.Name)
	if err != nil {
		return ota.Image{}, boardFault("open", err)
	}
	defer medium.Close()
	image, err := p.writeImage(ctx, w, medium, skipEqual, bar)
	if err != nil {
		return ota.Image{}, err
	}
	return image, ReadBack(ctx, medium, image, func(Stage, int64, int64) {})
}

// writeImage fills a target with an image and syncs it. What it returns
// describes the target from its start, so the bytes before an offset count too.
func (p *Plan) writeImage(ctx context.Context, job work, slot Slot, skipEqual bool, bar *bar) (ota.Image, error) {
	if job.delta != nil {
		return p.writeDelta(ctx, job, slot, skipEqual, bar)
	}
	flow, err := job.image.Flow(p.payload(job.image.Filename), p.around.Key, 0, 0)
	if err != nil {
		return ota.Image{}, artifactFault(err)
	}
	defer flow.Close()
	t := &transfer{job: job, flow: flow, wrote: func(b *block) error {
		bar.add(len(b.data))
		return nil
	}}
	if t.w, err = newBlockWriter(slot, job.image.OffsetBytes, skipEqual); err != nil {
		return ota.Image{}, err
	}
	return p.finish(ctx, t)
}

// finish lets a transfer run to its end and holds what was written against
// what was signed.
func (p *Plan) finish(ctx context.Context, t *transfer) (ota.Image, error) {
	if err := t.run(ctx); err != nil {
		return ota.Image{}, err
	}
	// A staged file was verified before, but it was read a second time since:
	// from a medium that may be worn, or may answer differently when asked again.
	// What is streamed is judged only here.
	if err := checkDigest(t.job.image, hex.EncodeToString(t.w.digest.Sum(nil))); err != nil {
		return ota.Image{}, err
	}
	if t.w.done == t.job.image.OffsetBytes {
		return ota.Image{}, ota.NewPermanent(ota.CodeArtifactUnsupported,
			fmt.Errorf("cannot install image %q: it is empty", t.job.image.Filename))
	}
	if err := t.w.slot.Sync(); err != nil {
		return ota.Image{}, boardFault("sync", err)
	}
	return ota.Image{Version: p.Version, Signer: p.Signer, SHA256: t.w.sha256(), SizeBytes: t.w.done}, nil
}

// bar adds up what goes into all targets.
type bar struct {
	progress   Progress
	doneBytes  int64
	totalBytes int64 // 0: not known
}

func (b *bar) add(n int) {
	b.doneBytes += int64(n)
	b.progress(StageWrite, b.doneBytes, b.totalBytes)
}

// totalBytes is what all targets get, 0 when an image does not say.
func (p *Plan) totalBytes() int64 {
	total := int64(0)
	for _, w := range append([]work{p.slot}, p.others...) {
		if w.target == nil {
			continue
		}
		n := p.plainBytes(w.image)
		if n < 0 {
			return 0
		}
		total += n
	}
	return total
}
