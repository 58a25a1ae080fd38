// Package install brings a signed artifact into a slot.
//
// Model: three steps, each of which can be done again after a crash.
// [Open] verifies the signature, that the artifact is for this hardware, and
// every payload's hash, from the staged file, before anything is touched.
// [Plan.Write] fills the idle slot in aligned blocks, hashing on the way in,
// and returns when the medium has it. [ReadBack] reads the whole image
// back from the medium and compares. The caller marks the slot unbootable
// before Write and arms it only after ReadBack.
//
// Trust: only what the signature covers is believed; the offer is not. The
// engine cannot choose the active slot: it is handed the idle one and refuses
// an artifact that names another.
package install

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"time"

	"otad/ota"
	"otad/ota/swu"
)

// Slot is what the engine needs of the idle slot.
type Slot interface {
	io.ReaderAt
	io.WriterAt
	// Size is the capacity in bytes.
	Size() int64
	// Sync returns when all that was written is on the medium.
	Sync() error
	// DropCache makes the next reads come from the medium.
	DropCache() error
}

// Target names the idle slot in the ways a description may call it.
type Target struct {
	Name      string   // "b"
	Device    string   // "/dev/mmcblk0p3"
	Forbidden []string // devices and names of the other slots, the active one among them
	SizeBytes int64
}

// Rules are what the artifact is held to.
type Rules struct {
	Trust     *swu.Trust
	Selection swu.Selection // model, revision and software set of the idle slot
	At        time.Time     // certificates must be valid at this time
	Floor     string        // lowest signed version accepted; "" for any
	BelowOK   bool          // a person at the box allowed a version below the floor
	Target    Target
}

// Stage names what is going on, for progress.
type Stage string

const (
	StageVerify   Stage = "verify"
	StageWrite    Stage = "write"
	StageReadBack Stage = "read-back"
)

// Progress is called with the bytes done and to do of a stage; the total is 0
// while it is not known. It is called often and must be quick.
type Progress func(stage Stage, doneBytes, totalBytes int64)

// blockBytes is the size of aligned writes: large enough that a block device
// never has to read before it writes.
const blockBytes = 1 << 20

// Plan is a verified artifact, ready to be written.
type Plan struct {
	Version string // the signed version
	Signer  string // common name of the signing certificate

	archive *swu.Archive
	image   swu.Image
	size    int64 // bytes that the image takes in the slot, -1 when not declared
}

// Open verifies the artifact that lies whole in r against the rules. Nothing
// is written. The faults are permanent, with codes artifact-*, wrong-hardware,
// below-floor, image-too-large and target-forbidden.
func Open(ctx context.Context, r io.ReaderAt, sizeBytes int64, rules Rules, progress Progress) (*Plan, error) {
	archive, err := swu.Open(r, sizeBytes)
	if err != nil {
		return nil, artifactFault(err)
	}
	description, signer, err := archive.Description(rules.Trust, rules.At)
	if err != nil {
		return nil, artifactFault(err)
	}
	selected, err := description.Select(rules.Selection)
	if err != nil {
		return nil, artifactFault(err)
	}
	if err := checkFloor(selected.Version, rules); err != nil {
		return nil, err
	}
	p := &Plan{Version: selected.Version, archive: archive}
	if signer != nil {
		p.Signer = signer.Subject.CommonName
	}
	if err := p.chooseImage(selected, rules.Target); err != nil {
		return nil, err
	}
	err = selected.Verify(ctx, archive, func(done, total int64) { progress(StageVerify, done, total) })
	if err != nil {
		return nil, artifactFault(err)
	}
	return p, nil
}

func checkFloor(version string, rules Rules) error {
	if rules.Floor == "" || rules.BelowOK || swu.CompareVersions(version, rules.Floor) >= 0 {
		return nil
	}
	return ota.NewPermanent(ota.CodeBelowFloor,
		fmt.Errorf("cannot install version %q: it is below the floor %q", version, rules.Floor)).
		WithHint("a person at the box can allow it: otad install --below-floor FILE")
}

// chooseImage takes the one image that goes into the slot and checks that it
// may and can.
func (p *Plan) chooseImage(selected *swu.Plan, target Target) error {
	if len(selected.Images) != 1 {
		return ota.NewPermanent(ota.CodeArtifactUnsupported,
			fmt.Errorf("cannot install artifact: it has %d images for this slot, one is supported", len(selected.Images)))
	}
	p.image = selected.Images[0]
	if err := checkDevice(p.image, target); err != nil {
		return err
	}
	switch {
	case p.image.OffsetBytes != 0:
		return p.unsupported("an offset in the slot")
	case p.image.InstallIfDifferent, p.image.InstallIfHigher:
		return p.unsupported("an install that depends on a component's version")
	}
	entry, ok := p.archive.Entry(p.image.Filename)
	if !ok {
		return ota.NewPermanent(ota.CodeArtifactDamaged,
			fmt.Errorf("cannot install image %q: it is not in the artifact", p.image.Filename))
	}
	if p.size = p.image.DecompressedBytes; p.image.Compressed == "" {
		p.size = entry.SizeBytes
	}
	if p.size > target.SizeBytes {
		return tooLarge(p.image.Filename, p.size, target.SizeBytes)
	}
	return nil
}

