package sim

import (
	"crypto/rand"
	"errors"
	"fmt"

	"otad/board"
	"otad/ota/durable"
)

// Machine is the bootloader and the power supply of a box.
type Machine struct{ box *box }

// NewMachine plays the box in dir.
func NewMachine(fsys durable.FS, dir string) (*Machine, error) {
	b, err := openBox(fsys, dir)
	if err != nil {
		return nil, err
	}
	return &Machine{box: b}, nil
}

// powerReason stands for a restart that nobody asked for.
const powerReason = "power"

// ErrDead says that the bootloader found nothing to start: a brick.
var ErrDead = errors.New("sim: no slot can be started")

// PowerOn runs the bootloader once: it counts a try, saves that count before it
// uses it, and returns the slot that it starts and the image file of it. If
// that system turns out not to start, call PowerOn again, as a watchdog would.
func (m *Machine) PowerOn() (slot, image string, err error) {
	reason, err := m.box.readSmall("reboot")
	if err != nil {
		return "", "", err
	}
	if reason == "" {
		reason = powerReason
	}
	env, err := m.box.readEnv()
	if err != nil {
		// A bootloader without an environment falls back to its built-in default.
		env = environment{Default: m.box.names[0]}
	}
	slot, err = m.choose(&env)
	if err != nil {
		return "", "", err
	}
	err = errors.Join(
		durable.WriteFile(m.box.fs, m.box.path("reboot-reason"), []byte(reason+"\n"), 0o644),
		durable.WriteFile(m.box.fs, m.box.path("booted"), fmt.Appendf(nil, "%s %s\n", slot, rand.Text()), 0o644),
		durable.Remove(m.box.fs, m.box.path("reboot")),
	)
	return slot, m.box.slotPath(slot), err
}

// choose applies the try counting and saves it.
func (m *Machine) choose(env *environment) (string, error) {
	slot := env.Default
	if env.Trying != "" {
		if env.TriesLeft > 0 && !env.bad(env.Trying) {
			env.TriesLeft--
			slot = env.Trying
		} else {
			env.setBad(env.Trying)
		}
	}
	if env.bad(slot) {
		slot = ""
		for _, name := range m.box.names {
			if !env.bad(name) {
				slot = name
				break
			}
		}
		if slot == "" {
			return "", ErrDead
		}
	}
	if err := m.box.writeEnv(*env); err != nil && slot == env.Trying {
		slot = env.Default // the try could not be counted, so it is none
	}
	return slot, nil
}

// RebootRequested returns the reason of a restart that the system asked for,
// "" when it asked for none.
func (m *Machine) RebootRequested() (string, error) { return m.box.readSmall("reboot") }

// SlotPath is the image file of slot.
func (m *Machine) SlotPath(slot string) (string, error) {
	if err := m.box.known(slot); err != nil {
		return "", err
	}
	return m.box.slotPath(slot), nil
}

// Variables are what artifacts set for the bootloader.
func (m *Machine) Variables() (map[string]string, error) {
	env, err := m.box.readEnv()
	return env.Variables, err
}

// PartPath is the image file of a part of slot.
func (m *Machine) PartPath(slot, part string) string { return m.box.path(partFile(slot, part)) }

var (
	_ board.Board     = (*Board)(nil)
	_ board.Parts     = (*Board)(nil)
	_ board.Variables = (*Board)(nil)
	_ board.Busy      = (*Board)(nil)
)
