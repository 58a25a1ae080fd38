package uboot

import (
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"otad/board"
	"otad/board/uboot/uboottest"
	"otad/ota/durable"
)

// machine is a box with a U-Boot of its own.
type machine struct {
	*uboottest.Machine
	t *testing.T
}

type region = uboottest.Region

const (
	envSize  = uboottest.EnvBytes
	slotSize = 64 << 10
)

// guideScript is the script of that name for style in the guide.
func guideScript(t *testing.T, name string, style Style) string {
	t.Helper()
	return uboottest.Script(t, "../../docs/boards.md", name, string(style))
}

func newMachine(t *testing.T, style Style, copies ...region) *machine {
	t.Helper()
	m := &machine{uboottest.New(t, t.TempDir(), guideScript(t, "boot.cmd", style), slotSize, copies...), t}
	for _, kernel := range []string{"dev/mmcblk0p5", "dev/mmcblk0p6"} {
		m.write(kernel, make([]byte, 4096))
	}
	return m
}

// countsItself gives the machine a U-Boot with CONFIG_BOOTCOUNT_LIMIT and the
// count in the environment (common/autoboot.c, drivers/bootcount).
func (m *machine) countsItself() {
	m.t.Helper()
	m.Script = "bootcmd() {\n" + guideScript(m.t, "bootcmd", BootCount) + "}\naltbootcmd() {\n" +
		guideScript(m.t, "altbootcmd", BootCount) + `}
run() { "$1"; }
if [ "$upgrade_available" = 1 ]; then setenv bootcount $((bootcount + 1)); saveenv; fi
if [ -n "$bootlimit" ] && [ "${bootcount:-0}" -gt "$bootlimit" ]; then run altbootcmd; else run bootcmd; fi
`
}

func (m *machine) must(err error) {
	m.t.Helper()
	if err != nil {
		m.t.Fatal(err)
	}
}

func (m *machine) write(name string, data []byte) {
	m.t.Helper()
	m.must(os.WriteFile(filepath.Join(m.Root, name), data, 0o644))
}

func (m *machine) options(style Style) Options {
	return Options{
		FS: quick, Root: m.Root, Style: style, SlotVariable: "slot", Reboot: []string{"/bin/true"},
		Slots: []Slot{
			{board.Set{Name: "a", Device: "/dev/mmcblk0p2", Parts: []board.Part{{Name: "kernel", Device: "/dev/mmcblk0p5"}}}, "A"},
			{board.Set{Name: "b", Device: "/dev/mmcblk0p3", Parts: []board.Part{{Name: "kernel", Device: "/dev/mmcblk0p6"}}}, "B"},
		},
	}
}

// open is the start of otad.
func (m *machine) open(o Options) *Board {
	m.t.Helper()
	b, err := Open(o)
	m.must(err)
	return b
}

// quickFS is the real file system for tests in which no power goes: nothing
// waits for the medium.
type quickFS struct{ durable.FS }

type quickFile struct{ durable.File }

func (q quickFS) OpenFile(name string, flag int, perm fs.FileMode) (durable.File, error) {
	f, err := q.FS.OpenFile(name, flag, perm)
	if err != nil {
		return nil, err
	}
	return quickFile{f}, nil
}

func (quickFS) SyncDir(string) error { return nil }
func (quickFile) Sync() error        { return nil }
func (quickFile) DropCache() error   { return nil }

var quick durable.FS = quickFS{durable.OS}