func (p *Plan) unsupported(what string) error {
	return ota.NewPermanent(ota.CodeArtifactUnsupported,
		fmt.Errorf("cannot install image %q: line %d asks for %s", p.image.Filename, p.image.Line, what))
}

func tooLarge(name string, size, room int64) error {
	return ota.NewPermanent(ota.CodeImageTooLarge,
		fmt.Errorf("cannot install image %q: it needs %d bytes, the slot has %d", name, size, room))
}

// checkDevice holds the description's device to the declared targets. An
// image without one goes to the idle slot.
func checkDevice(image swu.Image, target Target) error {
	if image.Device == "" || image.Device == target.Device || image.Device == target.Name {
		return nil
	}
	cause := "the board declares no such target"
	for _, name := range target.Forbidden {
		if image.Device == name {
			cause = "it is not the idle slot"
		}
	}
	return ota.NewPermanent(ota.CodeTargetForbidden,
		fmt.Errorf("cannot install image %q to %q: %s", image.Filename, image.Device, cause))
}

// Write fills the slot and syncs it. With skipEqual, blocks that the slot
// holds already are not written again: an interrupted install goes on where
// it was without wearing the flash twice.
func (p *Plan) Write(ctx context.Context, slot Slot, skipEqual bool, progress Progress) (ota.Image, error) {
	entry, _ := p.archive.Entry(p.image.Filename)
	payload, err := p.image.Decompress(p.archive.Payload(entry))
	if err != nil {
		return ota.Image{}, artifactFault(err)
	}
	defer payload.Close()
	w := &blockWriter{slot: slot, skipEqual: skipEqual, block: make([]byte, blockBytes), digest: sha256.New()}
	if skipEqual {
		w.held = make([]byte, blockBytes)
	}
	for {
		if err := ctx.Err(); err != nil {
			return ota.Image{}, err
		}
		n, readErr := io.ReadFull(payload, w.block)
		if readErr != nil && readErr != io.EOF && readErr != io.ErrUnexpectedEOF {
			return ota.Image{}, artifactFault(readErr)
		}
		if w.done+int64(n) > slot.Size() {
			return ota.Image{}, tooLarge(p.image.Filename, w.done+int64(n), slot.Size())
		}
		if err := w.write(n); err != nil {
			return ota.Image{}, boardFault("write", err)
		}
		progress(StageWrite, w.done, max(0, p.size))
		if readErr != nil {
			break
		}
	}
	digest := hex.EncodeToString(w.digest.Sum(nil))
	// The file was verified before, but it was read a second time since: from a
	// medium that may be worn, or may answer differently when asked again.
	if want := p.image.DecompressedSHA256; want != "" && want != digest {
		return ota.Image{}, ota.NewPermanent(ota.CodeArtifactHash,
			fmt.Errorf("cannot install image %q: it unpacks to sha256 %s, %s was signed", p.image.Filename, digest, want))
	}
	if w.done == 0 {
		return ota.Image{}, ota.NewPermanent(ota.CodeArtifactUnsupported,
			fmt.Errorf("cannot install image %q: it is empty", p.image.Filename))
	}
	if err := slot.Sync(); err != nil {
		return ota.Image{}, boardFault("sync", err)
	}
	return ota.Image{Version: p.Version, Signer: p.Signer, SHA256: digest, SizeBytes: w.done}, nil
}

// ReadBack reads the image back from the medium and compares it with what was
// written. A difference is a fault of the medium (readback).
func ReadBack(ctx context.Context, slot Slot, image ota.Image, progress Progress) error {
	if err := slot.DropCache(); err != nil {
		return boardFault("read back", err)
	}
	digest := sha256.New()
	block := make([]byte, blockBytes)
	for done := int64(0); done < image.SizeBytes; {
		if err := ctx.Err(); err != nil {
			return err
		}
		n := min(int64(len(block)), image.SizeBytes-done)
		if _, err := slot.ReadAt(block[:n], done); err != nil && !(errors.Is(err, io.EOF) && done+n == slot.Size()) {
			return boardFault("read back", err)
		}
		digest.Write(block[:n])
		done += n
		progress(StageReadBack, done, image.SizeBytes)
	}
	if got := hex.EncodeToString(digest.Sum(nil)); got != image.SHA256 {
		return ota.NewTransient(ota.CodeReadback,
			fmt.Errorf("cannot trust the slot: read back %s, written %s", got, image.SHA256)).
			WithHint("the flash may be worn out")
	}
	return nil
}

// boardFault classes what the slot answered: it may be a passing trouble of
// the medium, so a few more attempts are made.
func boardFault(verb string, err error) error {
	return ota.NewTransient(ota.CodeBoard, fmt.Errorf("cannot %s the slot: %w", verb, err))
}

// artifactFault classes an error of the format: it will not change by trying
// again. An error that comes from reading the staged file is left as it is.
func artifactFault(err error) error {
	var e *swu.Error
	if errors.As(err, &e) {
		return ota.NewPermanent(ota.Code(e.Kind), err).WithHint(e.Hint)
	}
	return err
}
