// Package sim is a set-top box in a directory: two slots as files, a boot
// environment in two copies, and a bootloader that counts tries.
//
// [Board] is the driver that otad uses; [Machine] is the bootloader and the
// power supply, for those who play the box (the lab and the tests). The two
// share only the files, as on a real box:
//
//	env.0 env.1         the boot environment, redundant, with check sums
//	slot-a.img …        the slots, sizes fixed when the box was made
//	part-a-kernel.img … their parts, if they have some
//	bootenv             variables that wait for the arming
//	booted              what the bootloader told the system that it started
//	reboot              the reason, while a restart is asked for
//	busy                the reason not to disturb, when there is one
//	reboot-reason       the reason of the last restart
//	standby timer       what else the viewer does not or will notice
//	not-ready metered   why it must wait
//	screen/             a TV screen and a front panel, if there are any
//
// The driver never changes `booted`; the machine never changes a slot.
package sim

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"otad/board"
	"otad/ota/durable"
)

// Tries is how often the bootloader starts an armed slot before it falls back.
const Tries = 3

const smallFile = 4096 // bound for every file that is not a slot

// Box is the directory, seen from both sides.
type box struct {
	fs    durable.FS
	dir   string
	names []string // slots, in order
	parts []string // of each slot, in order
}

// Create makes a box in dir, which may exist but holds no box yet: one empty
// slot of sizeBytes for each name, the first one being the permanent choice.
// The names are in ascending order, because that is how they are found again.
func Create(fsys durable.FS, dir string, sizeBytes int64, names ...string) error {
	b := &box{fs: fsys, dir: dir, names: names}
	if len(names) < 2 {
		return fmt.Errorf("cannot make box %q: it needs two slots", dir)
	}
	if !slices.IsSorted(names) {
		return fmt.Errorf("cannot make box %q: slots %q are not in order", dir, names)
	}
	if err := durable.MkdirAll(fsys, dir, 0o755); err != nil {
		return err
	}
	for _, name := range names {
		if err := b.createMedium(slotFile(name), name, sizeBytes); err != nil {
			return err
		}
	}
	return b.writeEnv(environment{Default: names[0]})
}

// createMedium makes the file of the slot or part called name.
func (b *box) createMedium(file, name string, sizeBytes int64) error {
	if name == "" || strings.ContainsAny(name, "/ \n=") {
		return fmt.Errorf("cannot make %q: bad name", name)
	}
	f, err := b.fs.OpenFile(b.path(file), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return fmt.Errorf("cannot make %q: %w", name, err)
	}
	if err := errors.Join(f.Truncate(sizeBytes), f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("cannot make %q: %w", name, err)
	}
	return b.fs.SyncDir(b.dir)
}

// AddPart adds an empty part of sizeBytes to each slot of the box in dir.
func AddPart(fsys durable.FS, dir, name string, sizeBytes int64) error {
	b, err := openBox(fsys, dir)
	if err != nil {
		return err
	}
	if strings.Contains(name, "-") || slices.Contains(b.parts, name) {
		return fmt.Errorf("cannot make part %q: bad name", name)
	}
	for _, slot := range b.names {
		if err := b.createMedium(partFile(slot, name), name, sizeBytes); err != nil {
			return err
		}
	}
	return nil
}

func (b *box) path(name string) string     { return filepath.Join(b.dir, name) }
func (b *box) slotPath(name string) string { return b.path(slotFile(name)) }

func slotFile(slot string) string       { return "slot-" + slot + ".img" }
func partFile(slot, part string) string { return "part-" + slot + "-" + part + ".img" }

// devicePath is where a device is: the slot "a" is "/dev/sim-a", its part
// "kernel" is "/dev/sim-a-kernel".
func (b *box) devicePath(device string) string {
	name := strings.TrimPrefix(device, "/dev/sim-")
	for _, slot := range b.names {
		for _, part := range b.parts {
			if name == slot+"-"+part {
				return b.path(partFile(slot, part))
			}
		}
	}
	return b.slotPath(name)
}

