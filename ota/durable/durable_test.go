package durable

import (
	"errors"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

var errCut = errors.New("power cut")

// cutFS lets `left` calls through and fails every later one, as if the power
// had gone. Written bytes reach the disk with the sync and not before; a sync
// that is cut leaves half of them there.
type cutFS struct {
	left  int
	calls []string
}

func (c *cutFS) do(call string, act func() error) error {
	if c.left == 0 {
		return errCut
	}
	c.left--
	c.calls = append(c.calls, call)
	return act()
}

func (c *cutFS) OpenFile(name string, flag int, perm fs.FileMode) (f File, err error) {
	err = c.do("open "+filepath.Base(name), func() error {
		f, err = OS.OpenFile(name, flag, perm)
		return err
	})
	return &cutFile{File: f, fs: c}, err
}

func (c *cutFS) Rename(oldname, newname string) error {
	return c.do("rename", func() error { return OS.Rename(oldname, newname) })
}

func (c *cutFS) Remove(name string) error {
	return c.do("remove", func() error { return OS.Remove(name) })
}

func (c *cutFS) Mkdir(name string, perm fs.FileMode) error {
	return c.do("mkdir "+filepath.Base(name), func() error { return OS.Mkdir(name, perm) })
}

func (c *cutFS) ReadDir(name string) ([]string, error) { return OS.ReadDir(name) }

func (c *cutFS) SyncDir(name string) error {
	return c.do("syncdir "+filepath.Base(name), func() error { return OS.SyncDir(name) })
}

type cutFile struct {
	File
	fs     *cutFS
	cached []byte
}

func (f *cutFile) Write(p []byte) (int, error) {
	return len(p), f.fs.do("write", func() error { f.cached = append(f.cached, p...); return nil })
}

func (f *cutFile) Sync() error {
	n := len(f.cached)
	cut := f.fs.do("sync", func() error { return nil })
	if cut != nil {
		n /= 2
	}
	_, err := f.File.Write(f.cached[:n])
	return errors.Join(cut, err)
}

func (f *cutFile) Close() error {
	return errors.Join(f.fs.do("close", func() error { return nil }), f.File.Close())
}

// TestWriteFileCut cuts the power before each call of WriteFile in turn.
func TestWriteFileCut(t *testing.T) {
	t.Parallel()
	for _, old := range []string{"", "old content"} {
		for n := 0; ; n++ {
			name := filepath.Join(t.TempDir(), "file")
			if old != "" {
				mustWrite(t, name, old)
			}
			fsys := &cutFS{left: n}
			err := WriteFile(fsys, name, []byte("the new content"), 0o644)
			got, readErr := os.ReadFile(name)
			if readErr != nil && (old != "" || !errors.Is(readErr, fs.ErrNotExist)) {
				t.Fatalf("cut before call %d: %v", n, readErr)
			}
			if s := string(got); s != old && s != "the new content" {
				t.Fatalf("cut before call %d: got %q", n, s)
			}
			if err == nil {
				if string(got) != "the new content" {
					t.Fatalf("no error, but the file holds %q", got)
				}
				break
			}
			if !errors.Is(err, errCut) {
				t.Fatalf("cut before call %d: got %v", n, err)
			}
			// What a cut left behind is in nobody's way.
			if err := WriteFile(OS, name, []byte("again"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// TestCalls holds the functions to the lists of calls in their comments.
func TestCalls(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	mustWrite(t, filepath.Join(dir, "x"), "x")
	mustWrite(t, filepath.Join(dir, "y"), "y")
	root := filepath.Base(dir)
	tests := []struct {
		name string
		run  func(FS) error
		want []string
	}{
		{"WriteFile", func(f FS) error { return WriteFile(f, filepath.Join(dir, "f"), []byte("1"), 0o644) },
			[]string{"open f.new", "write", "sync", "close", "rename", "syncdir " + root}},
		{"Rename", func(f FS) error { return Rename(f, filepath.Join(dir, "x"), filepath.Join(dir, "z")) },
			[]string{"rename", "syncdir " + root}},
		{"Remove", func(f FS) error { return Remove(f, filepath.Join(dir, "y")) },
			[]string{"remove", "syncdir " + root}},
		{"Remove what is not there", func(f FS) error { return Remove(f, filepath.Join(dir, "nothing")) },
			[]string{"remove"}},
		{"MkdirAll", func(f FS) error { return MkdirAll(f, filepath.Join(dir, "p", "q"), 0o755) },
			[]string{"mkdir q", "mkdir p", "syncdir " + root, "mkdir q", "syncdir p"}},
		{"MkdirAll what is there", func(f FS) error { return MkdirAll(f, dir, 0o755) },
			[]string{"mkdir " + root, "open " + root, "close", "syncdir " + filepath.Base(filepath.Dir(dir))}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			fsys := &cutFS{left: math.MaxInt}
			if err := test.run(fsys); err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(fsys.calls, test.want) {
				t.Errorf("calls:\n got %q\nwant %q", fsys.calls, test.want)
			}
		})
	}
}

func TestMkdirAllBelowAFile(t *testing.T) {
	t.Parallel()
	name := filepath.Join(t.TempDir(), "file")
	mustWrite(t, name, "x")
	if err := MkdirAll(OS, filepath.Join(name, "sub"), 0o755); err == nil {
		t.Error("got no error")
	}
}

func TestReadFile(t *testing.T) {
	t.Parallel()
	name := filepath.Join(t.TempDir(), "file")
	mustWrite(t, name, "12345")
	tests := []struct {
		name  string
		limit int64
		ok    bool
	}{
		{"room to spare", 6, true},
		{"exactly", 5, true},
		{"one too long", 4, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			got, err := ReadFile(OS, name, test.limit)
			if (err == nil) != test.ok || (test.ok && string(got) != "12345") {
				t.Errorf("got %q and %v, want success %t", got, err, test.ok)
			}
		})
	}
	if _, err := ReadFile(OS, name+".not", 5); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a file that is not there: got %v, want ErrNotExist", err)
	}
}

func TestDropCache(t *testing.T) {
	t.Parallel()
	f, err := OS.OpenFile(filepath.Join(t.TempDir(), "file"), os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.Write([]byte("kept")); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(f.Sync(), f.DropCache()); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 4)
	if _, err := f.ReadAt(got, 0); err != nil || string(got) != "kept" {
		t.Errorf("got %q and %v, want %q", got, err, "kept")
	}
}

func TestLock(t *testing.T) {
	t.Parallel()
	name := filepath.Join(t.TempDir(), "lock")
	first, err := AcquireLock(name, "the first, with a long name")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := AcquireLock(name, "second"); !errors.Is(err, ErrLocked) || !strings.Contains(err.Error(), "the first, with a long name") {
		t.Errorf("taken: got %v, want ErrLocked and who holds it", err)
	}
	if err := first.Release(); err != nil {
		t.Fatal(err)
	}
	second, err := AcquireLock(name, "second")
	if err != nil {
		t.Fatalf("given back: %v", err)
	}
	defer second.Release()
	if text, err := os.ReadFile(name); err != nil || string(text) != "second\n" {
		t.Errorf("got holder %q and %v, want %q", text, err, "second\n")
	}
	if _, err := AcquireLock(filepath.Join(name, "below"), "x"); err == nil || errors.Is(err, ErrLocked) {
		t.Errorf("impossible name: got %v, want another error", err)
	}
}

func mustWrite(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}
