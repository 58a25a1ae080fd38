package hooks

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"otad/board"
	"otad/board/boardtest"
)

// machine is the bootloader of the box that the template hooks describe.
type machine struct {
	t   *testing.T
	dir string
}

// newMachine makes a box with the template hooks, switched on once.
func newMachine(t *testing.T) *machine {
	t.Helper()
	m := &machine{t: t, dir: t.TempDir()}
	for _, slot := range []string{"a", "b"} {
		m.write("slot-"+slot+".img", strings.Repeat("\x00", 64<<10))
	}
	m.write("env", "default=a\ntrying=\ntries=0\nbad=\"\"\n")
	hooks, err := filepath.Abs("../../testdata/hooks")
	m.must(err)
	// A link: a file that was just written cannot always be executed while
	// another test forks.
	m.must(os.Symlink(hooks, filepath.Join(m.dir, "hooks")))
	m.must(m.powerOn())
	return m
}

func (m *machine) must(err error) {
	m.t.Helper()
	if err != nil {
		m.t.Fatal(err)
	}
}

func (m *machine) write(name, text string) {
	m.t.Helper()
	m.must(os.WriteFile(filepath.Join(m.dir, name), []byte(text), 0o644))
}

func (m *machine) read(name string) string {
	data, err := os.ReadFile(filepath.Join(m.dir, name))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		m.t.Fatal(err)
	}
	return strings.TrimSpace(string(data))
}

// powerOn counts the try, then chooses.
func (m *machine) powerOn() error {
	env := map[string]string{}
	for line := range strings.Lines(m.read("env")) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		env[name] = strings.Trim(value, `"`)
	}
	slot, bad := env["default"], strings.Fields(env["bad"])
	tries, err := strconv.Atoi(env["tries"])
	if err != nil {
		return err
	}
	if tries > 0 && env["trying"] != "" && !slices.Contains(bad, env["trying"]) {
		slot = env["trying"]
		tries--
	} else if slices.Contains(bad, slot) {
		return errors.New("a brick")
	}
	text := fmt.Sprintf("default=%s\ntrying=%s\ntries=%d\nbad=%q\n", env["default"], env["trying"], tries, env["bad"])
	for name, value := range env {
		if strings.HasPrefix(name, "#var ") {
			text += name + "=" + value + "\n"
		}
	}
	m.write("env", text)
	m.write("booted", slot+" "+rand.Text()+"\n")
	m.write("reason", m.read("reboot"))
	m.write("reboot", "")
	return nil
}

func (m *machine) open() (*Board, error) {
	return Open(Options{Dir: filepath.Join(m.dir, "hooks"), Staged: filepath.Join(m.dir, "staged")})
}

// variable is what the bootloader reads.
func (m *machine) variable(name string) (string, error) {
	_, rest, _ := strings.Cut("\n"+m.read("env")+"\n", "\n#var "+name+"=")
	value, _, _ := strings.Cut(rest, "\n")
	return value, nil
}

// TestContract runs the suite over the template hooks, which are thereby a
// set that a vendor can start from.
func TestContract(t *testing.T) {
	t.Parallel()
	boardtest.Run(t, func(t *testing.T) boardtest.Harness {
		m := newMachine(t)
		b, err := m.open()
		m.must(err)
		return boardtest.Harness{
			Board: b,
			PowerOn: func() (board.Board, error) {
				if err := m.powerOn(); err != nil {
					return nil, err
				}
				return m.open()
			},
			Tries:        3,
			Variable:     m.variable,
			OwnVariables: []string{"default", "trying", "tries", "bad"},
			Reason:       func() (string, error) { return m.read("reason"), nil },
		}
	})
}

func TestOptionalHooks(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	b, err := m.open()
	m.must(err)
	if reason, err := b.Busy(t.Context()); reason != "" || err != nil {
		t.Errorf("got %q and %v, want not busy", reason, err)
	}
	m.write("busy", "recording\n")
	if reason, err := b.Busy(t.Context()); reason != "recording" || err != nil {
		t.Errorf("got %q and %v, want recording", reason, err)
	}
	m.must(b.Health(t.Context()))
	m.write("sick", "no picture\n")
	if err := b.Health(t.Context()); err == nil || !strings.Contains(err.Error(), "no picture") {
		t.Errorf("got %v, want what the hook said", err)
	}
	b.dir = t.TempDir() // where there are none
	if err := b.CheckVariable("b", board.Variable{Name: "splash", Value: "new"}); !errors.Is(err, board.ErrVariable) || !strings.Contains(err.Error(), "check-variable") {
		t.Errorf("without the hook: got %v, want its name", err)
	}
	if reason, err := b.Busy(t.Context()); reason != "" || err != nil || b.Health(t.Context()) != nil {
		t.Errorf("without hooks: got %q and %v, want not busy and healthy", reason, err)
	}
}

