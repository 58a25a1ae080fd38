package agent

import (
	"context"
	"fmt"

	"otad/board"
	"otad/ota"
	"otad/ota/install"
)

// around says what an artifact may touch that goes to slot: what the settings
// declare, and the parts of the slot.
func (a *Agent) around(ctx context.Context, slot string) (install.Around, error) {
	around := a.Around
	parts, ok := a.Board.(board.Parts)
	if !ok {
		return around, nil
	}
	list, err := parts.Parts(ctx, slot)
	if err != nil {
		return around, boardFault(err)
	}
	for _, p := range list {
		around.Targets = append(around.Targets, install.Target{Name: p.Name, Device: p.Device, SizeBytes: p.SizeBytes})
	}
	around.OpenTarget = func(ctx context.Context, part string) (install.Medium, error) {
		return parts.OpenPart(ctx, slot, part)
	}
	return around, nil
}

// forbidden are the names by which a description could mean a slot.
func (a *Agent) forbidden(ctx context.Context, slot board.Slot) ([]string, error) {
	names := []string{slot.Name, slot.Device}
	parts, ok := a.Board.(board.Parts)
	if !ok {
		return names, nil
	}
	list, err := parts.Parts(ctx, slot.Name)
	if err != nil {
		return nil, boardFault(err)
	}
	for _, p := range list {
		names = append(names, p.Device)
	}
	return names, nil
}

// partsStillThere is stillThere for the parts of the slot: a kernel of another
// system beside it is no system to go back to.
func (a *Agent) partsStillThere(ctx context.Context, rec ota.Record) error {
	around, err := a.around(ctx, rec.ToSlot)
	if err != nil {
		return err
	}
	for _, part := range around.Targets {
		image, known := rec.Image.Part(part.Name)
		if !known {
			return ota.NewPermanent(ota.CodeNoWayBack, fmt.Errorf("cannot go back: what was installed in part %q of slot %q is not known", part.Name, rec.ToSlot)).
				WithHint("an older otad installed it; install the older version anew")
		}
		if err := a.partStillThere(ctx, around, part.Name, image); err != nil {
			return err
		}
	}
	return nil
}

func (a *Agent) partStillThere(ctx context.Context, around install.Around, name string, image ota.Image) error {
	medium, err := around.OpenTarget(ctx, name)
	if err != nil {
		return boardFault(err)
	}
	defer medium.Close()
	if err := install.ReadBack(ctx, medium, image, a.installProgress); err != nil {
		return fmt.Errorf("part %q: %w", name, err)
	}
	return nil
}
