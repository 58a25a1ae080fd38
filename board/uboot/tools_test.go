package uboot

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"otad/board"
	"otad/build/tooltest"
)

// tools are fw_printenv and fw_setenv, with the configuration of a machine.
type tools struct {
	*machine
	printenv, setenv, config string
}

func newTools(t *testing.T, m *machine) *tools {
	t.Helper()
	f := &tools{machine: m, printenv: tooltest.Path(t, "fw_printenv"), setenv: tooltest.Path(t, "fw_setenv")}
	f.config = filepath.Join(m.Root, "fw_env.config")
	var text string
	for _, c := range m.Copies {
		text += fmt.Sprintf("%s %#x %#x\n", c.File, c.Offset, envSize)
	}
	m.must(os.WriteFile(f.config, []byte(text), 0o644))
	return f
}

func (f *tools) print() map[string]string {
	f.t.Helper()
	out, err := exec.Command(f.printenv, "-c", f.config).CombinedOutput()
	if err != nil {
		f.t.Fatalf("fw_printenv: %v: %s", err, out)
	}
	vars := map[string]string{}
	for line := range strings.Lines(string(out)) {
		name, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "=")
		vars[name] = value
	}
	return vars
}

// setVariable writes by way of a file of variables, as scripts do.
func (f *tools) setVariable(name, value string) {
	f.t.Helper()
	list := filepath.Join(f.Root, "list")
	f.must(os.WriteFile(list, []byte(name+"="+value+"\n"), 0o644))
	if out, err := exec.Command(f.setenv, "-c", f.config, "-s", list).CombinedOutput(); err != nil {
		f.t.Fatalf("fw_setenv: %v: %s", err, out)
	}
}

func asMap(v variables) map[string]string {
	m := map[string]string{}
	for _, entry := range v {
		name, value, _ := strings.Cut(entry, "=")
		m[name] = value
	}
	return m
}

// TestToolsReadOursAndWeReadTheirs takes turns, more often than the flags byte
// counts, with a copy damaged now and then.
func TestToolsReadOursAndWeReadTheirs(t *testing.T) {
	t.Parallel()
	for name, copies := range map[string][]region{
		"redundant": onDevice, "redundant files": inFiles, "one file": inFiles[:1], "one copy at an offset": {{File: "dev/mmcblk0", Offset: 0x2000}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, m := newStore(t, quick, copies...)
			f := newTools(t, m)
			m.Set("n", "0", "path with spaces", "a b  c", "equal", "x=y", "empty", "")
			rounds := 20
			if name == "redundant" {
				rounds = 135 // two writes each: once around
			}
			for n := range rounds {
				env, err := s.read()
				m.must(err)
				if n%16 == 5 && len(copies) == 2 {
					m.must(m.Damage(1 - env.copy))
				}
				vars := slices.Clone(env.variables)
				vars.set("n", fmt.Sprint(2*n+1))
				m.must(s.write(env, vars))
				if got := f.print(); !maps.Equal(got, asMap(vars)) {
					t.Fatalf("round %d: fw_printenv prints %q, we wrote %q", n, got, vars)
				}
				f.setVariable("n", fmt.Sprint(2*n+2))
				if env, err = s.read(); err != nil {
					t.Fatal(err)
				}
				if got, _ := env.get("n"); got != fmt.Sprint(2*n+2) {
					t.Fatalf("round %d: we read n=%s of flags %d, fw_setenv wrote %d", n, got, env.flags, 2*n+2)
				}
			}
		})
	}
}

// TestToolsAgreeOnTornWrites cuts a write, ours and theirs, at every 256th byte.
func TestToolsAgreeOnTornWrites(t *testing.T) {
	t.Parallel()
	for _, writer := range []string{"otad", "fw_setenv"} {
		t.Run(writer, func(t *testing.T) {
			t.Parallel()
			s, m := newStore(t, quick, onDevice...)
			f := newTools(t, m)
			m.Set("n", "1")
			env, err := s.read()
			m.must(err)
			older := m.Copies[1-env.copy]
			before := m.Image(older)
			if writer == "otad" {
				vars := slices.Clone(env.variables)
				vars.set("n", "2")
				m.must(s.write(env, vars))
			} else {
				f.setVariable("n", "2")
			}
			after := m.Image(older)
			for n := 0; n <= envSize; n += 256 {
				m.Poke(older, append(slices.Clone(after[:n]), before[n:]...))
				got, err := s.read()
				m.must(err)
				if want := f.print(); !maps.Equal(want, asMap(got.variables)) {
					t.Errorf("cut at %d: we read %q, fw_printenv %q", n, got.variables, want)
				}
				if value, _ := got.get("n"); value != "1" && value != "2" {
					t.Errorf("cut at %d: n is %q", n, value)
				}
			}
		})
	}
}

