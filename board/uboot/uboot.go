// Package uboot drives a box that U-Boot starts: slots are block devices or
// files, and the boot environment says which of them is started next.
//
// The environment is read and written here, without libubootenv or fw_setenv,
// but in their format and under their lock, so that all of them can be used on
// the same box. Two boot scripts are understood, [BootOrder] and [BootCount];
// docs/boards.md has both.
//
// Assumptions about a crash: with a redundant environment a write goes over
// the older copy, so that at every instant there is a good one. A single copy
// in a file is replaced by rename. A single copy on a device is written in
// place: a power cut in that write loses it, and U-Boot falls back to its
// built-in default.
//
// A damaged environment is never replaced by an invented one: every act fails
// with board.ErrEnvironment until U-Boot has saved a good one.
package uboot

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"otad/board"
	"otad/ota/durable"
)

// DefaultTries is how often an armed slot is started when nobody says otherwise.
const DefaultTries = 3

// Options describe the box. All paths are below Root.
type Options struct {
	FS    durable.FS // what is written goes through it; durable.OS when nil
	Root  string     // "/" when empty; another directory in tests
	Slots []Slot     // at least two; exactly two for BootCount
	Style Style
	// EnvConfig says where the environment is: a file in the format of
	// fw_env.config, or of libubootenv.yaml when it is called so. Empty for
	// /etc/libubootenv.yaml if it is there, else /etc/fw_env.config.
	EnvConfig string
	// SlotVariable names the slot variable of BootCount: "mender_boot_part".
	SlotVariable string
	// SlotArgument names the argument on the kernel's command line in which the
	// bootloader says which slot it started; "rauc.slot" when empty. Without
	// the argument, the slot whose device is in root= is the one.
	SlotArgument string
	// Tries is how often an armed slot is started: DefaultTries when 0, for
	// BootCount the environment's bootlimit before that.
	Tries int
	// Reboot is the command that restarts the box and its arguments, not below
	// Root; /sbin/reboot when empty.
	Reboot []string
	// ReasonFile keeps the reason of a restart, on a file system that all slots
	// share; /var/lib/otad/reboot when empty. Variables that wait for the arming
	// lie beside it.
	ReasonFile string
	// Canary makes Arm ask for a proof that the bootloader reads the
	// environment that otad writes: the boot script passes the variable
	// otad_canary as the argument otad.canary. A box has the proof from its
	// second boot on.
	Canary bool
	// Look opens the board to look at it only: the boot script is not told that
	// the system came up.
	Look bool
	Log  *slog.Logger // slog.Default() when nil
}

// Slot is a declared slot.
type Slot struct {
	board.Set
	BootName string // as the boot script calls it; Name when empty
}

// Board implements [board.Board], [board.Parts] and [board.Variables].
type Board struct {
	board.Sets
	fs           durable.FS
	root         string
	slots        []Slot
	script       script
	store        store
	lockFile     string
	slotArgument string
	reboot       []string
	reasonFile   string
	staged       board.Staged
	canary       bool
	log          *slog.Logger
}

var (
	_ board.Board     = (*Board)(nil)
	_ board.Parts     = (*Board)(nil)
	_ board.Variables = (*Board)(nil)
)

// Open checks the options and tells the boot script, when the slot that runs
// is a confirmed one, that it came up. An environment that cannot be used does
// not keep Open from returning a Board: its acts will say so.
func Open(o Options) (*Board, error) {
	b := &Board{
		fs: o.FS, root: o.Root, slots: slices.Clone(o.Slots), canary: o.Canary, log: o.Log,
		slotArgument: o.SlotArgument, reboot: o.Reboot, reasonFile: o.ReasonFile,
	}
	if b.fs == nil {
		b.fs = durable.OS
	}
	if b.log == nil {
		b.log = slog.Default()
	}
	if b.slotArgument == "" {
		b.slotArgument = "rauc.slot"
	}
	if len(b.reboot) == 0 {
		b.reboot = []string{"/sbin/reboot"}
	}
	if b.reasonFile == "" {
		b.reasonFile = "/var/lib/otad/reboot"
	}
	b.staged = board.Staged{FS: b.fs, Path: b.path(filepath.Join(filepath.Dir(b.reasonFile), "bootenv"))}
	if !strings.HasPrefix(b.reboot[0], "/") {
		return nil, fmt.Errorf("cannot use the U-Boot board: reboot command %q is not an absolute path", b.reboot[0])
	}
	if err := errors.Join(b.checkSlots(), b.chooseScript(o), b.locate(o.EnvConfig)); err != nil {
		return nil, fmt.Errorf("cannot use the U-Boot board: %w", err)
	}
	if !o.Look {
		b.cameUp()
	}
	return b, nil
}

