// Package grub proves the files beside it on a real GRUB: a PC in QEMU boots from
// a disk with otad.cfg, and the hooks are the driver. The test plays the system
// that GRUB would start: it says which slot it is, and halts.
package grub

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"otad/board"
	"otad/board/boardtest"
	"otad/board/hooks"
	"otad/build/tooltest"
)

const (
	sector    = 512
	envBytes  = 1024
	partition = 1 << 20 // where the one partition begins, in bytes
	partBytes = 4 << 20
)

// grubCfg is what an integrator writes, for a PC that only tells.
const grubCfg = `serial --unit=0
terminal_output serial
set otad_env1=$prefix/otadenv1
set otad_env2=$prefix/otadenv2
function slot_boot {
	if [ -f ($root)/broken-$otad_slot ]; then false; else echo "started: otad.slot=$otad_slot $otad_lost"; halt; fi
}
function otad_restart { echo restarted; halt; }
source $prefix/otad.cfg
`

// pc is a box with a real GRUB. Its disk is a file; the hooks see the copies of
// the environment as files, which carry them to the disk and back, block by block,
// as a mounted file system would.
type pc struct {
	t      *testing.T
	dir    string
	blocks [2]int64 // where the copies are on the disk
	said   string   // by GRUB, at the last boot

	broken   []string // slots that cannot be loaded
	readOnly bool     // the disk takes no write from GRUB
}

// need names the programs of the test.
func need(t *testing.T) {
	t.Helper()
	t.Setenv("PATH", os.Getenv("PATH")+":/usr/sbin:/sbin")
	for _, program := range []string{"qemu-system-x86_64", "grub-mkimage", "grub-editenv", "mkfs.ext4", "debugfs"} {
		tooltest.Path(t, program)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func run(t *testing.T, program string, args ...string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), program, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", program, err, out)
	}
	return string(out)
}

func (m *pc) path(name string) string { return filepath.Join(m.dir, name) }

func (m *pc) write(name, text string) {
	m.t.Helper()
	must(m.t, os.WriteFile(m.path(name), []byte(text), 0o644))
}

// block is an environment as grub-editenv would write it.
func block(lines string) string {
	text := "# GRUB Environment Block\n" + lines
	return text + strings.Repeat("#", envBytes-len(text))
}

const factory = "otad_default=a\notad_trying=\notad_tries=0\notad_bad=\n"

// newPC makes a box in its factory state, switched on once.
func newPC(t *testing.T, broken ...string) *pc {
	t.Helper()
	m := &pc{t: t, dir: t.TempDir(), broken: broken}
	must(t, os.MkdirAll(m.path("root/grub"), 0o755))
	script, err := os.ReadFile("otad.cfg")
	must(t, err)
	m.write("root/grub/otad.cfg", string(script))
	m.write("root/grub/grub.cfg", grubCfg)
	for i := range 2 {
		name := "otadenv" + strconv.Itoa(i+1)
		m.write("root/grub/"+name, block(factory))
		m.write(name, block(factory))
	}
	for _, slot := range broken {
		m.write("root/broken-"+slot, "")
	}
	m.makeDisk()
	m.makeHooks()
	m.powerOn()
	return m
}

// makeDisk puts GRUB into the gap before the first partition, as grub-install does.
func (m *pc) makeDisk() {
	m.write("early.cfg", "source $prefix/grub.cfg\n")
	run(m.t, "grub-mkimage", "-O", "i386-pc", "-o", m.path("core.img"), "-c", m.path("early.cfg"), "-p", "(hd0,msdos1)/grub",
		"biosdisk", "part_msdos", "ext2", "loadenv", "test", "echo", "serial", "terminal", "halt", "sleep", "configfile")
	must(m.t, os.WriteFile(m.path("part.img"), nil, 0o644))
	must(m.t, os.Truncate(m.path("part.img"), partBytes))
	run(m.t, "mkfs.ext4", "-q", "-b", "1024", "-d", m.path("root"), m.path("part.img"))

	disk := make([]byte, partition+partBytes)
	boot, err := os.ReadFile("/usr/lib/grub/i386-pc/boot.img")
	must(m.t, err)
	core, err := os.ReadFile(m.path("core.img"))
	must(m.t, err)
	part, err := os.ReadFile(m.path("part.img"))
	must(m.t, err)
	copy(disk, boot[:440])
	entry := disk[446:462]
	entry[0], entry[4] = 0x80, 0x83
	binary.LittleEndian.PutUint32(entry[8:], partition/sector)
	binary.LittleEndian.PutUint32(entry[12:], partBytes/sector)
	disk[510], disk[511] = 0x55, 0xaa
	copy(disk[sector:partition], core)
	copy(disk[partition:], part)
	must(m.t, os.WriteFile(m.path("disk.img"), disk, 0o644))
	for i := range m.blocks {
		where := run(m.t, "debugfs", "-R", fmt.Sprintf("blocks /grub/otadenv%d", i+1), m.path("part.img"))
		fields := strings.Fields(where)
		n, err := strconv.ParseInt(fields[len(fields)-1], 10, 64)
		must(m.t, err)
		m.blocks[i] = partition + n*1024
	}
}

