// Package install brings a signed artifact into a slot.
//
// Model: three steps, each of which can be done again after a crash.
// [Open] verifies the signature, that the artifact is for this hardware, that
// it goes only where it may, and every payload's hash, from the staged file,
// before anything is touched. [Plan.Write] fills the idle slot in aligned
// blocks, hashing on the way in, and does what else the artifact asks for; it
// returns when the media have it. [ReadBack] reads the whole image back from
// the medium and compares. The caller marks the slot unbootable before Write
// and arms it only after ReadBack.
//
// Trust: only what the signature covers is believed; the offer is not. The
// engine cannot choose the active slot: it is handed the idle one and refuses
// an artifact that names another. What it may touch beyond is declared in
// [Around]; scripts, which can do anything, run only from signed artifacts and
// only where the box has a place for them.
//
// A delta is put together from what runs, what is in its place already, and what
// has to be fetched; each chunk is held against its signed hash before it is
// written ([Delta]).
//
// Crash: Write may be cut at any instant and is then done again from its start.
// Each file is there whole or not at all; scripts must bear to be run again.
package install

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
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

// Forgetter is the optional power of a [Slot] to let go of the memory of a range
// that was read: a slot is larger than what a box can spare of its page cache.
type Forgetter interface {
	Forget(off, length int64) error
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
	Around    Around // what else it may touch
	// UpdateTypes are those that the box takes; none: any.
	UpdateTypes []string
}

// Stage names what is going on, for progress.
type Stage string

const (
	StageVerify   Stage = "verify"
	StageCompare  Stage = "compare" // of a delta, with what runs
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
	// UpdateType is the description's update-type; Reboot is false if it asks for
	// no restart.
	UpdateType string
	Reboot     bool

	archive *swu.Archive                // nil when it is streamed
	payload func(name string) io.Reader // the stored bytes of an entry
	around  Around
	slot    work   // the image of the idle slot
	others  []work // images of further targets
	files   []work
	scripts []swu.Image
	bootEnv []swu.Variable
	vars    []swu.Variable
}

// Open verifies the artifact that lies whole in r against the rules. Nothing
// is written. The faults are permanent, with codes artifact-*, wrong-hardware,
// below-floor, image-too-large, target-forbidden, and nothing when all that it
// has for the slot is installed already.
func Open(ctx context.Context, r io.ReaderAt, sizeBytes int64, rules Rules, progress Progress) (*Plan, error) {
	archive, err := swu.Open(r, sizeBytes)
	if err != nil {
		return nil, artifactFault(err)
	}
	description, signer, err := archive.Description(rules.Trust, rules.At)
	if err != nil {
		return nil, artifactFault(err)
	}
	selected, err := choose(description, rules)
	if err != nil {
		return nil, err
	}
	p := newPlan(selected, signer, rules)
	p.archive, p.payload = archive, func(name string) io.Reader {
		entry, _ := archive.Entry(name)
		return archive.Payload(entry)
	}
	if err := p.arrange(selected, rules); err != nil {
		return nil, err
	}
	err = selected.Verify(ctx, archive, func(done, total int64) { progress(StageVerify, done, total) })
	if err != nil {
		return nil, artifactFault(err)
	}
	if err := p.describeDeltas(); err != nil {
		return nil, err
	}
	return p, nil
}

// choose finds what is for this box, if the floor allows it.
func choose(d *swu.Description, rules Rules) (*swu.Plan, error) {
	selected, err := d.Select(rules.Selection)
	if err != nil {
		return nil, artifactFault(err)
	}
	if err := checkFloor(selected.Version, rules); err != nil {
		return nil, err
	}
	return selected, checkUpdateType(selected.UpdateType, rules.UpdateTypes)
}

func newPlan(selected *swu.Plan, signer *x509.Certificate, rules Rules) *Plan {
	p := &Plan{Version: selected.Version, UpdateType: selected.UpdateType, Reboot: selected.Reboot, around: rules.Around}
	if signer != nil {
		p.Signer = signer.Subject.CommonName
	}
	return p
}