// testSet links testdata/<set> over the template.
func testSet(t *testing.T, set string) Options {
	t.Helper()
	dir := t.TempDir()
	for _, from := range []string{"../../testdata/hooks", filepath.Join("testdata", set)} {
		from, err := filepath.Abs(from)
		if err != nil {
			t.Fatal(err)
		}
		entries, err := os.ReadDir(from)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			name := filepath.Join(dir, e.Name())
			os.Remove(name) // of the template, if it has one
			if err := os.Symlink(filepath.Join(from, e.Name()), name); err != nil {
				t.Fatal(err)
			}
		}
	}
	return Options{Dir: dir, Slots: []board.Set{{Name: "a", Device: "/dev/null"}, {Name: "b", Device: "/dev/zero"}}}
}

// TestBrokenHooks: what a vendor may get wrong is told, and not believed.
func TestBrokenHooks(t *testing.T) {
	t.Parallel()
	tests := []struct {
		set   string // below testdata
		is    error
		words string
	}{
		{"unknown-slot", board.ErrUnknownSlot, `next: board: no such slot: "z"`},
		{"unknown-member", nil, `unknown field "fallbak"`},
		{"two-answers", nil, "something follows"},
		{"no-answer", nil, "EOF"},
		{"endless", nil, "answered more than"},
		{"hangs", nil, "time-out"},
		{"environment", board.ErrEnvironment, "copy 0 unreadable"},
	}
	for _, test := range tests {
		t.Run(test.set, func(t *testing.T) {
			t.Parallel()
			o := testSet(t, test.set)
			o.Timeout = 20 * time.Second
			if test.set == "hangs" {
				o.Timeout = 100 * time.Millisecond
			}
			b, err := Open(o)
			if err != nil {
				t.Fatal(err)
			}
			_, err = b.Current(t.Context())
			if err == nil || !strings.Contains(err.Error(), test.words) || test.is != nil && !errors.Is(err, test.is) {
				t.Errorf("got %v, want %v with %q", err, test.is, test.words)
			}
			if armed := b.Arm(t.Context(), "b"); armed == nil {
				t.Error("armed without knowing which slot runs")
			}
		})
	}
}

func TestKernelBootIDAndWords(t *testing.T) {
	t.Parallel()
	o := testSet(t, "plain")
	var log bytes.Buffer
	o.Log = slog.New(slog.NewTextHandler(&log, nil))
	b, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	boot, err := b.Current(t.Context())
	if err != nil || boot.ID == "" || boot.Slot != "a" {
		t.Errorf("got %+v and %v", boot, err)
	}
	if !strings.Contains(log.String(), "a word of warning") {
		t.Errorf("got log %q", log.String())
	}
}

func TestOpenRefuses(t *testing.T) {
	t.Parallel()
	two := []board.Set{{Name: "a", Device: "/dev/null"}, {Name: "b", Device: "/dev/zero"}}
	tests := []struct {
		name  string
		edit  func(o *Options)
		words string
	}{
		{"a relative directory", func(o *Options) { o.Dir = "hooks" }, "absolute"},
		{"no hooks", func(o *Options) { o.Dir = "/proc/self/net" }, "current"},
		{"a hook that everybody may write", func(o *Options) {
			name := filepath.Join(o.Dir, "arm")
			os.Remove(name)
			os.WriteFile(name, []byte("#!/bin/sh\n"), 0o755)
			os.Chmod(name, 0o757)
		}, "by everybody"},
		{"a hook that is no program", func(o *Options) {
			name := filepath.Join(o.Dir, "arm")
			os.Remove(name)
			os.Mkdir(name, 0o755)
		}, "not an executable"},
		{"one slot", func(o *Options) { o.Slots = two[:1] }, "two needed"},
		{"a slot twice", func(o *Options) { o.Slots = []board.Set{two[0], two[0]} }, "twice"},
		{"a bad name", func(o *Options) { o.Slots = []board.Set{two[0], {Name: "b\"", Device: "/dev/zero"}} }, "bad name"},
		{"a relative device", func(o *Options) { o.Slots = []board.Set{two[0], {Name: "b", Device: "sda"}} }, "absolute"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			o := testSet(t, "plain")
			test.edit(&o)
			if _, err := Open(o); err == nil || !strings.Contains(err.Error(), test.words) {
				t.Errorf("got %v, want %q", err, test.words)
			}
		})
	}
}

func TestCancelled(t *testing.T) {
	t.Parallel()
	b, err := Open(testSet(t, "hangs"))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := b.Current(ctx); err == nil {
		t.Error("got no error")
	}
}
