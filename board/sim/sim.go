// Package sim is a set-top box in a directory: two slots as files, a boot
// environment in two copies, and a bootloader that counts tries.
//
// [Board] is the driver that otad uses; [Machine] is the bootloader and the
// power supply, for those who play the box (the lab and the tests). The two
// share only the files, as on a real box:
//
//	env.0 env.1         the boot environment, redundant, with check sums
//	slot-a.img …        the slots, sizes fixed when the box was made
//	booted              what the bootloader told the system that it started
//	reboot              the reason, while a restart is asked for
//	busy                the reason not to disturb, when there is one
//	reboot-reason       the reason of the last restart
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
		if err := b.createSlot(name, sizeBytes); err != nil {
			return err
		}
	}
	return b.writeEnv(environment{Default: names[0]})
}

func (b *box) createSlot(name string, sizeBytes int64) error {
	if name == "" || strings.ContainsAny(name, "/ \n=") {
		return fmt.Errorf("cannot make slot %q: bad name", name)
	}
	f, err := b.fs.OpenFile(b.slotPath(name), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return fmt.Errorf("cannot make slot %q: %w", name, err)
	}
	if err := errors.Join(f.Truncate(sizeBytes), f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("cannot make slot %q: %w", name, err)
	}
	return b.fs.SyncDir(b.dir)
}

func (b *box) path(name string) string     { return filepath.Join(b.dir, name) }
func (b *box) slotPath(name string) string { return b.path("slot-" + name + ".img") }

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
	if len(b.names) < 2 {
		return nil, fmt.Errorf("cannot open box %q: %d slots found, two needed", dir, len(b.names))
	}
	return b, nil
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

// Board is the driver: it implements [board.Board] and [board.Busy].
type Board struct{ box *box }

// Open opens the box in dir.
func Open(fsys durable.FS, dir string) (*Board, error) {
	b, err := openBox(fsys, dir)
	if err != nil {
		return nil, err
	}
	return &Board{box: b}, nil
}

// Slots implements [board.SlotStore]. The device of slot "a" is "/dev/sim-a".
func (b *Board) Slots(context.Context) ([]board.Slot, error) {
	slots := make([]board.Slot, 0, len(b.box.names))
	for _, name := range b.box.names {
		size, err := board.FileSize(b.box.fs, b.box.slotPath(name))
		if err != nil {
			return nil, fmt.Errorf("cannot examine slot %q: %w", name, err)
		}
		slots = append(slots, board.Slot{Name: name, Device: "/dev/sim-" + name, SizeBytes: size})
	}
	return slots, nil
}

// OpenSlot implements [board.SlotStore].
func (b *Board) OpenSlot(ctx context.Context, name string) (board.Medium, error) {
	if err := b.box.known(name); err != nil {
		return nil, err
	}
	boot, err := b.Current(ctx)
	if err != nil {
		return nil, err
	}
	m, err := board.OpenFile(b.box.fs, b.box.slotPath(name), boot.Slot == name)
	if err != nil {
		return nil, fmt.Errorf("cannot open slot %q: %w", name, err)
	}
	return m, nil
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
	return b.change(func(env *environment, active string) error {
		if slot == active {
			return fmt.Errorf("cannot arm slot %q: %w", slot, board.ErrActiveSlot)
		}
		env.clearBad(slot)
		env.Trying, env.TriesLeft = slot, Tries
		return nil
	}, slot)
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
