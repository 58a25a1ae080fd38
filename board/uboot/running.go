package uboot

import (
	"fmt"
	"path/filepath"
	"strings"

	"otad/board"
	"otad/ota/durable"
)

const maxProc = 64 << 10 // bound for a file of /proc

// argument returns the value of name=value on the kernel's command line; the
// last one counts, as it does for the kernel.
func (b *Board) argument(name string) (value string, ok bool, err error) {
	data, err := durable.ReadFile(b.fs, b.path("/proc/cmdline"), maxProc)
	for _, word := range strings.Fields(string(data)) {
		if n, v, found := strings.Cut(word, "="); found && n == name {
			value, ok = v, true
		}
	}
	return value, ok, err
}

// running returns the slot that runs: the bootloader's word, else the slot
// that is the root file system.
func (b *Board) running() (Slot, error) {
	name, ok, err := b.argument(b.slotArgument)
	if err != nil {
		return Slot{}, fmt.Errorf("cannot tell which slot runs: %w: %w", board.ErrEnvironment, err)
	}
	if ok {
		for _, s := range b.slots {
			if s.BootName == name {
				return s, nil
			}
		}
		return Slot{}, fmt.Errorf("cannot tell which slot runs: %w: the bootloader says %s=%s, which is no slot", board.ErrEnvironment, b.slotArgument, name)
	}
	root, _, err := b.argument("root")
	if err != nil {
		return Slot{}, fmt.Errorf("cannot tell which slot runs: %w: %w", board.ErrEnvironment, err)
	}
	for _, s := range b.slots {
		if b.Same(devicePath(root), s.Device) {
			return s, nil
		}
	}
	return Slot{}, fmt.Errorf("cannot tell which slot runs: %w: the kernel's command line has no %s=, and root=%s is no slot", board.ErrEnvironment, b.slotArgument, root)
}

// devicePath turns what root= may say into a path.
func devicePath(root string) string {
	kind, id, ok := strings.Cut(root, "=")
	if !ok {
		return root
	}
	switch kind {
	case "PARTUUID", "UUID": // the kernel does not mind the case, udev writes small letters
		id = strings.ToLower(id)
	}
	return filepath.Join("/dev/disk/by-"+strings.ToLower(kind), id)
}

// bootID is the kernel's: one for each boot.
func (b *Board) bootID() (string, error) {
	data, err := durable.ReadFile(b.fs, b.path("/proc/sys/kernel/random/boot_id"), maxProc)
	id := strings.TrimSpace(string(data))
	if err == nil && id == "" {
		err = fmt.Errorf("the boot ID is empty")
	}
	if err != nil {
		return "", fmt.Errorf("cannot tell boots apart: %w", err)
	}
	return id, nil
}
