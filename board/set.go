package board

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"otad/ota/durable"
)

// Set is a slot as the settings declare it: a file or block device, and the
// parts that belong to it.
type Set struct {
	Name   string `json:"name"`
	Device string `json:"device"` // "/dev/mmcblk0p2"
	Parts  []Part `json:"parts,omitempty"`
}

// Part is a further file or block device of a slot.
type Part struct {
	Name   string `json:"name"` // "kernel"; the same in each slot
	Device string `json:"device"`
}

// Sets is the [SlotStore], with [Parts], of every driver whose slots are files
// or block devices.
type Sets struct {
	FS   durable.FS
	Sets []Set
	// Path is where a device of the settings is found; nil: there.
	Path func(device string) string
	// Active names the slot that runs.
	Active func(ctx context.Context) (string, error)
}

// Check refuses declarations that cannot be: fewer than two slots, names or
// devices that are there twice, slots whose parts differ in name.
func (s *Sets) Check() error {
	if len(s.Sets) < 2 {
		return fmt.Errorf("%d slots are declared, two needed", len(s.Sets))
	}
	names, devices := map[string]bool{}, map[string]string{}
	take := func(what, name, device string) error {
		switch {
		case name == "" || strings.ContainsAny(name, "\"\\ /\x00\n"):
			return fmt.Errorf("%s: bad name", what)
		case !filepath.IsAbs(device):
			return fmt.Errorf("%s: device %q is not an absolute path", what, device)
		case devices[s.place(device)] != "":
			return fmt.Errorf("%s: device %q is that of %s", what, device, devices[s.place(device)])
		}
		devices[s.place(device)] = what
		return nil
	}
	for _, set := range s.Sets {
		if names[set.Name] {
			return fmt.Errorf("slot %q is declared twice", set.Name)
		}
		names[set.Name] = true
		if err := take(fmt.Sprintf("slot %q", set.Name), set.Name, set.Device); err != nil {
			return err
		}
	}
	for _, set := range s.Sets {
		if !slices.Equal(set.partNames(), s.Sets[0].partNames()) {
			return fmt.Errorf("slot %q has parts %q, slot %q has %q: they must have the same names in the same order",
				set.Name, set.partNames(), s.Sets[0].Name, s.Sets[0].partNames())
		}
		for i, p := range set.Parts {
			if err := take(fmt.Sprintf("part %q of slot %q", p.Name, set.Name), p.Name, p.Device); err != nil {
				return err
			}
			if names[p.Name] || slices.Contains(set.partNames()[:i], p.Name) {
				return fmt.Errorf("part %q of slot %q: the name is taken", p.Name, set.Name)
			}
		}
	}
	return nil
}

func (s Set) partNames() []string {
	var names []string
	for _, p := range s.Parts {
		names = append(names, p.Name)
	}
	return names
}

// path is where a device is found; place is that without links, so that two
// names of one device are seen to be the same.
func (s *Sets) path(device string) string {
	if s.Path == nil {
		return device
	}
	return s.Path(device)
}

func (s *Sets) place(device string) string {
	path := s.path(device)
	if real, err := filepath.EvalSymlinks(path); err == nil {
		return real
	}
	return path
}

// Same tells whether two devices are one.
func (s *Sets) Same(a, b string) bool { return s.place(a) == s.place(b) }

// Find returns a declared slot, or ErrUnknownSlot.
func (s *Sets) Find(name string) (Set, error) {
	for _, set := range s.Sets {
		if set.Name == name {
			return set, nil
		}
	}
	return Set{}, fmt.Errorf("%w: %q", ErrUnknownSlot, name)
}

// Slots implements [SlotStore].
func (s *Sets) Slots(context.Context) ([]Slot, error) {
	slots := make([]Slot, 0, len(s.Sets))
	for _, set := range s.Sets {
		slot, err := s.examine(set.Name, set.Device)
		if err != nil {
			return nil, fmt.Errorf("cannot examine slot %q: %w", set.Name, err)
		}
		slots = append(slots, slot)
	}
	return slots, nil
}

// Parts implements [Parts].
func (s *Sets) Parts(_ context.Context, slot string) ([]Slot, error) {
	set, err := s.Find(slot)
	if err != nil {
		return nil, err
	}
	var parts []Slot
	for _, p := range set.Parts {
		part, err := s.examine(p.Name, p.Device)
		if err != nil {
			return nil, fmt.Errorf("cannot examine part %q of slot %q: %w", p.Name, slot, err)
		}
		parts = append(parts, part)
	}
	return parts, nil
}

func (s *Sets) examine(name, device string) (Slot, error) {
	size, err := FileSize(s.FS, s.path(device))
	return Slot{Name: name, Device: device, SizeBytes: size}, err
}

// OpenSlot implements [SlotStore].
func (s *Sets) OpenSlot(ctx context.Context, name string) (Medium, error) {
	set, err := s.Find(name)
	if err != nil {
		return nil, err
	}
	m, err := s.open(ctx, set, set.Device)
	if err != nil {
		return nil, fmt.Errorf("cannot open slot %q: %w", name, err)
	}
	return m, nil
}

// OpenPart implements [Parts].
func (s *Sets) OpenPart(ctx context.Context, slot, part string) (Medium, error) {
	set, err := s.Find(slot)
	if err != nil {
		return nil, err
	}
	at := slices.Index(set.partNames(), part)
	if at < 0 {
		return nil, fmt.Errorf("%w: %q of slot %q", ErrUnknownSlot, part, slot)
	}
	m, err := s.open(ctx, set, set.Parts[at].Device)
	if err != nil {
		return nil, fmt.Errorf("cannot open part %q of slot %q: %w", part, slot, err)
	}
	return m, nil
}

// open opens a medium of a slot. What belongs to the active slot, under
// whatever name, is read only.
func (s *Sets) open(ctx context.Context, set Set, device string) (Medium, error) {
	name, err := s.Active(ctx)
	if err != nil {
		return nil, err
	}
	running, err := s.Find(name)
	if err != nil {
		return nil, err
	}
	active := set.Name == running.Name || s.Same(device, running.Device) ||
		slices.ContainsFunc(running.Parts, func(p Part) bool { return s.Same(device, p.Device) })
	return OpenFile(s.FS, s.path(device), active)
}