// makeHooks links the hooks, with settings for this box.
func (m *pc) makeHooks() {
	must(m.t, os.Mkdir(m.path("hooks"), 0o755))
	from, err := filepath.Abs("hooks")
	must(m.t, err)
	entries, err := os.ReadDir(from)
	must(m.t, err)
	for _, e := range entries {
		if e.Name() == "settings" || e.Name() == "slots" {
			continue
		}
		must(m.t, os.Symlink(filepath.Join(from, e.Name()), m.path("hooks/"+e.Name())))
	}
	m.write("hooks/settings", fmt.Sprintf("env1=%[1]s/otadenv1\nenv2=%[1]s/otadenv2\ncmdline=%[1]s/cmdline\nboot_id=%[1]s/boot_id\nreason_file=%[1]s/reason\nreboot=true\n", m.dir))
	for _, slot := range []string{"a", "b"} {
		m.write("slot-"+slot+".img", strings.Repeat("\x00", 64<<10))
	}
}

var started = regexp.MustCompile(`started: (otad\.slot=([ab]).*)`)

// situation is all that GRUB decides by, and outcome all that it does. What it
// does twice in the same situation is the same, so it is asked once: most boots
// of the suite are in one that was there before.
type situation struct {
	broken   string
	readOnly bool
	env      [2]string
}

type outcome struct {
	said string
	env  [2]string
}

var known sync.Map

// powerOn lets GRUB boot, on a disk with what the system wrote, and carries back
// what it saved. It returns the slot that GRUB started, "" for none.
func (m *pc) powerOn() string {
	m.t.Helper()
	now := situation{broken: strings.Join(m.broken, " "), readOnly: m.readOnly}
	for i := range now.env {
		data, err := os.ReadFile(m.path("otadenv" + strconv.Itoa(i+1)))
		must(m.t, err)
		now.env[i] = string(data)
	}
	did, seen := known.Load(now)
	if !seen {
		did = m.boot(now)
		known.Store(now, did)
	}
	m.said = did.(outcome).said
	for i, text := range did.(outcome).env {
		m.write("otadenv"+strconv.Itoa(i+1), text)
	}
	m.write("boot_id", rand.Text()+"\n")
	match := started.FindStringSubmatch(m.said)
	if match == nil {
		return ""
	}
	m.write("cmdline", "root=/dev/sda2 "+strings.TrimSpace(match[1])+" panic=10\n")
	return match[2]
}

// boot runs QEMU until GRUB halts it.
func (m *pc) boot(now situation) outcome {
	m.t.Helper()
	disk, err := os.OpenFile(m.path("disk.img"), os.O_RDWR, 0)
	must(m.t, err)
	defer disk.Close()
	for i, at := range m.blocks {
		_, err = disk.WriteAt([]byte(now.env[i]), at)
		must(m.t, err)
	}
	drive := "format=raw,if=ide,cache=unsafe,file=disk.img"
	if m.readOnly {
		drive = "format=raw,if=virtio,readonly=on,file=disk.img"
	}
	ctx, cancel := context.WithTimeout(m.t.Context(), 3*time.Minute)
	defer cancel()
	qemu := exec.CommandContext(ctx, "qemu-system-x86_64", "-nodefaults", "-display", "none", "-m", "32", "-no-reboot", "-serial", "file:said", "-drive", drive)
	qemu.Dir = m.dir // its options take no comma in a name
	var words bytes.Buffer
	qemu.Stderr = &words
	if err := qemu.Run(); err != nil {
		m.t.Fatalf("qemu: %v\n%s", err, words.Bytes())
	}
	said, err := os.ReadFile(m.path("said"))
	must(m.t, err)
	did := outcome{said: string(said)}
	for i, at := range m.blocks {
		data := make([]byte, envBytes)
		_, err := disk.ReadAt(data, at)
		must(m.t, err)
		did.env[i] = string(data)
	}
	return did
}

func (m *pc) open() (*hooks.Board, error) {
	return hooks.Open(hooks.Options{
		Dir: m.path("hooks"), Staged: m.path("staged"), Timeout: time.Minute,
		Slots: []board.Set{{Name: "a", Device: m.path("slot-a.img")}, {Name: "b", Device: m.path("slot-b.img")}},
	})
}

// variable asks GRUB's own tool.
func (m *pc) variable(name string) (string, error) {
	out, err := exec.CommandContext(m.t.Context(), "grub-editenv", m.path("otadenv1"), "list").Output()
	_, rest, _ := strings.Cut("\n"+string(out), "\n"+name+"=")
	value, _, _ := strings.Cut(rest, "\n")
	return value, err
}

