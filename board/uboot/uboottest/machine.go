// Package uboottest is a box that U-Boot starts, for tests: [Machine] reads and
// writes the environment's bytes without the code under test, and runs the
// boot scripts of docs/boards.md, as they stand there, in a shell that knows
// U-Boot's commands.
//
// Model: everything of the box is below one directory, also what its kernel
// would show in /proc. A method that meets what a box cannot have ends the test.
package uboottest

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// EnvBytes is the size of each copy of the environment.
const EnvBytes = 0x1000

// Region is where a copy of the environment is.
type Region struct {
	File   string // below the box's directory; of a machine: the whole path
	Offset int64
}

// Machine is the box.
type Machine struct {
	Root   string
	Script string   // what U-Boot runs
	Copies []Region // of the environment: one or two

	t testing.TB
}

// Script is the script of that name for a boot style in the guide, the file
// docs/boards.md.
func Script(t testing.TB, guide, name, style string) string {
	t.Helper()
	text, err := os.ReadFile(guide)
	if err != nil {
		t.Fatal(err)
	}
	_, rest, ok := strings.Cut(string(text), "```sh\n# "+name+", style "+style+"\n")
	script, _, ended := strings.Cut(rest, "```")
	if !ok || !ended {
		t.Fatalf("%s has no %s for style %s", guide, name, style)
	}
	return script
}

// New makes a box in the directory root: two slots of slotBytes in
// dev/mmcblk0p2 and dev/mmcblk0p3, and room for the copies of the environment.
func New(t testing.TB, root, script string, slotBytes int64, copies ...Region) *Machine {
	t.Helper()
	m := &Machine{Root: root, Script: script, t: t}
	for _, dir := range []string{"proc/sys/kernel/random", "dev", "etc", "boot", "var/lock"} {
		m.must(os.MkdirAll(filepath.Join(m.Root, dir), 0o755))
	}
	for _, slot := range []string{"dev/mmcblk0p2", "dev/mmcblk0p3"} {
		name := filepath.Join(m.Root, slot)
		m.must(os.WriteFile(name, nil, 0o644))
		m.must(os.Truncate(name, slotBytes))
	}
	for _, c := range copies {
		c.File = filepath.Join(m.Root, c.File)
		m.Copies = append(m.Copies, c)
		if _, err := os.Stat(c.File); err != nil {
			m.must(os.WriteFile(c.File, nil, 0o644))
		}
		m.must(os.Truncate(c.File, c.Offset+EnvBytes))
	}
	return m
}

func (m *Machine) must(err error) {
	m.t.Helper()
	if err != nil {
		m.t.Fatal(err)
	}
}

func (m *Machine) header() int { return 3 + min(len(m.Copies), 2) }

// Load is env_load: the variables, the copy that they came from (-1 for none),
// its flags.
func (m *Machine) Load() (vars map[string]string, at int, flags byte) {
	at = -1
	for i, c := range m.Copies {
		image := m.Image(c)
		if len(image) < EnvBytes {
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

// Image is the bytes of a copy.
func (m *Machine) Image(c Region) []byte {
	data, err := os.ReadFile(c.File)
	m.must(err)
	return data[min(c.Offset, int64(len(data))):min(c.Offset+EnvBytes, int64(len(data)))]
}

// Save is saveenv: sorted, over the other copy.
func (m *Machine) Save(vars map[string]string) {
	_, at, flags := m.Load()
	data := make([]byte, 0, EnvBytes)
	for _, name := range slices.Sorted(maps.Keys(vars)) {
		data = fmt.Appendf(data, "%s=%s\x00", name, vars[name])
	}
	data = data[:EnvBytes-m.header()]
	image := binary.NativeEndian.AppendUint32(nil, crc32.ChecksumIEEE(data))
	if m.header() == 5 {
		image = append(image, flags+1)
	}
	m.Poke(m.Copies[(at+1)%len(m.Copies)], append(image, data...))
}

// Poke overwrites the beginning of a copy.
func (m *Machine) Poke(c Region, data []byte) {
	m.t.Helper()
	f, err := os.OpenFile(c.File, os.O_WRONLY, 0)
	m.must(err)
	_, err = f.WriteAt(data, c.Offset)
	m.must(errors.Join(err, f.Close()))
}

// Damage spoils a copy, as a torn write does.
func (m *Machine) Damage(i int) error {
	m.Poke(m.Copies[i], bytes.Repeat([]byte{0xA5}, EnvBytes/2))
	return nil
}

// Set changes variables, given as names and values in turn, behind everybody's
// back.
func (m *Machine) Set(pairs ...string) {
	vars, _, _ := m.Load()
	if vars == nil {
		vars = map[string]string{}
	}
	for i := 0; i < len(pairs); i += 2 {
		vars[pairs[i]] = pairs[i+1]
	}
	m.Save(vars)
}

// Get reads a variable, "" when it is not there.
func (m *Machine) Get(name string) string {
	vars, _, _ := m.Load()
	return vars[name]
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

// PowerOn runs the boot script until it starts a kernel, whose command line is
// in proc/cmdline then, with another boot ID.
func (m *Machine) PowerOn() error {
	m.must(os.WriteFile(filepath.Join(m.Root, "proc/sys/kernel/random/boot_id"), []byte(rand.Text()+"\n"), 0o644))
	saved := filepath.Join(m.Root, "saved")
	for range 3 {
		vars, _, _ := m.Load()
		text := commands
		for name, value := range vars {
			text += fmt.Sprintf("setenv %s '%s'\n", name, strings.ReplaceAll(value, "'", `'\''`))
		}
		cmd := exec.Command("/bin/sh", "-c", text+m.Script)
		cmd.Env = []string{"SAVED=" + saved, "CMDLINE=" + filepath.Join(m.Root, "proc/cmdline")}
		out, err := cmd.CombinedOutput()
		if data, readErr := os.ReadFile(saved); readErr == nil {
			vars = map[string]string{}
			for line := range strings.Lines(string(data)) {
				name, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "=")
				vars[name] = value
			}
			m.Save(vars)
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
