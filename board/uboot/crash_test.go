package uboot

import (
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"otad/board"
	"otad/ota/durable"
	"otad/ota/durable/crashfs"
)

// onDisk is the machine's directory on a disk that loses power.
func (m *machine) onDisk() *crashfs.Disk {
	m.t.Helper()
	disk := crashfs.New(crashfs.NewPower(0))
	m.must(filepath.WalkDir(m.Root, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(name)
		disk.Put(name, data)
		return err
	}))
	return disk
}

// takeFrom makes the environment on disk the machine's.
func (m *machine) takeFrom(disk *crashfs.Disk) {
	m.t.Helper()
	for _, c := range m.Copies {
		data, err := durable.ReadFile(disk, c.File, 1<<20)
		m.must(err)
		m.must(os.WriteFile(c.File, data, 0o644))
	}
}

// TestPowerCutAtEachCall cuts the power, in every way, at every durable call of
// an act, and lets every call fail once: U-Boot finds the environment from
// before the act or the one from after it, and the act can be done again.
func TestPowerCutAtEachCall(t *testing.T) {
	t.Parallel()
	for _, kind := range kinds {
		if kind.canary {
			continue // a single copy on a device is documented not to be safe
		}
		t.Run(kind.name, func(t *testing.T) {
			t.Parallel()
			m := newMachine(t, kind.style, kind.copies...)
			m.write("etc/"+kind.config, []byte(kind.text))
			m.must(m.PowerOn())
			// With variables of an artifact: they are in the same write, all or none.
			m.must(m.open(m.options(kind.style)).StageVariables(t.Context(), "b", []board.Variable{
				{Name: "splash", Value: "new"}, {Name: "colour", Value: strings.Repeat("red ", 200)},
			}))
			disk := m.onDisk()
			before, _, _ := m.Load()

			// arm arms slot b on a disk like the first one, with the given mishap.
			arm := func(cuts ...crashfs.Cut) (*crashfs.Disk, *crashfs.Power, *Board, error) {
				power := crashfs.NewPower(0, cuts...)
				d := disk.Survive(crashfs.Lost, 0, power)
				o := m.options(kind.style)
				o.FS, o.Log = d, slog.New(slog.DiscardHandler)
				b := m.open(o)
				return d, power, b, b.Arm(t.Context(), "b")
			}
			d, power, _, err := arm()
			m.must(err)
			m.takeFrom(d.Survive(crashfs.Lost, 0, crashfs.NewPower(0)))
			after, _, _ := m.Load()
			if maps.Equal(before, after) || after["splash"] != "new" {
				t.Fatal("arming changed nothing, or set no variables")
			}
			states := 0
			for i, call := range power.Calls() {
				for _, how := range call.Ways {
					if how == crashfs.Rot && len(m.Copies) == 1 {
						continue // nothing helps a single copy on bad flash
					}
					states++
					cut := crashfs.Cut{Call: i + 1, How: how, Seed: uint64(states)}
					d, power, b, err := arm(cut)
					dead := power.Took() != nil
					m.takeFrom(d.Survive(survivor(how), cut.Seed, crashfs.NewPower(0)))
					vars, _, _ := m.Load()
					if !maps.Equal(vars, before) && !maps.Equal(vars, after) {
						t.Errorf("%s at %q: U-Boot finds %q", cut, call.Name, vars)
					}
					if err == nil && !maps.Equal(vars, after) {
						t.Errorf("%s at %q: no error, but U-Boot finds %q", cut, call.Name, vars)
					}
					if dead || err == nil {
						continue
					}
					if err := b.Arm(t.Context(), "b"); err != nil {
						t.Errorf("%s at %q: again: %v", cut, call.Name, err)
					}
					m.takeFrom(d.Survive(crashfs.Lost, 0, crashfs.NewPower(0)))
					if vars, _, _ := m.Load(); !maps.Equal(vars, after) {
						t.Errorf("%s at %q: armed again, but U-Boot finds %q", cut, call.Name, vars)
					}
				}
			}
			t.Logf("%d calls, %d states", len(power.Calls()), states)
			if states < 10 {
				t.Errorf("only %d states: the disk was not used", states)
			}
		})
	}
}

// survivor is how a cut leaves the disk; a fault alone leaves what was synced.
func survivor(how crashfs.How) crashfs.How {
	switch how {
	case crashfs.EIO, crashfs.EIOKept, crashfs.ENOSPC, crashfs.EROFS, crashfs.Rot:
		return crashfs.Lost
	}
	return how
}
