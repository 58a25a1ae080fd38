package agent

import (
	"context"

	"otad/board"
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
