package main_test

import (
	"bytes"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"otad/build/tooltest"
	"otad/cmd/internal/cli"
)

// TestForeignArtifacts installs artifacts that none of our code has a hand in,
// and reads the files back out of the slot with the tools of ext4.
func TestForeignArtifacts(t *testing.T) {
	t.Parallel()
	for _, row := range []struct{ name, form, compression string }{
		{"libconfig", "libconfig", "none"},
		{"libconfig, zlib", "libconfig", "zlib"},
		{"libconfig, zstd", "libconfig", "zstd"},
		{"JSON", "json", "none"},
		{"JSON, zstd", "json", "zstd"},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			for _, tool := range []string{"cpio", "openssl", "mkfs.ext4", "debugfs", "gzip", "zstd"} {
				tooltest.Path(t, tool)
			}
			const size = 8 << 20
			made := t.TempDir()
			tree := plant(t, filepath.Join(made, "tree"))
			script, err := filepath.Abs("testdata/foreign.sh")
			must(t, err)
			run(t, made, "sh", script, tree, strconv.Itoa(size), row.form, row.compression, model)

			b := newBoxOf(t, newSite(t), size)
			b.write("ca.pem", b.read(filepath.Join(made, "ca.pem")))
			b.otad("install", filepath.Join(made, "foreign.swu"), "--yes").want(cli.RebootNeeded)
			if !b.holds("b", b.read(filepath.Join(made, "image.ext4"))) {
				t.Error("slot b does not hold the image")
			}
			if next := b.condition().boot.Next; next != "b" {
				t.Errorf("slot %s is started next", next)
			}
			back := filepath.Join(made, "back")
			must(t, os.Mkdir(back, 0o755))
			run(t, made, tooltest.Path(t, "debugfs"), "-R", "rdump / "+back, b.slot("b"))
			wantSameFiles(t, tree, back)
		})
	}
}

// plant makes a directory of files as a system has them.
func plant(t *testing.T, dir string) string {
	t.Helper()
	noise := make([]byte, 1<<20)
	rand.NewChaCha8([32]byte{1}).Read(noise) // never fails
	for name, data := range map[string][]byte{
		"etc/otad/version": []byte("2 v2\n"),
		"etc/empty":        nil,
		"usr/lib/noise.so": noise,
		"usr/lib/text.txt": bytes.Repeat([]byte("all work and no play "), 50_000),
		"usr/share/ä ö/ü":  []byte("names\n"),
	} {
		path := filepath.Join(dir, name)
		must(t, os.MkdirAll(filepath.Dir(path), 0o755))
		must(t, os.WriteFile(path, data, 0o644))
	}
	return dir
}

func run(t *testing.T, dir, program string, args ...string) {
	t.Helper()
	cmd := exec.Command(program, args...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", program, err, out)
	}
}

// wantSameFiles compares two directories, but for what mkfs makes by itself.
func wantSameFiles(t *testing.T, want, got string) {
	t.Helper()
	files := func(top string) map[string]string {
		found := map[string]string{}
		must(t, filepath.WalkDir(top, func(path string, d fs.DirEntry, err error) error {
			if err == nil && d.Name() == "lost+found" {
				return fs.SkipDir
			}
			if err != nil || d.IsDir() {
				return err
			}
			data, err := os.ReadFile(path)
			name, _ := filepath.Rel(top, path) // below top
			found[name] = string(data)
			return err
		}))
		return found
	}
	a, b := files(want), files(got)
	if len(a) != len(b) {
		t.Errorf("%d files were read back, want %d", len(b), len(a))
	}
	for name, data := range a {
		if back, ok := b[name]; !ok || back != data {
			t.Errorf("%q is not the same: %d bytes, there: %t, want %d", name, len(back), ok, len(data))
		}
	}
}
