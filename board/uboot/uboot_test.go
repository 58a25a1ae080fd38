package uboot

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"otad/board"
	"otad/board/boardtest"
	"otad/ota/durable"
)

// kinds are the boxes that the tests run on: each style, on each medium.
var kinds = []struct {
	name   string
	style  Style
	canary bool
	native bool   // U-Boot counts by itself
	config string // its name below /etc
	text   string
	copies []region
}{
	{"boot-order, redundant on one device", BootOrder, false, false, "fw_env.config",
		"# two copies\n/dev/mmcblk0 0x2000 0x1000\n/dev/mmcblk0 -0x1000 1000\n",
		[]region{{File: "dev/mmcblk0", Offset: 0x2000}, {File: "dev/mmcblk0", Offset: 0x8000}}},
	{"boot-order, one file", BootOrder, false, false, "fw_env.config",
		"/boot/uboot.env 0 0x1000\n", []region{{File: "boot/uboot.env", Offset: 0}}},
	{"boot-count, two files", BootCount, false, false, "fw_env.config",
		"/boot/uboot.env 0x0 0x1000\n/boot/uboot-redund.env 0x0 0x1000\n",
		[]region{{File: "boot/uboot.env", Offset: 0}, {File: "boot/uboot-redund.env", Offset: 0}}},
	{"boot-count by U-Boot itself, redundant on one device", BootCount, false, true, "fw_env.config",
		"/dev/mmcblk0 0x2000 0x1000\n/dev/mmcblk0 0x3000 0x1000\n",
		[]region{{File: "dev/mmcblk0", Offset: 0x2000}, {File: "dev/mmcblk0", Offset: 0x3000}}},
	{"boot-count, one copy on a device, canary", BootCount, true, false, "libubootenv.yaml",
		"uboot:\n  size: 0x1000\n  devices:\n    - path: /dev/mmcblk0\n      offset: 0x4000\n",
		[]region{{File: "dev/mmcblk0", Offset: 0x4000}}},
}

func TestContract(t *testing.T) {
	t.Parallel()
	for _, kind := range kinds {
		t.Run(kind.name, func(t *testing.T) {
			t.Parallel()
			boardtest.Run(t, func(t *testing.T) boardtest.Harness {
				m := newMachine(t, kind.style, kind.copies...)
				m.write("etc/"+kind.config, []byte(kind.text))
				if kind.native {
					m.countsItself()
				}
				o := m.options(kind.style)
				o.Canary = kind.canary
				m.must(m.PowerOn())
				b := m.open(o)
				if kind.canary { // shown from the second boot on
					m.must(m.PowerOn())
					b = m.open(o)
				}
				h := boardtest.Harness{
					Board: b,
					PowerOn: func() (board.Board, error) {
						if err := m.PowerOn(); err != nil {
							return nil, err
						}
						return Open(o)
					},
					Tries:    DefaultTries,
					Reason:   b.Reason,
					Variable: func(name string) (string, error) { return m.Get(name), nil },
					OwnVariables: []string{"BOOT_ORDER", "BOOT_A_LEFT", "BOOT_X_LEFT", "otad_trial", "otad_canary",
						"bootcount", "bootlimit", "upgrade_available", "bootcmd", "altbootcmd", "mender_saveenv_canary"},
				}
				if kind.style == BootCount {
					h.OwnVariables = append(h.OwnVariables, "slot", "slot_hex")
					h.Armed = []board.Variable{{Name: "slot", Value: o.Slots[1].BootName}, {Name: "upgrade_available", Value: "1"},
						{Name: "bootcount", Value: "0"}, {Name: "bootlimit", Value: "3"}}
				} else {
					h.Armed = []board.Variable{{Name: "BOOT_ORDER", Value: o.Slots[1].BootName + " " + o.Slots[0].BootName},
						{Name: leftVariable(o.Slots[1].BootName), Value: "3"}, {Name: leftVariable(o.Slots[0].BootName), Value: "3"}}
				}
				if len(kind.copies) == 2 {
					h.DamageEnv = m.Damage
				}
				return h
			})
		})
	}
}

// newBox is a box of the first kind for style, up and running.
func newBox(t *testing.T, style Style) (*machine, *Board) {
	t.Helper()
	for _, kind := range kinds {
		if kind.style != style {
			continue
		}
		m := newMachine(t, style, kind.copies...)
		m.write("etc/"+kind.config, []byte(kind.text))
		m.must(m.PowerOn())
		return m, m.open(m.options(style))
	}
	panic("no such style")
}

