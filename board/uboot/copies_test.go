package uboot

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"otad/board"
	"otad/ota/durable"
)

func TestVariables(t *testing.T) {
	t.Parallel()
	v, err := parseVariables([]byte("a=1\x00b=\x00odd\x00a=2\x00c=x=y\x00\x00padding"))
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"a": "2", "b": "", "c": "x=y"} {
		if got, ok := v.get(name); got != want || !ok {
			t.Errorf("%s is %q, %t; want %q", name, got, ok, want)
		}
	}
	if _, ok := v.get("odd"); ok {
		t.Error("an entry without a value has one")
	}
	v.set("a", "3")
	v.set("d", "4")
	v.unset("b")
	if want := (variables{"a=3", "odd", "c=x=y", "d=4"}); !slices.Equal(v, want) {
		t.Errorf("got %q, want %q", v, want)
	}
	if _, err := parseVariables([]byte("a=1\x00b")); !errors.Is(err, errUnterminated) {
		t.Errorf("no end: got %v", err)
	}
	size := len("a=3.odd.c=x=y.d=4..")
	if data, err := v.bytes(size); err != nil || string(data) != "a=3\x00odd\x00c=x=y\x00d=4\x00\x00" {
		t.Errorf("got %q and %v", data, err)
	}
	if _, err := v.bytes(size - 1); err == nil {
		t.Error("one byte too few: got no error")
	}
}

// TestNewer is U-Boot's table (env_import_redund).
func TestNewer(t *testing.T) {
	t.Parallel()
	tests := []struct {
		flags [2]byte
		want  int
	}{
		{[2]byte{0, 1}, 1}, {[2]byte{1, 0}, 0}, {[2]byte{5, 5}, 0}, {[2]byte{254, 255}, 1}, {[2]byte{255, 254}, 0},
		{[2]byte{255, 0}, 1}, {[2]byte{0, 255}, 0}, {[2]byte{255, 1}, 0}, {[2]byte{1, 255}, 1},
	}
	for _, test := range tests {
		got := newer(environment{copy: 0, flags: test.flags[0]}, environment{copy: 1, flags: test.flags[1]})
		if got.copy != test.want {
			t.Errorf("flags %d: got copy %d, want %d", test.flags, got.copy, test.want)
		}
	}
}

// newStore makes a good environment in the given places below a new directory.
func newStore(t *testing.T, fsys durable.FS, copies ...region) (*store, *machine) {
	t.Helper()
	m := newMachine(t, BootOrder, copies...)
	s := &store{fs: fsys, root: m.Root}
	for _, c := range copies {
		s.copies = append(s.copies, place{"/" + c.File, c.Offset, envSize})
	}
	m.Set("n", "0")
	return s, m
}

var onDevice = []region{{File: "dev/mmcblk0", Offset: 0x2000}, {File: "dev/mmcblk0", Offset: 0x6000}}

// TestCountsAround writes more often than the flags byte can count, in turn
// with U-Boot, and damages each copy now and then.
func TestCountsAround(t *testing.T) {
	t.Parallel()
	s, m := newStore(t, quick, onDevice...)
	for n := range 600 {
		env, err := s.read()
		if err != nil {
			t.Fatalf("write %d: %v", n, err)
		}
		if got, _ := env.get("n"); got != fmt.Sprint(n) {
			t.Fatalf("write %d: got n=%s from copy %d, flags %d", n, got, env.copy, env.flags)
		}
		if n%7 == 0 {
			m.must(m.Damage(1 - env.copy))
		}
		if n%3 == 0 {
			m.Set("n", fmt.Sprint(n+1))
			continue
		}
		vars := slices.Clone(env.variables)
		vars.set("n", fmt.Sprint(n+1))
		m.must(s.write(env, vars))
		if got := m.Get("n"); got != fmt.Sprint(n+1) {
			t.Fatalf("write %d: U-Boot reads n=%s", n, got)
		}
	}
}