func TestContract(t *testing.T) {
	need(t)
	boardtest.Run(t, func(t *testing.T) boardtest.Harness {
		m := newPC(t)
		b, err := m.open()
		must(t, err)
		return boardtest.Harness{
			Board: b,
			PowerOn: func() (board.Board, error) {
				if m.powerOn() == "" {
					return nil, errors.New("a brick: " + m.said)
				}
				return m.open()
			},
			Tries: 3,
			DamageEnv: func(copy int) error {
				return os.WriteFile(m.path("otadenv"+strconv.Itoa(copy+1)), make([]byte, envBytes), 0o644)
			},
			Variable:     m.variable,
			OwnVariables: []string{"otad_default", "otad_trying", "otad_tries", "otad_bad"},
			Reason:       b.Reason,
		}
	})
}

// boots switches the box on and compares what GRUB starts, "" for a restart.
func (m *pc) boots(want ...string) {
	m.t.Helper()
	for i, slot := range want {
		if got := m.powerOn(); got != slot {
			m.t.Fatalf("boot %d: got slot %q, want %q; GRUB said:\n%s", i+1, got, slot, m.said)
		}
	}
}

// arms arms slot b, as otad does it.
func (m *pc) arms() {
	m.t.Helper()
	b, err := m.open()
	must(m.t, err)
	must(m.t, b.MarkUnbootable(m.t.Context(), "b"))
	must(m.t, b.Arm(m.t.Context(), "b"))
}

// TestTroubles are what otad.cfg promises beyond the contract.
func TestTroubles(t *testing.T) {
	need(t)
	tests := []struct {
		name   string
		broken []string
		run    func(m *pc)
	}{
		{"a slot on trial that cannot be loaded", []string{"b"}, func(m *pc) {
			m.arms()
			m.boots("", "", "", "a", "a")
		}},
		{"a permanent slot that cannot be loaded", []string{"a"}, func(m *pc) {
			m.boots("b", "b")
		}},
		{"it cannot be loaded, and the other one is being written", []string{"a"}, func(m *pc) {
			m.write("cmdline", "otad.slot=a")
			b, err := m.open()
			must(m.t, err)
			must(m.t, b.MarkUnbootable(m.t.Context(), "b"))
			m.boots("", "")
		}},
		{"a count that cannot be saved is no try", nil, func(m *pc) {
			m.arms()
			m.readOnly = true
			m.boots("a", "a")
			if !strings.Contains(m.said, "cannot be counted") {
				m.t.Errorf("GRUB said:\n%s", m.said)
			}
			m.readOnly = false
			m.boots("b", "b", "b", "a")
		}},
		{"the power goes between the two copies", nil, func(m *pc) {
			old, err := os.ReadFile(m.path("otadenv2"))
			must(m.t, err)
			m.arms()
			m.write("otadenv2", string(old))
			m.boots("b", "b", "b", "a")
		}},
		{"tries beyond counting are none", nil, func(m *pc) {
			m.write("otadenv1", block("otad_default=a\notad_trying=b\notad_tries=9\n"))
			m.boots("a")
			m.arms()
			m.boots("b", "b", "b", "a")
		}},
		{"tries are counted in the copy that is left", nil, func(m *pc) {
			m.arms()
			m.write("otadenv1", strings.Repeat("\x00", envBytes))
			m.boots("b", "b", "b", "a")
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			test.run(newPC(t, test.broken...))
		})
	}
}

// TestDamagedEnvironments: the hooks take no environment for a good one that
// GRUB would not start from, and change nothing then; GRUB starts a slot.
func TestDamagedEnvironments(t *testing.T) {
	need(t)
	tests := []struct{ name, env string }{
		{"zeros", strings.Repeat("\x00", envBytes)},
		{"no signature", strings.Replace(block(factory), "# GRUB", "# GRAB", 1)},
		{"no such slot", block(strings.Replace(factory, "default=a", "default=c", 1))},
		{"no slot", block("splash=1\n")},
		{"a command", block("otad_default=$(touch owned)\notad_trying=`touch owned`\n")},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			m := newPC(t)
			m.write("otadenv1", test.env)
			m.write("otadenv2", test.env)
			b, err := m.open()
			must(t, err)
			if err := b.Arm(t.Context(), "b"); !errors.Is(err, board.ErrEnvironment) {
				t.Errorf("got %v, want ErrEnvironment", err)
			}
			if got, err := os.ReadFile(m.path("otadenv1")); err != nil || string(got) != test.env {
				t.Errorf("the environment was changed: %q, %v", got, err)
			}
			if m.powerOn() == "" {
				t.Fatalf("a brick: %s", m.said)
			}
			if !strings.Contains(m.said, "no good environment") {
				t.Errorf("GRUB took it: %s", m.said)
			}
			must(t, b.Arm(t.Context(), "b"))
			m.boots("b", "b", "b", "a")
		})
	}
}
