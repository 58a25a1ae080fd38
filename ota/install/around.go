package install

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"otad/ota"
	"otad/ota/swu"
	"otad/ota/zck"
)

// Around is what an artifact may touch and ask beyond the idle slot. The zero
// value declares nothing: an artifact that needs more is refused by [Open],
// with the line that asks for it.
type Around struct {
	// Targets are the parts of the idle slot beyond its first medium, such as the
	// kernel's partition beside that of the root file system: a set that is
	// written as a whole or not at all. None of them may be in use.
	Targets []Target
	// OpenTarget opens one of them by its name. Needed if there are any.
	OpenTarget func(ctx context.Context, name string) (Medium, error)
	// Directories are where files and archives may go.
	Directories []Directory
	Scripts     Scripts
	// BootEnv takes the variables of bootenv; nil refuses artifacts that have some.
	BootEnv Variables
	// Vars is the file for those of vars, on a file system that all slots share;
	// "" refuses artifacts that have some.
	Vars string
	// Installed tells the version of a component that is installed now; nil
	// refuses artifacts whose installation depends on it.
	Installed func(component string) (version string, known bool)
	// Key decrypts; nil refuses what is encrypted.
	Key   *swu.Key
	Delta Delta
}

// Medium is a slot that was opened for one install.
type Medium interface {
	Slot
	io.Closer
}

// Directory is a place for files. Nothing is written outside of Path, whatever
// links lie in it.
type Directory struct {
	// Device is how a description calls the file system that is mounted at
	// Path; its paths are then below Path. Empty: the running system; its paths
	// are whole, and must be Path or below it.
	Device string
	Path   string
	// Trust says that it holds certificates to trust. A file for it must be a
	// bundle that [swu.ParseTrust] reads, and waits, apart, until [Promote].
	Trust bool
}

// Variables keeps what an artifact sets for the bootloader.
type Variables interface {
	// Check refuses a change that is not an artifact's to make, such as of a
	// variable by which the board chooses the slot. It says why; a [ota.Fault]
	// keeps its class.
	Check(slot string, change swu.Variable) error
	// Stage keeps the changes durably and in place of all staged before. They
	// take effect with the act that arms the slot, never without it.
	Stage(ctx context.Context, slot string, changes []swu.Variable) error
}

// work is one payload with the place that it goes to.
type work struct {
	image  swu.Image
	target *Target     // of an image
	dir    *Directory  // of a file or an archive
	name   string      // in dir; "." is dir itself
	delta  *zck.Header // of a delta, once it was read
}

// applyConditions drops what is installed already. The images make a set: one
// of which anything differs is written as a whole, because the idle slot holds
// another version than the one that runs and is asked about.
func applyConditions(selected *swu.Plan, around Around) error {
	var missing error
	installed := func(i swu.Image) bool {
		if !i.InstallIfDifferent && !i.InstallIfHigher || missing != nil {
			return false
		}
		if around.Installed == nil {
			missing = unsupported(i, "an install that depends on a component's version")
			return false
		}
		held, known := around.Installed(i.Name)
		switch {
		case !known || i.Name == "" || i.Version == "":
			return false
		case i.InstallIfDifferent && held == i.Version:
			return true
		}
		return i.InstallIfHigher && swu.CompareVersions(i.Version, held) <= 0
	}
	fresh := func(i swu.Image) bool { return fillsTarget(i) && !installed(i) }
	whole := slices.ContainsFunc(selected.Images, fresh)
	selected.Images = slices.DeleteFunc(selected.Images, func(i swu.Image) bool {
		return installed(i) && !(whole && fillsTarget(i))
	})
	selected.Files = slices.DeleteFunc(selected.Files, installed)
	return missing
}

// place finds where an image or a file goes and checks that it may.
func (p *Plan) place(image swu.Image, rules Rules) (work, error) {
	w := work{image: image}
	if image.Encrypted != "" && p.around.Key == nil {
		return w, unsupported(image, "decryption, for which this box has no key")
	}
	var err error
	if image.Type == swu.TypeDelta {
		err = p.checkDelta(image)
	}
	if err != nil {
		return w, err
	}
	if fillsTarget(image) {
		w.target, err = chooseTarget(image, rules.Target, p.around.Targets)
		if err == nil {
			err = p.checkSize(image, *w.target)
		}
		return w, err
	}
	if w.dir, w.name, err = chooseDirectory(image, p.around.Directories); err != nil {
		return w, err
	}
	switch {
	case image.OffsetBytes != 0:
		return w, unsupported(image, "an offset in a file")
	case image.Type == swu.TypeRawFile && w.name == ".":
		return w, unsupported(image, "a file in place of a directory")
	case w.dir.Trust:
		return w, p.checkTrust(w)
	}
	return w, nil
}