// TestTornWrite cuts a write at every 64th byte: the old values or the new.
func TestTornWrite(t *testing.T) {
	t.Parallel()
	s, m := newStore(t, quick, onDevice...)
	m.Set("n", "1")
	env, err := s.read()
	m.must(err)
	vars := slices.Clone(env.variables)
	vars.set("n", "2")
	older := m.Copies[1-env.copy]
	before := m.Image(older)
	m.must(s.write(env, vars))
	after := m.Image(older)
	for n := 0; n <= envSize; n += 64 {
		m.Poke(older, append(slices.Clone(after[:n]), before[n:]...))
		got, err := s.read()
		value, _ := got.get("n")
		if want := m.Get("n"); err != nil || value != want || value != "1" && value != "2" {
			t.Fatalf("cut at %d: got n=%s and %v, U-Boot reads n=%s", n, value, err, want)
		}
		if value == "2" && !bytes.Equal(m.Image(older), after) {
			t.Fatalf("cut at %d: the new values are taken too early", n)
		}
	}
}

// faultFS fails one kind of call on one file.
type faultFS struct {
	durable.FS
	call, name string
	calls      []string
}

func (f *faultFS) OpenFile(name string, flag int, perm fs.FileMode) (durable.File, error) {
	file, err := f.FS.OpenFile(name, flag, perm)
	if err != nil {
		return nil, err
	}
	return &faultFile{File: file, fs: f}, nil
}

func (f *faultFS) Rename(a, b string) error {
	f.calls = append(f.calls, "rename")
	return f.FS.Rename(a, b)
}

func (f *faultFS) SyncDir(name string) error {
	f.calls = append(f.calls, "syncdir")
	return f.FS.SyncDir(name)
}

type faultFile struct {
	durable.File
	fs *faultFS
}

func (f *faultFile) do(call string) error {
	if f.fs.call == call && strings.HasSuffix(f.Name(), f.fs.name) {
		return syscall.EIO
	}
	if call != "read" {
		f.fs.calls = append(f.fs.calls, call)
	}
	return nil
}

func (f *faultFile) ReadAt(p []byte, off int64) (int, error) {
	if err := f.do("read"); err != nil {
		return 0, err
	}
	return f.File.ReadAt(p, off)
}

func (f *faultFile) Write(p []byte) (int, error) {
	if err := f.do("write"); err != nil {
		return 0, err
	}
	return f.File.Write(p)
}

func (f *faultFile) WriteAt(p []byte, off int64) (int, error) {
	if err := f.do("write"); err != nil {
		return 0, err
	}
	return f.File.WriteAt(p, off)
}

func (f *faultFile) Sync() error {
	if err := f.do("sync"); err != nil {
		return err
	}
	return f.File.Sync()
}

var inFiles = []region{{File: "boot/uboot.env", Offset: 0}, {File: "boot/uboot-redund.env", Offset: 0}}

func TestUnreadableCopyIsABadCopy(t *testing.T) {
	t.Parallel()
	fsys := &faultFS{FS: durable.OS}
	s, m := newStore(t, fsys, inFiles...)
	m.Set("n", "1")
	for i, name := range []string{"uboot.env", "uboot-redund.env"} {
		fsys.call, fsys.name = "read", name
		env, err := s.read()
		if err != nil || env.copy != 1-i || !errors.Is(env.lost, syscall.EIO) {
			t.Errorf("%s unreadable: got copy %d, lost %v and %v", name, env.copy, env.lost, err)
		}
	}
}

func TestWriteFaultsAreErrors(t *testing.T) {
	t.Parallel()
	for _, copies := range [][]region{onDevice, inFiles[:1], {{File: "dev/mmcblk0", Offset: 0x40}}} {
		for _, call := range []string{"write", "sync"} {
			fsys := &faultFS{FS: durable.OS}
			s, _ := newStore(t, fsys, copies...)
			env, err := s.read()
			if err != nil {
				t.Fatal(err)
			}
			fsys.call = call
			if err := s.write(env, env.variables); !errors.Is(err, board.ErrEnvironment) || !errors.Is(err, syscall.EIO) {
				t.Errorf("%s of %q: got %v, want ErrEnvironment and EIO", call, copies[0].File, err)
			}
		}
	}
}

