package uboot

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"otad/ota/durable"
)

// machine is a box below a directory with a U-Boot of its own: it reads and
// writes the environment's bytes without the code under test, and runs the
// boot script of docs/boards.md in a shell that knows U-Boot's commands.
type machine struct {
	t      *testing.T
	root   string
	script string
	copies []region
}

// region is where a copy of the environment is; size 0 for a whole file.
type region struct {
	file   string
	offset int64
}

const (
	envSize  = 0x1000
	slotSize = 64 << 10
)

// guideScript is the script of that name for style in the guide.
func guideScript(t *testing.T, name string, style Style) string {
	t.Helper()
	guide, err := os.ReadFile("../../docs/boards.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, ok := strings.Cut(string(guide), "```sh\n# "+name+", style "+string(style)+"\n")
	script, _, ended := strings.Cut(rest, "```")
	if !ok || !ended {
		t.Fatalf("docs/boards.md has no %s for style %s", name, style)
	}
	return script
}

func newMachine(t *testing.T, style Style, copies ...region) *machine {
	t.Helper()
	m := &machine{t: t, root: t.TempDir(), script: guideScript(t, "boot.cmd", style)}
	for _, dir := range []string{"proc/sys/kernel/random", "dev", "etc", "boot", "var/lock"} {
		m.must(os.MkdirAll(filepath.Join(m.root, dir), 0o755))
	}
	for _, slot := range []string{"dev/mmcblk0p2", "dev/mmcblk0p3"} {
		m.write(slot, make([]byte, slotSize))
	}
	for _, c := range copies {
		c.file = filepath.Join(m.root, c.file)
		m.copies = append(m.copies, c)
		if _, err := os.Stat(c.file); err != nil {
			m.must(os.WriteFile(c.file, nil, 0o644))
		}
		m.must(os.Truncate(c.file, c.offset+envSize))
	}
	return m
}

// countsItself gives the machine a U-Boot with CONFIG_BOOTCOUNT_LIMIT and the
// count in the environment (common/autoboot.c, drivers/bootcount).
func (m *machine) countsItself() {
	m.t.Helper()
	m.script = "bootcmd() {\n" + guideScript(m.t, "bootcmd", BootCount) + "}\naltbootcmd() {\n" +
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
	m.must(os.WriteFile(filepath.Join(m.root, name), data, 0o644))
}

func (m *machine) header() int { return 3 + min(len(m.copies), 2) }

// load is env_load: the variables, the copy that they came from, its flags.
func (m *machine) load() (vars map[string]string, at int, flags byte) {
	at = -1
	for i, c := range m.copies {
		image := m.image(c)
		if len(image) < envSize {
			continue
		}
		data := image[m.header():]
		if binary.NativeEndian.Uint32(image) != crc32.ChecksumIEEE(data) {
			continue
		}
		f := image[4]
		if at >= 0 && (flags > f && !(flags == 255 && f == 0) || flags == 0 && f == 255 || flags == f) {
			continue
		}
		vars, at, flags = map[string]string{}, i, f
		for entry := range bytes.SplitSeq(data, []byte{0}) {
			if len(entry) == 0 {
				break
			}
			name, value, _ := strings.Cut(string(entry), "=")
			vars[name] = value
		}
	}
	return vars, at, flags
}

func (m *machine) image(c region) []byte {
	data, err := os.ReadFile(c.file)
	m.must(err)
	return data[min(c.offset, int64(len(data))):min(c.offset+envSize, int64(len(data)))]
}

// save is saveenv: sorted, over the other copy.
func (m *machine) save(vars map[string]string) {
	_, at, flags := m.load()
	data := make([]byte, 0, envSize)
	for _, name := range slices.Sorted(maps.Keys(vars)) {
		data = fmt.Appendf(data, "%s=%s\x00", name, vars[name])
	}
	data = data[:envSize-m.header()]
	image := binary.NativeEndian.AppendUint32(nil, crc32.ChecksumIEEE(data))
	if m.header() == 5 {
		image = append(image, flags+1)
	}
	m.poke(m.copies[(at+1)%len(m.copies)], append(image, data...))
}

func (m *machine) poke(c region, data []byte) {
	m.t.Helper()
	f, err := os.OpenFile(c.file, os.O_WRONLY, 0)
	m.must(err)
	_, err = f.WriteAt(data, c.offset)
	m.must(errors.Join(err, f.Close()))
}

// damage spoils a copy, as a torn write does.
func (m *machine) damage(i int) error {
	m.poke(m.copies[i], bytes.Repeat([]byte{0xA5}, envSize/2))
	return nil
}

// commands are U-Boot's, for a shell.
const commands = `
NAMES=
setenv() {
	n=$1; shift; eval "$n=\$*"
	case " $NAMES " in *" $n "*) ;; *) NAMES="$NAMES $n" ;; esac
}
setexpr() { setenv "$1" "$(printf %x $((0x$2 $3 0x$4)))"; }
test() { for a; do shift; case $a in 0x*) a=$(($a)) ;; esac; set -- "$@" "$a"; done; command test "$@"; }
saveenv() {
	for n in $NAMES; do eval "v=\$$n"; command test -z "$v" || printf '%s=%s\n' "$n" "$v"; done >"$SAVED"
}
reset() { exit 42; }
load() { :; }
bootz() { printf %s "$bootargs" >"$CMDLINE"; exit 0; }
`

// powerOn runs the boot script until it starts a kernel.
func (m *machine) powerOn() error {
	m.write("proc/sys/kernel/random/boot_id", []byte(rand.Text()+"\n"))
	saved := filepath.Join(m.t.TempDir(), "saved")
	for range 3 {
		vars, _, _ := m.load()
		text := commands
		for name, value := range vars {
			text += fmt.Sprintf("setenv %s '%s'\n", name, strings.ReplaceAll(value, "'", `'\''`))
		}
		cmd := exec.Command("/bin/sh", "-c", text+m.script)
		cmd.Env = []string{"SAVED=" + saved, "CMDLINE=" + filepath.Join(m.root, "proc/cmdline")}
		out, err := cmd.CombinedOutput()
		if data, readErr := os.ReadFile(saved); readErr == nil {
			vars = map[string]string{}
			for line := range strings.Lines(string(data)) {
				name, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "=")
				vars[name] = value
			}
			m.save(vars)
			m.must(os.Remove(saved))
		}
		if err == nil {
			return nil
		}
		if cmd.ProcessState.ExitCode() != 42 {
			return fmt.Errorf("boot script: %w: %s", err, out)
		}
	}
	return errors.New("the boot script resets again and again: a brick")
}

func (m *machine) options(style Style) Options {
	return Options{
		FS: quick, Root: m.root, Style: style, SlotVariable: "slot", Reboot: []string{"/bin/true"},
		Slots: []Slot{{"a", "/dev/mmcblk0p2", "A"}, {"b", "/dev/mmcblk0p3", "B"}},
	}
}

// open is the start of otad.
func (m *machine) open(o Options) *Board {
	m.t.Helper()
	b, err := Open(o)
	m.must(err)
	return b
}

// set changes variables behind everybody's back.
func (m *machine) set(pairs ...string) {
	vars, _, _ := m.load()
	if vars == nil {
		vars = map[string]string{}
	}
	for i := 0; i < len(pairs); i += 2 {
		vars[pairs[i]] = pairs[i+1]
	}
	m.save(vars)
}

func (m *machine) get(name string) string {
	vars, _, _ := m.load()
	return vars[name]
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