func checkFloor(version string, rules Rules) error {
	if rules.Floor == "" || rules.BelowOK || swu.CompareVersions(version, rules.Floor) >= 0 {
		return nil
	}
	return ota.NewPermanent(ota.CodeBelowFloor,
		fmt.Errorf("cannot install version %q: it is below the floor %q", version, rules.Floor)).
		WithHint("a person at the box can allow it: otad install --below-floor FILE")
}

// checkUpdateType is SWUpdate's rule for a box that lists its types: another
// one is refused, and an artifact without one is of the type "default".
func checkUpdateType(name string, taken []string) error {
	if name == "" {
		name = "default"
	}
	if len(taken) == 0 || slices.Contains(taken, name) {
		return nil
	}
	return ota.NewPermanent(ota.CodeArtifactUnsupported,
		fmt.Errorf("cannot install artifact: its update-type is %q, this box takes only %q", name, taken))
}

// arrange finds the place of everything that was selected and refuses what has
// none.
func (p *Plan) arrange(selected *swu.Plan, rules Rules) error {
	forSlot := len(selected.Images)
	if err := applyConditions(selected, p.around); err != nil {
		return err
	}
	taken := map[string]int{}
	for _, image := range slices.Concat(selected.Images, selected.Files) {
		w, err := p.place(image, rules)
		switch {
		case err != nil:
			return err
		case w.target == nil:
			p.files = append(p.files, w)
			continue
		case taken[w.target.Name] != 0:
			return unsupported(image, fmt.Sprintf("a second image, after that of line %d, in the same target", taken[w.target.Name]))
		case w.target.Name == rules.Target.Name:
			p.slot = w
		default:
			p.others = append(p.others, w)
		}
		taken[w.target.Name] = image.Line
	}
	p.scripts, p.bootEnv, p.vars = selected.Scripts, selected.BootEnv, selected.Vars
	if len(p.scripts) > 0 && (p.around.Scripts.Dir == "" || p.around.Scripts.Timeout <= 0) {
		return unsupported(p.scripts[0], "a script, and this box runs none")
	}
	if err := p.checkVariables(); err != nil {
		return err
	}
	switch {
	case p.slot.target != nil:
		return p.checkSet()
	case len(p.others) > 0:
		return unsupported(p.others[0].image, "an image for a part of the idle slot, and there is none for the slot itself")
	case len(p.files) == 0 && forSlot > len(selected.Images):
		return ota.NewPermanent(ota.CodeNothing, errors.New("cannot install artifact: what it has for the idle slot is installed already"))
	}
	return nil
}

// FillsSlot tells whether the artifact has an image for the idle slot. One that
// has none only changes files, runs scripts and sets vars in the system that
// runs: there is nothing to arm, and nothing to fall back to.
func (p *Plan) FillsSlot() bool { return p.slot.target != nil }

// ReadBack reads the image back from the medium and compares it with what was
// written. A difference is a fault of the medium (readback).
func ReadBack(ctx context.Context, slot Slot, image ota.Image, progress Progress) error {
	if err := slot.DropCache(); err != nil {
		return boardFault("read back", err)
	}
	forget := func(off, length int64) error { return nil }
	if f, ok := slot.(Forgetter); ok {
		forget = f.Forget
	}
	digest := sha256.New()
	pooled := blockPool.Get().(*block)
	defer blockPool.Put(pooled)
	block := pooled.buf
	for done := int64(0); done < image.SizeBytes; {
		if err := ctx.Err(); err != nil {
			return err
		}
		n := min(int64(len(block)), image.SizeBytes-done)
		if _, err := slot.ReadAt(block[:n], done); err != nil && !(errors.Is(err, io.EOF) && done+n == slot.Size()) {
			return boardFault("read back", err)
		}
		digest.Write(block[:n])
		if err := forget(done, n); err != nil {
			return boardFault("read back", err)
		}
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