// path is where a path of the box is found.
func (b *Board) path(name string) string { return filepath.Join("/", b.root, name) }

func (b *Board) checkSlots() error {
	b.Sets = board.Sets{FS: b.fs, Path: b.path, Active: func(context.Context) (string, error) {
		running, err := b.running()
		return running.Name, err
	}}
	bootNames := map[string]bool{}
	for i := range b.slots {
		s := &b.slots[i]
		if s.BootName == "" {
			s.BootName = s.Name
		}
		switch {
		case strings.ContainsAny(s.BootName, "= \t\n\x00"):
			return fmt.Errorf("slot %q: bad name", s.Name)
		case bootNames[s.BootName]:
			return fmt.Errorf("slot %q is declared twice", s.Name)
		}
		bootNames[s.BootName] = true
		b.Sets.Sets = append(b.Sets.Sets, s.Set)
	}
	return b.Check()
}

func (b *Board) chooseScript(o Options) error {
	bootNames := make([]string, len(b.slots))
	for i, s := range b.slots {
		bootNames[i] = s.BootName
	}
	switch {
	case o.Tries < 0:
		return fmt.Errorf("%d tries are none", o.Tries)
	case o.Style == BootOrder:
		tries := o.Tries
		if tries == 0 {
			tries = DefaultTries
		}
		b.script = bootOrder{slots: bootNames, tries: tries}
	case o.Style != BootCount:
		return fmt.Errorf("style %q is not one of %s, %s", o.Style, BootOrder, BootCount)
	case len(bootNames) != 2:
		return fmt.Errorf("%d slots are declared, style %s has two", len(bootNames), BootCount)
	case o.SlotVariable == "":
		return fmt.Errorf("style %s needs the name of the slot variable", BootCount)
	default:
		b.script = bootCount{slots: [2]string(bootNames), variable: o.SlotVariable, tries: o.Tries}
	}
	return nil
}

// locate reads where the environment is.
func (b *Board) locate(config string) error {
	name := config
	if name == "" {
		name = "/etc/libubootenv.yaml"
	}
	data, err := durable.ReadFile(b.fs, b.path(name), maxConfig)
	if config == "" && errors.Is(err, fs.ErrNotExist) {
		name = "/etc/fw_env.config"
		data, err = durable.ReadFile(b.fs, b.path(name), maxConfig)
	}
	if err != nil {
		return err
	}
	parse := parseConfig
	if ext := filepath.Ext(name); ext == ".yaml" || ext == ".yml" {
		parse = parseYAML
	}
	places, err := parse(data)
	if err != nil {
		return fmt.Errorf("cannot read %q: %w", name, err)
	}
	b.store = store{fs: b.fs, root: b.path("/"), copies: places.copies}
	b.lockFile = b.path(places.lockFile)
	return nil
}

func (b *Board) slot(name string) (Slot, error) {
	for _, s := range b.slots {
		if s.Name == name {
			return s, nil
		}
	}
	return Slot{}, fmt.Errorf("%w: %q", board.ErrUnknownSlot, name)
}

// named turns the boot script's name of a slot into otad's.
func (b *Board) named(bootName string) string {
	for _, s := range b.slots {
		if s.BootName == bootName {
			return s.Name
		}
	}
	return ""
}

// cameUp does what is due once a boot; that it cannot be done is no reason not
// to run.
func (b *Board) cameUp() {
	err := b.change(context.Background(), func(env *variables, running Slot) error {
		if _, ok := env.get(canaryVariable); b.canary && !ok {
			env.set(canaryVariable, rand.Text()[:8])
		}
		return b.script.cameUp(env, running.BootName)
	})
	if err := errors.Join(err, b.findReason()); err != nil {
		b.log.Warn("cannot tell the boot script that the system came up", "cause", err)
	}
}

