package zck

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"otad/build/tooltest"
)

// allOptions are the ways to make a file.
var allOptions = map[string]Options{
	"as the tool":          ToolOptions,
	"default":              {Params: DefaultParams, Digest: SHA256},
	"default, packed":      {Params: DefaultParams, Digest: SHA256, Packed: true},
	"short digests":        {Params: DefaultParams, Digest: SHA512_128},
	"short, packed":        {Params: DefaultParams, Digest: SHA512_128, Packed: true},
	"long digests, packed": {Params: ToolParams, Digest: SHA512, Packed: true},
}

// testImage has what packs and what does not, and runs of zeros.
func testImage() []byte {
	return slices.Concat(noise(250_000, 1), make([]byte, 200_000), phrases(150_000, 2), noise(3, 3))
}

func TestPackUnpack(t *testing.T) {
	t.Parallel()
	image := testImage()
	for name, o := range allOptions {
		file, h := pack(t, image, o)
		if !bytes.Equal(unpack(t, file), image) {
			t.Errorf("%s: another image comes out", name)
		}
		if h.Digest != o.Digest || h.Packed != o.Packed || !slices.Equal(sizesOf(h), cuts(t, bytes.NewReader(image), o.Params)) {
			t.Errorf("%s: %+v", name, h)
		}
		if again, _ := pack(t, image, o); !bytes.Equal(file, again) {
			t.Errorf("%s: two runs differ", name)
		}
	}
	if _, err := Pack(new(bytes.Buffer), bytes.NewReader(nil), ToolOptions); err == nil {
		t.Error("an empty image is packed")
	}
}

// zchunk's own tools take what Pack makes.
func TestToolsReadOurs(t *testing.T) {
	t.Parallel()
	unzck, check := tooltest.Path(t, "unzck"), tooltest.Path(t, "zck_read_header")
	image := testImage()
	for name, o := range allOptions {
		file, h := pack(t, image, o)
		path := filepath.Join(t.TempDir(), "image.zck")
		must(t, os.WriteFile(path, file, 0o644))
		out, err := exec.Command(unzck, "-c", path).Output()
		if err != nil || !bytes.Equal(out, image) {
			t.Errorf("%s: unzck: %v, %d bytes of %d", name, err, len(out), len(image))
		}
		said, err := exec.Command(check, "-v", "-f", path).CombinedOutput()
		if err != nil || !strings.Contains(string(said), "Chunk count: ") {
			t.Errorf("%s: zck_read_header: %v\n%s", name, err, said)
		}
		if o == ToolOptions {
			out := filepath.Join(t.TempDir(), "image")
			must(t, os.WriteFile(out, image, 0o644))
			must(t, exec.Command(tooltest.Path(t, "zck"), "-u", "-h", "sha256", "-o", out+".zck", out).Run())
			theirs, err := os.ReadFile(out + ".zck")
			must(t, err)
			want, err := ReadHeader(bytes.NewReader(theirs), 1<<20)
			must(t, err)
			if !slices.Equal(sizesOf(h), sizesOf(want)) || !bytes.Equal(h.Chunk(5).Digest, want.Chunk(5).Digest) {
				t.Error("zck cuts this image elsewhere")
			}
		}
	}
}

// The cuts are zck's, on as much as a box has.
func TestToolCutsAlike(t *testing.T) {
	t.Parallel()
	zck := tooltest.Path(t, "zck")
	dir := t.TempDir()
	image := slices.Concat(noise(10<<20, 11), phrases(4<<20, 12), make([]byte, 1<<20), noise(1<<20, 13))
	must(t, os.WriteFile(filepath.Join(dir, "image"), image, 0o644))
	out := filepath.Join(dir, "image.zck")
	if said, err := exec.Command(zck, "-u", "-h", "sha256", "--compression-format=none", "-o", out, filepath.Join(dir, "image")).CombinedOutput(); err != nil {
		t.Fatalf("zck: %v\n%s", err, said)
	}
	f, err := os.Open(out)
	must(t, err)
	defer f.Close()
	h, err := ReadHeader(f, 1<<20)
	must(t, err)
	if !slices.Equal(sizesOf(h), cuts(t, bytes.NewReader(image), ToolParams)) {
		t.Error("zck cuts elsewhere")
	}
}