// sets declares the slots that were found.
func (b *box) sets() []board.Set {
	var sets []board.Set
	for _, name := range b.names {
		set := board.Set{Name: name, Device: "/dev/sim-" + name}
		for _, part := range b.parts {
			set.Parts = append(set.Parts, board.Part{Name: part, Device: set.Device + "-" + part})
		}
		sets = append(sets, set)
	}
	return sets
}

// openBox finds the slots of an existing box.
func openBox(fsys durable.FS, dir string) (*box, error) {
	files, err := fsys.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("cannot open box %q: %w", dir, err)
	}
	b := &box{fs: fsys, dir: dir}
	for _, file := range files {
		name, isSlot := strings.CutPrefix(file, "slot-")
		name, isImage := strings.CutSuffix(name, ".img")
		if isSlot && isImage {
			b.names = append(b.names, name)
		}
	}
	for _, file := range files { // each slot has the same ones
		name, isPart := strings.CutPrefix(file, "part-"+b.first()+"-")
		name, isImage := strings.CutSuffix(name, ".img")
		if isPart && isImage {
			b.parts = append(b.parts, name)
		}
	}
	if len(b.names) < 2 {
		return nil, fmt.Errorf("cannot open box %q: %d slots found, two needed", dir, len(b.names))
	}
	return b, nil
}

func (b *box) first() string {
	if len(b.names) == 0 {
		return ""
	}
	return b.names[0]
}

func (b *box) known(slot string) error {
	for _, name := range b.names {
		if name == slot {
			return nil
		}
	}
	return fmt.Errorf("%w: %q", board.ErrUnknownSlot, slot)
}

// readSmall returns the trimmed content of a small file, "" when it is not there.
func (b *box) readSmall(name string) (string, error) {
	data, err := durable.ReadFile(b.fs, b.path(name), smallFile)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	return strings.TrimSpace(string(data)), err
}

// Board is the driver: it implements [board.Board], [board.Parts],
// [board.Variables] and [board.Busy].
type Board struct {
	board.Sets
	box    *box
	staged board.Staged
}

// Open opens the box in dir.
func Open(fsys durable.FS, dir string) (*Board, error) {
	b, err := openBox(fsys, dir)
	if err != nil {
		return nil, err
	}
	sets := board.Sets{FS: fsys, Sets: b.sets(), Path: b.devicePath, Active: func(context.Context) (string, error) {
		slot, _, err := b.readBooted()
		return slot, err
	}}
	return &Board{Sets: sets, box: b, staged: board.Staged{FS: fsys, Path: b.path("bootenv")}}, nil
}

// Current implements [board.BootControl].
func (b *Board) Current(context.Context) (board.Boot, error) {
	slot, id, err := b.box.readBooted()
	if err != nil {
		return board.Boot{}, err
	}
	env, err := b.box.readEnv()
	if err != nil {
		return board.Boot{}, err
	}
	boot := board.Boot{ID: id, Slot: slot, Trial: env.Default != slot, Next: env.Default}
	if env.Trying != "" && env.TriesLeft > 0 {
		boot.Next, boot.Fallback = env.Trying, env.Default
	}
	if env.bad(env.Default) {
		boot.Fallback = ""
	}
	return boot, nil
}

// MarkUnbootable implements [board.BootControl].
func (b *Board) MarkUnbootable(_ context.Context, slot string) error {
	if err := b.staged.Drop(); err != nil {
		return err
	}
	return b.change(func(env *environment, active string) error {
		if slot == active {
			return fmt.Errorf("cannot mark slot %q unbootable: %w", slot, board.ErrActiveSlot)
		}
		if env.Default == slot {
			// The active slot runs on trial: there would be nothing to fall back to.
			return fmt.Errorf("cannot mark slot %q unbootable: %w", slot, board.ErrNoFallback)
		}
		env.setBad(slot)
		return nil
	}, slot)
}