func current(t *testing.T, b *Board) board.Boot {
	t.Helper()
	boot, err := b.Current(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	boot.ID = ""
	return boot
}

// The viewer pulls the plug again and again before otad is up.
func TestPowerCyclesBeforeOtadIsUp(t *testing.T) {
	t.Parallel()
	for _, style := range []Style{BootOrder, BootCount} {
		t.Run(string(style), func(t *testing.T) {
			t.Parallel()
			m, b := newBox(t, style)
			if err := b.MarkUnbootable(t.Context(), "b"); err != nil {
				t.Fatal(err)
			}
			for n := range 12 {
				m.must(m.PowerOn())
				if got := current(t, b); got.Slot != "a" || got.Trial {
					t.Fatalf("power cycle %d: got %+v, want slot a, confirmed", n, got)
				}
			}
			b = m.open(m.options(style))
			if got := current(t, b); got != (board.Boot{Slot: "a", Next: "a"}) {
				t.Errorf("got %+v", got)
			}
		})
	}
}

// TestOneWriteEach: each act is one write of the environment, and one that
// changes nothing is none.
func TestOneWriteEach(t *testing.T) {
	t.Parallel()
	for _, style := range []Style{BootOrder, BootCount} {
		t.Run(string(style), func(t *testing.T) {
			t.Parallel()
			m, _ := newBox(t, style)
			m.must(m.PowerOn())
			fsys := &faultFS{FS: durable.OS}
			o := m.options(style)
			o.FS = fsys
			b := m.open(o)
			ctx := t.Context()
			want := func(act string, writes int, err error) {
				t.Helper()
				m.must(err)
				if got := strings.Count(strings.Join(fsys.calls, " "), "write sync"); got != writes || len(fsys.calls) != 2*writes {
					t.Errorf("%s: got calls %q, want %d writes", act, fsys.calls, writes)
				}
				fsys.calls = nil
			}
			fsys.calls = nil
			m.open(o)
			want("a second start in one boot", 0, nil)
			want("Arm", 1, b.Arm(ctx, "b"))
			want("Arm again", 0, b.Arm(ctx, "b"))
			want("MarkUnbootable", 1, b.MarkUnbootable(ctx, "b"))
			want("MarkUnbootable again", 0, b.MarkUnbootable(ctx, "b"))
			want("Arm", 1, b.Arm(ctx, "b"))
			m.must(m.PowerOn())
			want("Reject", 1, b.Reject(ctx))
			want("Reject again", 0, b.Reject(ctx))
			want("Confirm", 1, b.Confirm(ctx))
			want("Confirm again", 0, b.Confirm(ctx))
		})
	}
}

// A copy that went bad is written anew at the next start.
func TestRepair(t *testing.T) {
	t.Parallel()
	for i := range 2 {
		m, _ := newBox(t, BootCount)
		m.must(m.Damage(i))
		m.open(m.options(BootCount))
		m.must(m.Damage(1 - i))
		if got := current(t, m.open(m.options(BootCount))); got != (board.Boot{Slot: "a", Next: "a"}) {
			t.Errorf("copy %d: got %+v", i, got)
		}
	}
}

// A slot whose trial failed is not given new tries by the script.
func TestExhaustedSlotLeavesTheOrder(t *testing.T) {
	t.Parallel()
	m, b := newBox(t, BootOrder)
	if err := b.Arm(t.Context(), "b"); err != nil {
		t.Fatal(err)
	}
	if got := m.Get("BOOT_ORDER"); got != "B A" {
		t.Errorf("armed: got order %q, want %q", got, "B A")
	}
	for range DefaultTries + 1 {
		m.must(m.PowerOn())
	}
	m.open(m.options(BootOrder))
	if order, trial := m.Get("BOOT_ORDER"), m.Get("otad_trial"); order != "A" || trial != "" {
		t.Errorf("got order %q and trial %q, want A and none", order, trial)
	}
}

// TestForeignStates opens the board on environments that otad did not make.
func TestForeignStates(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name  string
		style Style
		vars  []string
		want  board.Boot // slot a runs
		err   error
	}{
		{"order, empty", BootOrder, nil, board.Boot{Slot: "a", Next: "a"}, nil},
		{"order, other slots between", BootOrder, []string{"BOOT_ORDER", "R A B"}, board.Boot{Slot: "a", Next: "a"}, nil},
		{"order, no slot of ours", BootOrder, []string{"BOOT_ORDER", "R"}, board.Boot{}, board.ErrEnvironment},
		{"order, a count that is none", BootOrder, []string{"BOOT_ORDER", "A", "BOOT_A_LEFT", "zz"}, board.Boot{}, board.ErrEnvironment},
		{"order, hexadecimal", BootOrder, []string{"BOOT_A_LEFT", "1f"}, board.Boot{Slot: "a", Next: "a"}, nil},
		{"order, last slot used up, ours came up", BootOrder, []string{"BOOT_ORDER", "B A", "BOOT_B_LEFT", "0", "BOOT_A_LEFT", "0"},
			board.Boot{Slot: "a", Next: "a"}, nil},
		{"order, reset to the default under a trial", BootOrder, []string{"BOOT_ORDER", "B A"}, board.Boot{Slot: "a", Trial: true, Next: "b"}, nil},
		{"count, no slot", BootCount, []string{"upgrade_available", "0"}, board.Boot{}, board.ErrEnvironment},
		{"count, unknown slot", BootCount, []string{"slot", "C"}, board.Boot{}, board.ErrEnvironment},
		{"count, plain", BootCount, []string{"slot", "A"}, board.Boot{Slot: "a", Next: "a"}, nil},
		{"count, no limit", BootCount, []string{"slot", "B", "upgrade_available", "1"}, board.Boot{Slot: "a", Next: "b"}, nil},
		{"count, a count that is none", BootCount, []string{"slot", "B", "upgrade_available", "1", "bootcount", "x"}, board.Boot{}, board.ErrEnvironment},
		{"count, one try left", BootCount, []string{"slot", "B", "upgrade_available", "1", "bootcount", "2", "bootlimit", "3"},
			board.Boot{Slot: "a", Next: "b", Fallback: "a"}, nil},
		{"count, used up", BootCount, []string{"slot", "B", "upgrade_available", "1", "bootcount", "3", "bootlimit", "3"},
			board.Boot{Slot: "a", Next: "a"}, nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			m, _ := newBox(t, test.style)
			m.must(m.Damage(0))
			m.must(m.Damage(1))
			m.Set(test.vars...)
			got, err := m.open(m.options(test.style)).Current(t.Context())
			got.ID = ""
			if !errors.Is(err, test.err) || err == nil && got != test.want {
				t.Errorf("got %+v and %v, want %+v and %v", got, err, test.want, test.err)
			}
		})
	}
}

