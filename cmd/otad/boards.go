package main

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"time"

	"otad/agent/config"
	"otad/board"
	"otad/board/hooks"
	"otad/board/sim"
	"otad/board/uboot"
	"otad/ota"
	"otad/ota/durable"
)

// openBoard is the list of the drivers. look promises to change nothing.
func openBoard(cfg *config.Config, log *slog.Logger, look bool) (board.Board, error) {
	var b board.Board
	var err error
	switch c := cfg.Board; c.Driver {
	case "sim":
		b, err = sim.Open(durable.OS, c.Dir)
	case "uboot":
		b, err = openUBoot(cfg, log, look)
	case "hooks":
		b, err = openHooks(cfg, log)
	default:
		return nil, ota.NewPermanent(ota.CodeConfig, fmt.Errorf("cannot use board.driver %q: it is not known", c.Driver))
	}
	if err != nil {
		return nil, ota.NewPermanent(ota.CodeBoard, err)
	}
	return b, checkRescue(b, cfg.Board.Rescue)
}

// checkRescue demands a slot of that name, and exactly one beside it.
func checkRescue(b board.Board, name string) error {
	if name == "" {
		return nil
	}
	slots, err := b.Slots(context.Background())
	if err != nil {
		return ota.NewPermanent(ota.CodeBoard, err)
	}
	if len(slots) != 2 || slots[0].Name != name && slots[1].Name != name {
		return ota.NewPermanent(ota.CodeConfig, fmt.Errorf("cannot use board.rescue %q: it must be one of exactly two slots", name))
	}
	return nil
}

// openUBoot adds the optional hooks in board.dir, if there are any.
func openUBoot(cfg *config.Config, log *slog.Logger, look bool) (board.Board, error) {
	c := cfg.Board
	options := uboot.Options{
		FS: durable.OS, Style: uboot.Style(c.Style), EnvConfig: c.EnvConfig, SlotVariable: c.SlotVariable, SlotArgument: c.SlotArgument,
		Tries: c.Tries, Reboot: c.Reboot, ReasonFile: filepath.Join(cfg.State.Dir, "reboot"), Canary: c.Canary, Look: look, Log: log,
	}
	for _, s := range c.Slots {
		options.Slots = append(options.Slots, uboot.Slot{Set: declared(s), BootName: s.BootName})
	}
	b, err := uboot.Open(options)
	if err != nil || c.Dir == "" {
		return b, err
	}
	powers, err := hooks.OpenPowers(hooks.Options{Dir: c.Dir, Timeout: time.Duration(c.Timeout), Log: log})
	return &struct {
		*uboot.Board
		*hooks.Powers
	}{b, powers}, err
}

func openHooks(cfg *config.Config, log *slog.Logger) (*hooks.Board, error) {
	c := cfg.Board
	options := hooks.Options{
		FS: durable.OS, Dir: c.Dir, Staged: filepath.Join(cfg.State.Dir, "bootenv"), Timeout: time.Duration(c.Timeout), Log: log,
	}
	for _, s := range c.Slots {
		options.Slots = append(options.Slots, declared(s))
	}
	return hooks.Open(options)
}

// declared is a slot of the settings with its parts.
func declared(s config.Slot) board.Set {
	set := board.Set{Name: s.Name, Device: s.Device}
	for _, p := range s.Parts {
		set.Parts = append(set.Parts, board.Part(p))
	}
	return set
}