// Arm implements [board.BootControl].
func (b *Board) Arm(_ context.Context, slot string) error {
	variables, err := b.staged.For(slot)
	if err != nil {
		return err
	}
	err = b.change(func(env *environment, active string) error {
		if slot == active {
			return fmt.Errorf("cannot arm slot %q: %w", slot, board.ErrActiveSlot)
		}
		env.clearBad(slot)
		env.Trying, env.TriesLeft = slot, Tries
		env.change(variables)
		return nil
	}, slot)
	if err != nil {
		return err
	}
	return b.staged.Drop()
}

// CheckVariable implements [board.Variables].
func (b *Board) CheckVariable(slot string, c board.Variable) error {
	switch {
	case c.Name == "" || strings.ContainsAny(c.Name, "=\n"):
		return fmt.Errorf("%w: %q is no name", board.ErrVariable, c.Name)
	case slices.Contains(ownVariables, c.Name) && !repeatsArm(slot, c):
		return fmt.Errorf("%w: the bootloader chooses the slot or counts its tries by %q, which no artifact may set to %q",
			board.ErrVariable, c.Name, c.Value)
	}
	return nil
}

// repeatsArm tells whether a change is what Arm of slot sets itself.
func repeatsArm(slot string, c board.Variable) bool {
	return c.Name == "trying" && c.Value == slot || c.Name == "tries" && c.Value == strconv.Itoa(Tries)
}

// StageVariables implements [board.Variables].
func (b *Board) StageVariables(_ context.Context, slot string, changes []board.Variable) error {
	if err := b.box.known(slot); err != nil {
		return err
	}
	env, err := b.box.readEnv()
	if err != nil {
		return err
	}
	for _, c := range changes {
		if err := b.CheckVariable(slot, c); err != nil {
			return err
		}
	}
	changes = slices.DeleteFunc(slices.Clone(changes), func(c board.Variable) bool { return repeatsArm(slot, c) })
	if env.change(changes); len(sealed(env.text())) > smallFile/2 {
		return fmt.Errorf("cannot stage variables: the environment has no room for them")
	}
	return b.staged.Keep(slot, changes)
}

// Confirm implements [board.BootControl].
func (b *Board) Confirm(context.Context) error {
	return b.change(func(env *environment, active string) error {
		if env.Default == active {
			return nil // and an armed slot stays armed
		}
		env.Default, env.Trying, env.TriesLeft = active, "", 0
		env.clearBad(active)
		return nil
	})
}

// Reject implements [board.BootControl].
func (b *Board) Reject(context.Context) error {
	return b.change(func(env *environment, active string) error {
		if env.Default == active || env.bad(env.Default) {
			return fmt.Errorf("cannot reject slot %q: %w", active, board.ErrNoFallback)
		}
		env.setBad(active)
		return nil
	})
}

// change rewrites the environment in one write, if edit changed anything. If
// not, what is there is made durable: it may be of a write that failed late.
func (b *Board) change(edit func(env *environment, active string) error, slots ...string) error {
	for _, slot := range slots {
		if err := b.box.known(slot); err != nil {
			return err
		}
	}
	active, _, err := b.box.readBooted()
	if err != nil {
		return err
	}
	env, at, err := b.box.newestEnv()
	if err != nil {
		return err
	}
	before := env.text()
	if err := edit(&env, active); err != nil {
		return err
	}
	if env.text() == before {
		return b.box.syncEnv(at)
	}
	return b.box.writeEnv(env)
}

// Reboot implements [board.Rebooter].
func (b *Board) Reboot(_ context.Context, reason string) error {
	return durable.WriteFile(b.box.fs, b.box.path("reboot"), []byte(reason+"\n"), 0o644)
}

// Busy implements [board.Busy]: the content of the file `busy`.
func (b *Board) Busy(context.Context) (string, error) { return b.box.readSmall("busy") }