// chooseTarget holds the description's device to the declared targets. An
// image without one goes to the idle slot.
func chooseTarget(image swu.Image, idle Target, others []Target) (*Target, error) {
	if image.Device == "" {
		return &idle, nil
	}
	for _, t := range append([]Target{idle}, others...) {
		if image.Device == t.Device || image.Device == t.Name {
			return &t, nil
		}
	}
	cause := "the board declares no such target"
	if slices.Contains(idle.Forbidden, image.Device) {
		cause = "it is not the idle slot"
	}
	return nil, ota.NewPermanent(ota.CodeTargetForbidden,
		fmt.Errorf("cannot install image %q to %q: %s", image.Filename, image.Device, cause))
}

// chooseDirectory holds a path to the declared directories. The longest one
// that fits is meant.
func chooseDirectory(image swu.Image, declared []Directory) (*Directory, string, error) {
	var best *Directory
	name := ""
	for _, d := range declared {
		if d.Device != image.Device {
			continue
		}
		rel := strings.TrimLeft(image.Path, "/")
		if d.Device == "" {
			below, err := filepath.Rel(d.Path, image.Path)
			if err != nil || !path.IsAbs(image.Path) {
				continue
			}
			rel = below
		}
		rel = path.Clean(rel)
		if filepath.IsLocal(rel) && (best == nil || len(d.Path) > len(best.Path)) {
			best, name = &d, rel
		}
	}
	if best == nil {
		where := image.Path
		if image.Device != "" {
			where = image.Device + ":" + where
		}
		return nil, "", ota.NewPermanent(ota.CodeTargetForbidden,
			fmt.Errorf("cannot install %q to %q, as line %d asks: it is in no declared directory", image.Filename, where, image.Line))
	}
	return best, name, nil
}

// checkSize refuses an image that is known to be too large for its target.
func (p *Plan) checkSize(image swu.Image, target Target) error {
	size := p.plainBytes(image)
	if image.OffsetBytes > target.SizeBytes || size > target.SizeBytes-image.OffsetBytes {
		return tooLarge(image.Filename, image.OffsetBytes+size, target.SizeBytes)
	}
	return nil
}

// plainBytes is how much an image writes, -1 when it is not declared.
func (p *Plan) plainBytes(image swu.Image) int64 {
	if image.Compressed != "" || image.Encrypted != "" || image.Type == swu.TypeDelta {
		return image.DecompressedBytes
	}
	if p.archive == nil {
		return image.SizeBytes
	}
	entry, ok := p.archive.Entry(image.Filename)
	if !ok {
		return -1 // the verification will say so
	}
	return entry.SizeBytes
}

// checkVariables refuses what the box does not take.
func (p *Plan) checkVariables() error {
	refuse := func(v swu.Variable, cause error) error {
		if f := (*ota.Fault)(nil); errors.As(cause, &f) {
			return cause
		}
		return ota.NewPermanent(ota.CodeArtifactUnsupported,
			fmt.Errorf("cannot set variable %q, as line %d asks: %w", v.Name, v.Line, cause))
	}
	for _, v := range p.bootEnv {
		switch {
		case p.around.BootEnv == nil:
			return refuse(v, errors.New("this box takes no bootenv"))
		case p.slot.target == nil:
			return refuse(v, errors.New("bootenv counts with the arming of the slot, and there is no image for the slot"))
		}
		if err := p.around.BootEnv.Check(p.slot.target.Name, v); err != nil {
			return refuse(v, err)
		}
	}
	if p.around.Vars == "" && len(p.vars) > 0 {
		return refuse(p.vars[0], errors.New("this box takes no vars"))
	}
	return nil
}

// checkSet demands an image for each part of the idle slot.
func (p *Plan) checkSet() error {
	for _, t := range p.around.Targets {
		if !slices.ContainsFunc(p.others, func(w work) bool { return w.target.Name == t.Name }) {
			return ota.NewPermanent(ota.CodeArtifactUnsupported,
				fmt.Errorf("cannot install artifact: it has no image for part %q (%s) of the idle slot, which is only written as a whole", t.Name, t.Device))
		}
	}
	return nil
}

func unsupported(image swu.Image, what string) error {
	return ota.NewPermanent(ota.CodeArtifactUnsupported,
		fmt.Errorf("cannot install %q: line %d asks for %s", image.Filename, image.Line, what))
}

func tooLarge(name string, size, room int64) error {
	return ota.NewPermanent(ota.CodeImageTooLarge,
		fmt.Errorf("cannot install image %q: it needs %d bytes, the slot has %d", name, size, room))
}
