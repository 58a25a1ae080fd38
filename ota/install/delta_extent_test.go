package install

import (
	"bytes"
	"encoding/binary"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"otad/build/tooltest"
)

// The extent of a real file system in a slot with room behind it; of what is
// none, or lies, the whole slot. Not parallel: it sets the path.
func TestExtent(t *testing.T) {
	const slot = 8 << 20
	tree := filepath.Join(t.TempDir(), "tree")
	if err := os.Mkdir(tree, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(tree, "file"), pattern(1<<20, 3), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", os.Getenv("PATH")+":/usr/sbin:/sbin")
	for _, command := range [][]string{
		{"mksquashfs", tree, "IMAGE", "-quiet", "-no-progress"},
		{"mkfs.ext4", "-q", "-F", "IMAGE", "4M"},
		{"mkfs.ext2", "-q", "-F", "-b", "1024", "IMAGE", "3M"},
	} {
		t.Run(command[0], func(t *testing.T) {
			image := filepath.Join(t.TempDir(), "image")
			for i, word := range command {
				if word == "IMAGE" {
					command[i] = image
				}
			}
			if out, err := exec.Command(tooltest.Path(t, command[0]), command[1:]...).CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			content, err := os.ReadFile(image)
			if err != nil {
				t.Fatal(err)
			}
			medium := make([]byte, slot)
			copy(medium, content)
			if got := extentOf(bytes.NewReader(medium), slot); got != int64(len(content)) {
				t.Errorf("got %d, the image has %d bytes", got, len(content))
			}
		})
	}
	lying := make([]byte, slot)
	copy(lying, "hsqs")
	binary.LittleEndian.PutUint64(lying[40:], 1<<63+5)
	for name, medium := range map[string][]byte{"noise": pattern(slot, 4), "nothing": make([]byte, slot), "lies": lying, "short": lying[:100]} {
		if got := extentOf(bytes.NewReader(medium), int64(len(medium))); got != int64(len(medium)) {
			t.Errorf("%s: got %d of %d", name, got, len(medium))
		}
	}
}