// Current implements [board.BootControl].
func (b *Board) Current(context.Context) (board.Boot, error) {
	running, err := b.running()
	if err != nil {
		return board.Boot{}, err
	}
	env, err := b.store.read()
	if err != nil {
		return board.Boot{}, err
	}
	boot, err := b.script.boot(env.variables, running.BootName)
	if err != nil {
		return board.Boot{}, fmt.Errorf("cannot read the boot environment: %w", err)
	}
	boot.Slot, boot.Next, boot.Fallback = running.Name, b.named(boot.Next), b.named(boot.Fallback)
	boot.ID, err = b.bootID()
	return boot, err
}

// MarkUnbootable implements [board.BootControl].
func (b *Board) MarkUnbootable(ctx context.Context, slot string) error {
	if err := b.staged.Drop(); err != nil {
		return err
	}
	return b.changeIdle(ctx, "mark unbootable", slot, b.script.markUnbootable)
}

// Arm implements [board.BootControl].
func (b *Board) Arm(ctx context.Context, slot string) error {
	changes, err := b.staged.For(slot)
	if err != nil {
		return err
	}
	err = b.changeIdle(ctx, "arm", slot, func(env *variables, running, bootName string) error {
		if err := b.checkCanary(*env); err != nil {
			return err
		}
		if err := b.script.arm(env, running, bootName); err != nil {
			return err
		}
		env.change(changes)
		return nil
	})
	if err != nil {
		return err
	}
	return b.staged.Drop()
}

// Confirm implements [board.BootControl].
func (b *Board) Confirm(ctx context.Context) error {
	return b.change(ctx, func(env *variables, running Slot) error {
		if err := b.script.confirm(env, running.BootName); err != nil {
			return fmt.Errorf("cannot confirm slot %q: %w", running.Name, err)
		}
		return nil
	})
}

// Reject implements [board.BootControl].
func (b *Board) Reject(ctx context.Context) error {
	return b.change(ctx, func(env *variables, running Slot) error {
		if err := b.script.reject(env, running.BootName); err != nil {
			return fmt.Errorf("cannot reject slot %q: %w", running.Name, err)
		}
		return nil
	})
}

// changeIdle is change for an act on a slot that must not be the active one.
func (b *Board) changeIdle(ctx context.Context, verb, name string, edit func(env *variables, running, slot string) error) error {
	slot, err := b.slot(name)
	if err != nil {
		return err
	}
	return b.change(ctx, func(env *variables, running Slot) error {
		err := error(board.ErrActiveSlot)
		if slot.Name != running.Name {
			err = edit(env, running.BootName, slot.BootName)
		}
		if err != nil {
			return fmt.Errorf("cannot %s slot %q: %w", verb, name, err)
		}
		return nil
	})
}

// change rewrites the environment in one write, if edit changed anything, or
// one copy of a pair is bad (a pair that stays damaged would be a single copy),
// or the last write failed.
func (b *Board) change(ctx context.Context, edit func(env *variables, running Slot) error) error {
	unlock, err := b.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	running, err := b.running()
	if err != nil {
		return err
	}
	env, err := b.store.read()
	if err != nil {
		return err
	}
	vars := slices.Clone(env.variables)
	if err := edit(&vars, running); err != nil {
		return err
	}
	if env.lost != nil {
		b.log.Warn("a copy of the boot environment is bad and is written anew", "cause", env.lost)
	} else if slices.Equal(vars, env.variables) && !b.store.unsure {
		return nil
	}
	return b.store.write(env, vars)
}

const (
	lockPatience = 5 * time.Second
	lockPause    = 20 * time.Millisecond
)

// lock takes the lock of fw_setenv, which holds it for an instant. Where there
// is no directory for it nobody else can take it either.
func (b *Board) lock(ctx context.Context) (unlock func(), err error) {
	deadline := time.Now().Add(lockPatience)
	for {
		l, err := durable.AcquireLock(b.lockFile, "otad")
		switch {
		case err == nil:
			return func() { l.Release() }, nil
		case errors.Is(err, fs.ErrNotExist):
			return func() {}, nil
		case !errors.Is(err, durable.ErrLocked) || time.Now().After(deadline) || ctx.Err() != nil:
			return nil, fmt.Errorf("cannot write the boot environment: %w: %w", board.ErrEnvironment, err)
		}
		time.Sleep(lockPause)
	}
}