func TestMenderVariables(t *testing.T) {
	t.Parallel()
	m, _ := newBox(t, BootCount)
	m.Set("mender_boot_part", "9", "mender_boot_part_hex", "9", "upgrade_available", "0", "bootlimit", "1")
	m.write("proc/cmdline", []byte("root=/dev/mmcblk0p2 quiet\n"))
	o := m.options(BootCount)
	o.SlotVariable, o.Slots[0].BootName, o.Slots[1].BootName = "mender_boot_part", "9", "10"
	b := m.open(o)
	if err := b.Arm(t.Context(), "b"); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"mender_boot_part": "10", "mender_boot_part_hex": "a", "upgrade_available": "1", "bootcount": "0", "bootlimit": "1",
	} {
		if got := m.Get(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	if err := b.MarkUnbootable(t.Context(), "b"); err != nil {
		t.Fatal(err)
	}
	m.Set("mender_check_saveenv_canary", "1")
	if err := b.Arm(t.Context(), "b"); !errors.Is(err, board.ErrEnvironment) {
		t.Errorf("U-Boot does not save: got %v, want ErrEnvironment", err)
	}
	m.Set("mender_saveenv_canary", "1")
	if err := b.Arm(t.Context(), "b"); err != nil {
		t.Errorf("U-Boot saves: got %v", err)
	}
}

func TestCanary(t *testing.T) {
	t.Parallel()
	m, _ := newBox(t, BootOrder)
	o := m.options(BootOrder)
	o.Canary = true
	b := m.open(o)
	if err := b.Arm(t.Context(), "b"); !errors.Is(err, board.ErrEnvironment) || !strings.Contains(err.Error(), "restart the box once") {
		t.Errorf("first boot: got %v, want ErrEnvironment and what to do", err)
	}
	m.must(m.PowerOn())
	b = m.open(o)
	if err := b.Arm(t.Context(), "b"); err != nil {
		t.Errorf("second boot: got %v", err)
	}
	m.write("proc/cmdline", []byte("rauc.slot=A otad.canary=OTHER"))
	if err := b.Arm(t.Context(), "b"); !errors.Is(err, board.ErrEnvironment) {
		t.Errorf("another canary: got %v, want ErrEnvironment", err)
	}
}

func TestRunningSlot(t *testing.T) {
	t.Parallel()
	m, b := newBox(t, BootOrder)
	m.must(os.MkdirAll(filepath.Join(m.Root, "dev/disk/by-partuuid"), 0o755))
	m.must(os.Symlink("../../mmcblk0p3", filepath.Join(m.Root, "dev/disk/by-partuuid/0a1b-03")))
	tests := []struct {
		name, cmdline, want string
	}{
		{"argument", "quiet rauc.slot=B root=/dev/mmcblk0p2", "b"},
		{"the last argument counts", "rauc.slot=B rauc.slot=A", "a"},
		{"argument of no slot", "rauc.slot=C root=/dev/mmcblk0p2", ""},
		{"root device", "root=/dev/mmcblk0p3 rw", "b"},
		{"root by another name", "root=PARTUUID=0A1B-03", "b"},
		{"root elsewhere", "root=/dev/nfs", ""},
		{"nothing", "quiet", ""},
	}
	for _, test := range tests {
		m.write("proc/cmdline", []byte(test.cmdline+"\n"))
		slot, err := b.running()
		if slot.Name != test.want || (test.want == "") != errors.Is(err, board.ErrEnvironment) {
			t.Errorf("%s: got %q and %v, want %q", test.name, slot.Name, err, test.want)
		}
	}
}

func TestOpenRefuses(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		edit func(m *machine, o *Options)
		want string
	}{
		{"one slot", func(_ *machine, o *Options) { o.Slots = o.Slots[:1] }, "two needed"},
		{"a slot twice", func(_ *machine, o *Options) { o.Slots[1].Name = "a" }, "declared twice"},
		{"a boot name twice", func(_ *machine, o *Options) { o.Slots[1].BootName = "A" }, "declared twice"},
		{"a relative device", func(_ *machine, o *Options) { o.Slots[1].Device = "sda" }, "not an absolute path"},
		{"an impossible name", func(_ *machine, o *Options) { o.Slots[1].BootName = "A=" }, "bad name"},
		{"no style", func(_ *machine, o *Options) { o.Style = "" }, "not one of"},
		{"three slots to count", func(_ *machine, o *Options) {
			o.Style, o.Slots = BootCount, append(o.Slots, Slot{Set: board.Set{Name: "c", Device: "/dev/sdc"}})
		}, "has two"},
		{"no slot variable", func(_ *machine, o *Options) { o.Style, o.SlotVariable = BootCount, "" }, "slot variable"},
		{"negative tries", func(_ *machine, o *Options) { o.Tries = -1 }, "tries"},
		{"a relative reboot command", func(_ *machine, o *Options) { o.Reboot = []string{"reboot"} }, "absolute path"},
		{"no configuration", func(m *machine, _ *Options) { m.must(os.Remove(filepath.Join(m.Root, "etc/fw_env.config"))) }, "fw_env.config"},
		{"raw flash", func(m *machine, _ *Options) { m.write("etc/fw_env.config", []byte("/dev/mtd0 0 4000\n")) }, "raw flash"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			m, _ := newBox(t, BootOrder)
			o := m.options(BootOrder)
			test.edit(m, &o)
			if _, err := Open(o); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
}

// fw_setenv and otad do not write at the same time.
func TestLock(t *testing.T) {
	t.Parallel()
	m, b := newBox(t, BootOrder)
	l, err := durable.AcquireLock(filepath.Join(m.Root, defaultLock), "fw_setenv")
	m.must(err)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := b.Arm(ctx, "b"); !errors.Is(err, board.ErrEnvironment) || !strings.Contains(err.Error(), "fw_setenv") {
		t.Errorf("locked: got %v, want ErrEnvironment and who holds it", err)
	}
	time.AfterFunc(50*time.Millisecond, func() { l.Release() })
	if err := b.Arm(t.Context(), "b"); err != nil {
		t.Errorf("released: got %v", err)
	}
	m.must(os.RemoveAll(filepath.Join(m.Root, "var/lock")))
	if err := b.MarkUnbootable(t.Context(), "b"); err != nil {
		t.Errorf("no directory for the lock: got %v", err)
	}
}

func TestRebootFails(t *testing.T) {
	t.Parallel()
	m, _ := newBox(t, BootOrder)
	o := m.options(BootOrder)
	o.Reboot = []string{"/sbin/no-such-command"}
	if err := m.open(o).Reboot(t.Context(), "x"); err == nil {
		t.Error("got no error")
	}
}
