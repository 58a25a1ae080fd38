package rootfs

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"otad/build/tooltest"
)

// plant fills root with what file systems find difficult: files around the
// block size, many names, empty ones, modes.
func plant(root string) error {
	random := rand.NewChaCha8([32]byte{1})
	file := func(name string, size int, mode fs.FileMode) error {
		data := make([]byte, size)
		random.Read(data)
		name = filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(name, data, mode); err != nil {
			return err
		}
		return os.Chmod(name, mode)
	}
	for i, size := range []int{0, 1, 4095, 4096, blockBytes - 1, blockBytes, blockBytes + 1, 5*blockBytes + 77, 3 << 20} {
		if err := file(fmt.Sprintf("sizes/%d", i), size, 0o644); err != nil {
			return err
		}
	}
	for i := range 150 {
		if err := file(fmt.Sprintf("many/quite-a-long-name-%04d", i), i*30, 0o640); err != nil {
			return err
		}
	}
	if err := file("usr/sbin/otad", 100_000, 0o755); err != nil {
		return err
	}
	if err := file("etc/otad/secret", 40, 0o600); err != nil {
		return err
	}
	return os.Mkdir(filepath.Join(root, "empty"), 0o700)
}

// wantSame compares two trees: names, types, modes, contents.
func wantSame(t *testing.T, want, got string) {
	t.Helper()
	list := func(dir string) map[string]string {
		files := make(map[string]string)
		err := filepath.WalkDir(dir, func(name string, entry fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			info, err := entry.Info()
			if err != nil {
				return err
			}
			var data []byte
			if info.Mode().IsRegular() {
				data, err = os.ReadFile(name)
			}
			rel, _ := filepath.Rel(dir, name)
			files[rel] = info.Mode().String() + "\x00" + string(data)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return files
	}
	wanted, have := list(want), list(got)
	for name, w := range wanted {
		g, there := have[name]
		mode, _, _ := bytes.Cut([]byte(g), []byte{0})
		if !there {
			t.Errorf("%s is missing", name)
		} else if g != w {
			t.Errorf("%s differs: got %s and %d bytes, want %.10s and %d bytes", name, mode, len(g)-11, w, len(w)-11)
		}
	}
	if len(have) != len(wanted) {
		t.Errorf("got %d names, want %d", len(have), len(wanted))
	}
}

func buildPlanted(t *testing.T) (image, tree string) {
	t.Helper()
	dir := t.TempDir()
	image, tree = filepath.Join(dir, "image"), filepath.Join(dir, "tree")
	if err := Build(image, plant); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(tree, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := plant(tree); err != nil {
		t.Fatal(err)
	}
	return image, tree
}

func TestBuildUnpack(t *testing.T) {
	t.Parallel()
	image, tree := buildPlanted(t)
	// In a slot, the image is followed by what was there before.
	f, err := os.OpenFile(image, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write(bytes.Repeat([]byte{0xA5}, 1<<20)); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(t.TempDir(), "out")
	if err := Unpack(image, out); err != nil {
		t.Fatal(err)
	}
	wantSame(t, tree, out)
}

// TestUnsquashfs reads an image of ours with the tool that everybody uses.
func TestUnsquashfs(t *testing.T) {
	t.Parallel()
	tool := tooltest.Path(t, "unsquashfs")
	image, tree := buildPlanted(t)
	out := filepath.Join(t.TempDir(), "out")
	if text, err := exec.Command(tool, "-no-progress", "-d", out, image).CombinedOutput(); err != nil {
		t.Fatalf("unsquashfs: %v\n%s", err, text)
	}
	wantSame(t, tree, out)
}

func TestBuildRefuses(t *testing.T) {
	t.Parallel()
	broken := errors.New("no")
	for name, fill := range map[string]func(root string) error{
		"a fill that fails": func(string) error { return broken },
		"a link":            func(root string) error { return os.Symlink("there", filepath.Join(root, "here")) },
		"too many names": func(root string) error {
			for i := range 1000 {
				if err := os.WriteFile(filepath.Join(root, fmt.Sprint(i)), nil, 0o644); err != nil {
					return err
				}
			}
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var workspace string
			err := Build(filepath.Join(t.TempDir(), "image"), func(root string) error {
				workspace = root
				return fill(root)
			})
			if err == nil {
				t.Error("got no error")
			}
			if _, err := os.Stat(workspace); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("workspace was left behind: %v", err)
			}
		})
	}
}

func TestUnpackRefuses(t *testing.T) {
	t.Parallel()
	for name, data := range map[string][]byte{
		"empty":      {},
		"zeros":      make([]byte, 1<<20),
		"a web page": bytes.Repeat([]byte("<html>"), 1000),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			image := filepath.Join(dir, "image")
			if err := os.WriteFile(image, data, 0o644); err != nil {
				t.Fatal(err)
			}
			if err := Unpack(image, filepath.Join(dir, "out")); err == nil {
				t.Error("got no error")
			}
		})
	}
}

// TestUnpackDamaged flips bytes of the tables at the end: an error or a tree
// that differs is fine, a panic is not.
func TestUnpackDamaged(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	image := filepath.Join(dir, "image")
	err := Build(image, func(root string) error {
		return os.WriteFile(filepath.Join(root, "file"), make([]byte, blockBytes+1), 0o644)
	})
	if err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(image)
	if err != nil {
		t.Fatal(err)
	}
	random := rand.New(rand.NewPCG(1, 2))
	failed := 0
	for i := range 200 {
		data := bytes.Clone(whole)
		for range 3 {
			data[len(data)-1-random.IntN(300)] = byte(random.Uint32())
		}
		if err := os.WriteFile(image, data, 0o644); err != nil {
			t.Fatal(err)
		}
		if err := Unpack(image, filepath.Join(dir, fmt.Sprint(i))); err != nil {
			failed++
		}
	}
	if failed == 0 {
		t.Error("200 damaged images were all unpacked")
	}
}
