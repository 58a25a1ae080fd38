package doctor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"otad/board"
	"otad/ota"
	"otad/ota/install"
)

// board asks which slot runs and looks at what starts it.
func (e *examination) board(ctx context.Context) {
	if e.BoardErr != nil {
		e.fail("board", "", "check [board] of the settings against the hardware", "%v", e.BoardErr)
		return
	}
	boot, err := e.Board.Current(ctx)
	if err != nil {
		e.fail("board", "", "without it nothing can be installed; see the boot environment below", "%v", err)
	} else {
		e.boot, e.booted = boot, true
		text := "slot " + boot.Slot + " runs"
		if boot.Trial {
			text += ", on trial"
		}
		if boot.Next != boot.Slot {
			text += ", slot " + boot.Next + " is tried next"
		}
		e.ok("board", "", "%s", text)
	}
	examiner, can := e.Board.(board.Examiner)
	if !can {
		return
	}
	for _, c := range examiner.Examine(ctx) {
		switch {
		case c.Err == nil:
			e.ok("boot-environment", c.What, "good")
		case c.Serious:
			e.fail("boot-environment", c.What, c.Hint, "%v", c.Err)
		default:
			e.warn("boot-environment", c.What, c.Hint, "%v", c.Err)
		}
	}
}

// slots reads each slot, and holds it against what was installed there.
func (e *examination) slots(ctx context.Context) {
	if e.Board == nil {
		return
	}
	slots, err := e.Board.Slots(ctx)
	if err != nil {
		e.fail("slot", "", "check the devices of [[board.slot]]", "%v", err)
		return
	}
	for _, s := range slots {
		e.slot(ctx, s)
	}
}

func (e *examination) slot(ctx context.Context, s board.Slot) {
	medium, err := e.Board.OpenSlot(ctx, s.Name)
	if err != nil {
		e.fail("slot", s.Name, "check the device in [[board.slot]]", "%v", err)
		return
	}
	defer medium.Close()
	active := e.booted && s.Name == e.boot.Slot
	r := e.glimpse.Update
	installed, known := e.glimpse.Box.System(s.Name)
	if r.ToSlot == s.Name && r.Image.SHA256 != "" {
		installed, known = ota.System{Slot: s.Name, Image: r.Image}, true
	}
	switch {
	case r.ToSlot == s.Name && r.Phase == ota.PhaseInstalling:
		e.ok("slot", s.Name, "an update is being written into it")
	case e.Quick:
		_, err := medium.ReadAt(make([]byte, 512), 0)
		e.readable(s.Name, err, "can be read at its start")
	case !known || installed.Image.SHA256 == "":
		_, err := io.Copy(io.Discard, &stoppable{ctx, io.NewSectionReader(medium, 0, medium.Size())})
		e.readable(s.Name, err, "can be read; what it should hold is not known")
	case mountedForWriting(s.Device):
		e.ok("slot", s.Name, "version %s; mounted for writing, so it is not compared", installed.Image.Version)
	default:
		e.compare(s.Name, active, install.ReadBack(ctx, medium, installed.Image, func(install.Stage, int64, int64) {}), installed)
	}
}

func (e *examination) readable(slot string, err error, text string) {
	if err != nil && !errors.Is(err, io.EOF) {
		e.fail("slot", slot, "the medium fails: the box needs another one", "%v", err)
		return
	}
	e.ok("slot", slot, "%s", text)
}

func (e *examination) compare(slot string, active bool, err error, installed ota.System) {
	f := ota.FaultOf(err)
	switch {
	case f == nil:
		e.ok("slot", slot, "version %s, as it was installed", installed.Image.Version)
	case f.Code != ota.CodeReadback:
		e.readable(slot, err, "")
	case active:
		e.fail("slot", slot, "the system that runs changed: install it anew, and look at the flash", "%v", err)
	default:
		e.warn("slot", slot, "a system that mounts its slot for writing changes it; `otad rollback` is not possible, the next update fills it anew", "%v", err)
	}
}

// stoppable ends reading with its context.
type stoppable struct {
	ctx context.Context
	r   io.Reader
}

func (s *stoppable) Read(p []byte) (int, error) {
	if err := s.ctx.Err(); err != nil {
		return 0, err
	}
	return s.r.Read(p)
}

// mountedForWriting tells whether device is mounted now and may be written to.
func mountedForWriting(device string) bool {
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return false
	}
	for line := range strings.Lines(string(mounts)) {
		var source, target, kind, options string
		if _, err := fmt.Sscan(line, &source, &target, &kind, &options); err != nil {
			continue
		}
		if source == device && (options == "rw" || strings.HasPrefix(options, "rw,")) {
			return true
		}
	}
	return false
}