// TestWriteCalls holds write to its comment.
func TestWriteCalls(t *testing.T) {
	t.Parallel()
	replaced := []string{"write", "sync", "rename", "syncdir"}
	tests := []struct {
		name   string
		copies []region
		remove string // this file, before
		want   []string
	}{
		{"redundant", onDevice, "", []string{"write", "sync"}},
		{"redundant files", inFiles, "", []string{"write", "sync"}},
		{"the second file is not there yet", inFiles, "boot/uboot-redund.env", replaced},
		{"one file", inFiles[:1], "", replaced},
		{"one copy within something", []region{{File: "dev/mmcblk0", Offset: 0x40}}, "", []string{"write", "sync"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			fsys := &faultFS{FS: durable.OS}
			s, m := newStore(t, fsys, test.copies...)
			if test.remove != "" {
				m.Set("n", "1") // now the first copy is the newer one
				m.must(os.Remove(filepath.Join(m.Root, test.remove)))
			}
			env, err := s.read()
			m.must(err)
			m.must(s.write(env, env.variables))
			if !slices.Equal(fsys.calls, test.want) {
				t.Errorf("got calls %q, want %q", fsys.calls, test.want)
			}
			again, err := s.read()
			if err != nil || !slices.Equal(again.variables, env.variables) || again.lost != nil {
				t.Errorf("got %+v and %v", again, err)
			}
		})
	}
}

func TestNothingIsWrittenWhereNothingIs(t *testing.T) {
	t.Parallel()
	s, m := newStore(t, quick, region{File: "dev/mmcblk0", Offset: 0x2000})
	env, err := s.read()
	m.must(err)
	tests := []struct {
		name   string
		copies []place
	}{
		{"beyond the end", []place{{"/dev/mmcblk0", 0x2800, envSize}}},
		{"before the start", []place{{"/dev/mmcblk0", -0x100000, envSize}}},
		{"no such device", []place{{"/dev/mmcblk7", 0, envSize}}},
		{"no such second device", []place{{"/dev/mmcblk0", 0x2000, envSize}, {"/dev/mmcblk7", 0, envSize}}},
		{"variables that do not fit", []place{{"/dev/mmcblk0", 0x2000, minEnvBytes}}},
	}
	before := m.Image(m.Copies[0])
	for _, test := range tests {
		s.copies = test.copies
		vars := append(slices.Clone(env.variables), "long=enough")
		if err := s.write(env, vars); !errors.Is(err, board.ErrEnvironment) {
			t.Errorf("%s: got %v, want ErrEnvironment", test.name, err)
		}
	}
	if _, err := os.Stat(filepath.Join(m.Root, "dev/mmcblk7")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a device was invented: %v", err)
	}
	if !bytes.Equal(before, m.Image(m.Copies[0])) {
		t.Error("the environment changed")
	}
}

func FuzzDecode(f *testing.F) {
	s := &store{copies: make([]place, 2)}
	for i := range s.copies {
		s.copies[i].sizeBytes = 64
	}
	image, err := s.encode(environment{variables: variables{"a=1", "b=2"}, flags: 7})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(image[5:], byte(7))
	f.Add([]byte("a\x00\x00"), byte(0))
	f.Fuzz(func(t *testing.T, data []byte, flags byte) {
		vars, err := parseVariables(data)
		if err != nil {
			return
		}
		sized := &store{copies: []place{{sizeBytes: int64(len(data)) + 5}, {sizeBytes: int64(len(data)) + 5}}}
		image, err := sized.encode(environment{variables: vars, flags: flags})
		if err != nil {
			t.Fatalf("what was read does not fit: %v", err)
		}
		again, err := sized.decode(image)
		if err != nil || !slices.Equal(again.variables, vars) || again.flags != flags {
			t.Fatalf("not read back: %+v, %v", again, err)
		}
		again.set("a", "x")
		if got, ok := again.get("a"); got != "x" || !ok {
			t.Fatalf("set, but got %q", got)
		}
		again.unset("a")
		if _, ok := again.get("a"); ok {
			t.Fatal("unset, but there")
		}
	})
}
