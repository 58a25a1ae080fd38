package sim

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"otad/board"
	"otad/board/boardtest"
	"otad/ota/durable"
)

const slotSize = 1 << 20

// newBox makes a box with slots a and b, switched on once.
func newBox(t *testing.T) (dir string, m *Machine, b *Board) {
	t.Helper()
	dir = t.TempDir()
	if err := Create(durable.OS, dir, slotSize, "a", "b"); err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{"kernel", "dtb"} {
		if err := AddPart(durable.OS, dir, part, 4096); err != nil {
			t.Fatal(err)
		}
	}
	m, err := NewMachine(durable.OS, dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := m.PowerOn(); err != nil {
		t.Fatal(err)
	}
	if b, err = Open(durable.OS, dir); err != nil {
		t.Fatal(err)
	}
	return dir, m, b
}

func TestContract(t *testing.T) {
	t.Parallel()
	boardtest.Run(t, func(t *testing.T) boardtest.Harness {
		dir, machine, b := newBox(t)
		return boardtest.Harness{
			Board: b,
			PowerOn: func() (board.Board, error) {
				if _, _, err := machine.PowerOn(); err != nil {
					return nil, err
				}
				return Open(durable.OS, dir)
			},
			Tries: Tries,
			Variable: func(name string) (string, error) {
				v, err := machine.Variables()
				return v[name], err
			},
			OwnVariables: []string{"default", "trying", "tries", "bad", "serial"},
			Armed:        []board.Variable{{Name: "trying", Value: "b"}, {Name: "tries", Value: "3"}},
			Reason:       func() (string, error) { return b.box.readSmall("reboot-reason") },
			DamageEnv: func(copy int) error {
				return os.WriteFile(filepath.Join(dir, envFiles[copy]), []byte("serial=99\ndefault=b\n"), 0o644)
			},
		}
	})
}

// TestTornEnvironment cuts the write of an armed environment at every length:
// the box starts the armed slot or the old one, and the driver never errs.
func TestTornEnvironment(t *testing.T) {
	t.Parallel()
	dir, _, b := newBox(t)
	if err := b.Arm(t.Context(), "b"); err != nil {
		t.Fatal(err)
	}
	_, newest, err := b.box.newestEnv()
	if err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(filepath.Join(dir, envFiles[newest]))
	if err != nil {
		t.Fatal(err)
	}
	for n := range whole {
		if err := os.WriteFile(filepath.Join(dir, envFiles[newest]), whole[:n], 0o644); err != nil {
			t.Fatal(err)
		}
		boot, err := b.Current(t.Context())
		if err != nil || boot.Next != "a" {
			t.Fatalf("cut at %d of %d: got %+v and %v, want slot a next", n, len(whole), boot, err)
		}
	}
}

func TestDeadOnlyWithoutAnySlot(t *testing.T) {
	t.Parallel()
	_, m, b := newBox(t)
	env := environment{Default: "a", Bad: []string{"a"}}
	if err := b.box.writeEnv(env); err != nil {
		t.Fatal(err)
	}
	if slot, _, err := m.PowerOn(); err != nil || slot != "b" {
		t.Fatalf("default is bad: got %q and %v, want slot b", slot, err)
	}
	env.setBad("b")
	if err := b.box.writeEnv(env); err != nil {
		t.Fatal(err)
	}
	if _, _, err := m.PowerOn(); !errors.Is(err, ErrDead) {
		t.Fatalf("all are bad: got %v, want ErrDead", err)
	}
}

func TestFallbackOfATrialIsKept(t *testing.T) {
	t.Parallel()
	_, m, b := newBox(t)
	if err := b.Arm(t.Context(), "b"); err != nil {
		t.Fatal(err)
	}
	if _, _, err := m.PowerOn(); err != nil {
		t.Fatal(err)
	}
	if err := b.MarkUnbootable(t.Context(), "a"); !errors.Is(err, board.ErrNoFallback) {
		t.Errorf("marking the fallback of a trial: got %v, want ErrNoFallback", err)
	}
}

func TestCreateRefuses(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name  string
		slots []string
	}{
		{"one slot", []string{"a"}},
		{"a slot twice", []string{"a", "a"}},
		{"slots out of order", []string{"b", "a"}},
		{"empty name", []string{"", "b"}},
		{"path as name", []string{"a", "b/../c"}},
		{"space in a name", []string{"a", "b c"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			if err := Create(durable.OS, t.TempDir(), slotSize, test.slots...); err == nil {
				t.Error("got no error")
			}
		})
	}
	t.Run("a box that is there", func(t *testing.T) {
		t.Parallel()
		dir, _, _ := newBox(t)
		if err := Create(durable.OS, dir, slotSize, "a", "b"); err == nil {
			t.Error("got no error")
		}
	})
}

func TestDirectoryNameIsNoPattern(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "box[1]*")
	if err := Create(durable.OS, dir, slotSize, "a", "b"); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(durable.OS, dir); err != nil {
		t.Error(err)
	}
}

func TestNotPoweredOn(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := Create(durable.OS, dir, slotSize, "a", "b"); err != nil {
		t.Fatal(err)
	}
	b, err := Open(durable.OS, dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.Current(t.Context()); !errors.Is(err, board.ErrEnvironment) {
		t.Errorf("got %v, want ErrEnvironment", err)
	}
}

func TestBusy(t *testing.T) {
	t.Parallel()
	dir, _, b := newBox(t)
	if reason, err := b.Busy(t.Context()); reason != "" || err != nil {
		t.Errorf("got %q and %v, want not busy", reason, err)
	}
	if err := os.WriteFile(filepath.Join(dir, "busy"), []byte("recording\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if reason, err := b.Busy(t.Context()); reason != "recording" || err != nil {
		t.Errorf("got %q and %v, want recording", reason, err)
	}
}

func FuzzParseEnv(f *testing.F) {
	f.Add([]byte{})
	f.Add(sealed((&environment{Serial: 7, Default: "a", Trying: "b", TriesLeft: 2, Bad: []string{"b"}}).text()))
	f.Fuzz(func(t *testing.T, data []byte) {
		env, err := parseEnv(data)
		if err != nil {
			return
		}
		again, err := parseEnv(sealed(env.text()))
		if err != nil || again.text() != env.text() {
			t.Fatalf("not read back: %+v, %v", again, err)
		}
	})
}
