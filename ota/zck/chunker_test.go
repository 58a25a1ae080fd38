package zck

import (
	"bytes"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

func sizes(t testing.TB, image []byte, p Params) (all []int) {
	t.Helper()
	c := NewChunker(bytes.NewReader(image), p)
	for {
		chunk, err := c.Next()
		if err == io.EOF {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, len(chunk))
	}
}

func random(n int, seed uint64) []byte {
	b := make([]byte, n)
	r := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)})
	r.Read(b)
	return b
}

func TestChunkerIsZcks(t *testing.T) {
	dir := t.TempDir()
	image := random(64<<20, 7)
	in, out := filepath.Join(dir, "in"), filepath.Join(dir, "out")
	os.WriteFile(in, image, 0o644)
	if b, err := exec.Command("zck", "-u", "-h", "sha256", "--compression-format=none", "-o", out, in).CombinedOutput(); err != nil {
		t.Fatalf("%v %s", err, b)
	}
	f, _ := os.Open(out)
	h, err := ReadHeader(f, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	got := sizes(t, image, ToolParams)
	for i, c := range h.Chunks(0) {
		if i >= len(got) || c.Size != got[i] {
			t.Fatalf("chunk %d of %d: got %d want %d", i, h.Len(), got[i], c.Size)
		}
	}
	t.Log(h.Len())
}

func BenchmarkChunker(b *testing.B) {
	image := random(64<<20, 7)
	for _, p := range []Params{ToolParams, DefaultParams} {
		b.Run(p.String(), func(b *testing.B) {
			b.SetBytes(int64(len(image)))
			for b.Loop() {
				c := NewChunker(bytes.NewReader(image), p)
				for {
					if _, err := c.Next(); err != nil {
						break
					}
				}
			}
		})
	}
}