func TestDecodeRefuses(t *testing.T) {
	t.Parallel()
	image := testImage()
	for name, o := range allOptions {
		file, h := pack(t, image, o)
		d, err := h.NewDecoder()
		must(t, err)
		defer d.Close()
		c := h.Chunk(h.Len() - 3)
		body := file[h.HeaderSize+c.BodyOffset:][:c.BodySize]
		if _, err := d.Decode(nil, c, body); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for _, at := range []int{0, len(body) / 2, len(body) - 1} {
			bad := bytes.Clone(body)
			bad[at] ^= 4
			if _, err := d.Decode(nil, c, bad); !errors.Is(err, ErrDamaged) {
				t.Errorf("%s: byte %d: %v", name, at, err)
			}
		}
		if _, err := d.Decode(nil, c, body[:len(body)-1]); !errors.Is(err, ErrDamaged) {
			t.Errorf("%s: cut: %v", name, err)
		}
		// A header that gives the digest of the bytes, but not what is in them.
		liar := c
		liar.Digest = make([]byte, len(c.Digest))
		if _, err := d.Decode(nil, liar, body); o.Packed && !errors.Is(err, ErrDamaged) {
			t.Errorf("%s: other bytes inside: %v", name, err)
		}
		for _, size := range []int{c.Size - 1, c.Size + 1, 1} {
			liar = c
			liar.Size = size
			if _, err := d.Decode(nil, liar, body); o.Packed && !errors.Is(err, ErrDamaged) {
				t.Errorf("%s: %d bytes in place of %d: %v", name, size, c.Size, err)
			}
		}
	}
}

func FuzzDecode(f *testing.F) {
	file, h := pack(f, phrases(40_000, 1), ToolOptions)
	c := h.Chunk(0)
	f.Add(file[h.HeaderSize:][:c.BodySize], c.Size)
	f.Add([]byte("\x28\xb5\x2f\xfd\x20\x05\x29\x00\x00hello"), 5)
	f.Add([]byte("\x28\xb5\x2f\xfd\xa4\xff\xff\xff\xff"), 1<<20)
	d, err := h.NewDecoder()
	must(f, err)
	f.Fuzz(func(t *testing.T, body []byte, size int) {
		size = min(max(size, 1), MaxChunkBytes)
		c := Chunk{Size: size, BodySize: len(body), Digest: make([]byte, 32), BodyDigest: SHA256.Append(nil, body)}
		dst := make([]byte, 0, size)
		if _, err := d.Decode(dst, c, body); err == nil {
			t.Fatal("some bytes have a digest of zeros")
		}
		if plain, err := d.zstd.DecodeAll(body, dst); err == nil && len(plain) > size {
			t.Fatalf("%d bytes came out, %d may", len(plain), size)
		}
	})
}

func BenchmarkDecode(b *testing.B) {
	for name, o := range map[string]Options{"packed": {Params: DefaultParams, Digest: SHA256, Packed: true}, "plain": {Params: DefaultParams, Digest: SHA256}} {
		file, h := pack(b, phrases(4<<20, 1), o)
		d, err := h.NewDecoder()
		must(b, err)
		body := file[h.HeaderSize:]
		b.Run(name, func(b *testing.B) {
			b.SetBytes(h.Size)
			b.ReportAllocs()
			plain := make([]byte, 0, DefaultParams.Max)
			for b.Loop() {
				for _, c := range h.Chunks(0) {
					_, err := d.Decode(plain, c, body[c.BodyOffset:][:c.BodySize])
					must(b, err)
				}
			}
		})
	}
}