// TestToolsRefuseTheSame tears a single copy: neither side makes variables up.
func TestToolsRefuseTheSame(t *testing.T) {
	t.Parallel()
	for name, copies := range map[string][]region{"a file": inFiles[:1], "on a device": {{File: "dev/mmcblk0", Offset: 0x2000}}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, m := newStore(t, quick, copies...)
			f := newTools(t, m)
			m.Set("n", "1")
			before := m.Image(m.Copies[0])
			f.setVariable("n", "2")
			after := m.Image(m.Copies[0])
			for n := 1; n < len("crc_n=2"); n++ { // all that changed
				torn := append(slices.Clone(after[:n]), before[n:]...)
				m.Poke(m.Copies[0], torn)
				_, err := s.read()
				out, theirs := exec.Command(f.printenv, "-c", f.config, "n").CombinedOutput()
				if !errors.Is(err, board.ErrEnvironment) || theirs == nil {
					t.Errorf("cut at %d: we say %v, fw_printenv %v: %s", n, err, theirs, out)
				}
			}
			m.Poke(m.Copies[0], after)
			if env, err := s.read(); err != nil || !slices.Contains(env.variables, "n=2") {
				t.Errorf("whole again: got %q, %v", env.variables, err)
			}
		})
	}
}

// TestMkenvimage reads what U-Boot's own tool made at build time.
func TestMkenvimage(t *testing.T) {
	t.Parallel()
	mkenvimage := tooltest.Path(t, "mkenvimage")
	for name, copies := range map[string][]region{"redundant": inFiles, "one": inFiles[:1]} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, m := newStore(t, quick, copies...)
			m.write("list", []byte("BOOT_ORDER=A B\nBOOT_A_LEFT=3\n"))
			for _, c := range m.Copies {
				args := []string{"-s", fmt.Sprint(envSize), "-o", c.File, filepath.Join(m.Root, "list")}
				if len(copies) == 2 {
					args = append([]string{"-r"}, args...)
				}
				if out, err := exec.Command(mkenvimage, args...).CombinedOutput(); err != nil {
					t.Fatalf("mkenvimage: %v: %s", err, out)
				}
			}
			env, err := s.read()
			if want := (variables{"BOOT_ORDER=A B", "BOOT_A_LEFT=3"}); err != nil || !slices.Equal(env.variables, want) {
				t.Errorf("got %q and %v, want %q", env.variables, err, want)
			}
		})
	}
}

// TestToolsReadVariablesOfArtifacts arms a slot with variables and cuts that
// one write at every 256th byte: fw_printenv finds the slot armed with all of
// them, or not armed and none.
func TestToolsReadVariablesOfArtifacts(t *testing.T) {
	t.Parallel()
	m, b := newBox(t, BootOrder)
	f := newTools(t, m)
	long := strings.Repeat("x y ", 300)
	m.must(b.StageVariables(t.Context(), "b", []board.Variable{{Name: "splash", Value: "new = 1"}, {Name: "colour", Value: long}}))
	env, err := b.store.read()
	m.must(err)
	older := m.Copies[1-env.copy]
	before := m.Image(older)
	m.must(b.Arm(t.Context(), "b"))
	after := m.Image(older)
	armed := 0
	for n := 0; n <= envSize; n += 256 {
		m.Poke(older, append(slices.Clone(after[:n]), before[n:]...))
		switch got := f.print(); {
		case got["BOOT_ORDER"] == "B A" && got["splash"] == "new = 1" && got["colour"] == long:
			armed++
		case got["BOOT_ORDER"] == "A B" && got["splash"] == "" && got["colour"] == "":
		default:
			t.Errorf("cut at %d: fw_printenv prints %q", n, got)
		}
	}
	if armed == 0 {
		t.Error("the whole write does not arm the slot")
	}
}
