package sim

import (
	"testing"

	"otad/ota/durable/crashfs"
)

// An act that failed and is done again is durable when it says so, whatever the
// first attempt left in the cache.
func TestActAfterAFaultIsDurable(t *testing.T) {
	t.Parallel()
	disk := crashfs.New(crashfs.NewPower(0))
	if err := Create(disk, "/box", 1<<20, "a", "b"); err != nil {
		t.Fatal(err)
	}
	powerOn(t, disk)
	for _, act := range []struct {
		name string
		do   func(b *Board) error
		next string // the slot that is started next
	}{
		{"arm", func(b *Board) error { return b.Arm(t.Context(), "b") }, "b"},
		{"confirm", func(b *Board) error { return b.Confirm(t.Context()) }, "b"},
		{"arm again", func(b *Board) error { return b.Arm(t.Context(), "a") }, "a"},
		{"reject", func(b *Board) error { return b.Reject(t.Context()) }, "b"},
	} {
		power := crashfs.NewPower(0)
		whole := disk.Survive(crashfs.Lost, 0, power)
		if err := act.do(opened(t, whole)); err != nil {
			t.Fatalf("%s: %v", act.name, err)
		}
		for call := 1; call <= power.Made(); call++ {
			for _, how := range []crashfs.How{crashfs.EIO, crashfs.EIOKept, crashfs.ENOSPC, crashfs.EROFS} {
				power := crashfs.NewPower(0, crashfs.Cut{Call: call, How: how})
				d := disk.Survive(crashfs.Lost, 0, power)
				if err := act.do(opened(t, d)); err == nil {
					t.Errorf("%s, %s at call %d: no error", act.name, how, call)
				}
				if err := act.do(opened(t, d)); err != nil {
					t.Errorf("%s, %s at call %d, again: %v", act.name, how, call, err)
				}
				if slot := powerOn(t, d.Survive(crashfs.Lost, 0, power)); slot != act.next {
					t.Errorf("%s, %s at call %d: slot %q is started, want %q", act.name, how, call, slot, act.next)
				}
			}
		}
		disk = whole.Survive(crashfs.Lost, 0, power)
		powerOn(t, disk)
	}
}

func opened(t *testing.T, d *crashfs.Disk) *Board {
	t.Helper()
	b, err := Open(d, "/box")
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func powerOn(t *testing.T, d *crashfs.Disk) string {
	t.Helper()
	m, err := NewMachine(d, "/box")
	if err != nil {
		t.Fatal(err)
	}
	slot, _, err := m.PowerOn()
	if err != nil {
		t.Fatal(err)
	}
	return slot
}
