package zck

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"io"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
)

func fixture(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile("testdata/" + name)
	must(t, err)
	return b
}

// What Debian's zck made of a known image is read, cut alike, and found again.
func TestFixtures(t *testing.T) {
	t.Parallel()
	image := fixtureImage()
	if *writeImage != "" {
		must(t, os.WriteFile(*writeImage, image, 0o644))
		return
	}
	want := cuts(t, bytes.NewReader(image), ToolParams)
	for name, digest := range map[string]Digest{
		"swupdate.zck": SHA256, "sha512_128.header": SHA512_128, "plain.header": SHA512, "none.header": SHA256,
	} {
		file := fixture(t, name)
		h, err := ReadHeader(bytes.NewReader(file), 1<<16)
		must(t, err)
		if !slices.Equal(sizesOf(h), want) || h.Size != int64(len(image)) || h.Digest != digest {
			t.Errorf("%s: %s, %d bytes cut at %v, want %v", name, h.Digest, h.Size, sizesOf(h), want)
		}
		for i, c := range h.Chunks(0) {
			if !h.Check(c, image[c.Offset:][:c.Size]) {
				t.Errorf("%s: chunk %d has another digest", name, i)
			}
		}
	}
	if !bytes.Equal(unpack(t, fixture(t, "swupdate.zck")), image) {
		t.Error("swupdate.zck holds another image")
	}
}

func TestHeaderIsReadToItsEndOnly(t *testing.T) {
	t.Parallel()
	file, h := pack(t, phrases(100_000, 2), ToolOptions)
	r := bytes.NewReader(file)
	_, err := ReadHeader(r, h.HeaderSize)
	must(t, err)
	if at := int64(len(file) - r.Len()); at != h.HeaderSize {
		t.Errorf("%d bytes were read, the header has %d", at, h.HeaderSize)
	}
	if _, err := ReadHeader(bytes.NewReader(file), h.HeaderSize-1); !errors.Is(err, ErrUnsupported) {
		t.Errorf("a byte above the limit: %v", err)
	}
	own := errors.New("own")
	if _, err := ReadHeader(io.MultiReader(bytes.NewReader(file[:50]), failing{own}), 1<<20); !errors.Is(err, own) {
		t.Errorf("the reader's own error became %v", err)
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

func TestChunkIsTheSameFromEverywhere(t *testing.T) {
	t.Parallel()
	_, h := pack(t, noise(1<<20, 3), Options{Params: DefaultParams, Digest: SHA256})
	for i, want := range h.Chunks(0) {
		if got := h.Chunk(i); got.Offset != want.Offset || got.BodyOffset != want.BodyOffset || got.Size != want.Size || !bytes.Equal(got.Digest, want.Digest) {
			t.Fatalf("chunk %d: %+v, walking gives %+v", i, got, want)
		}
	}
	if h.Len() < 3*markEvery {
		t.Errorf("only %d chunks: the marks are not tested", h.Len())
	}
	for range h.Chunks(h.Len()) {
		t.Error("there is a chunk behind the last")
	}
}

// lead builds a header around a rest, with the right digest.
func headerOf(rest []byte, kind uint64) []byte {
	b := appendNumber(appendNumber([]byte(magic), kind), uint64(len(rest)))
	sum := sha256.Sum256(append(bytes.Clone(b), rest...))
	return slices.Concat(b, sum[:], rest)
}

// preface builds what stands before the signatures.
func preface(flags, method uint64, index []byte) []byte {
	b := appendNumber(appendNumber(make([]byte, 32), flags), method)
	return append(appendNumber(b, uint64(len(index))), index...)
}

// entry is one of an index without plain digests.
func entry(stored, plain uint64) []byte {
	return appendNumber(appendNumber(make([]byte, 32), stored), plain)
}

func index(kind, count uint64, entries ...[]byte) []byte {
	return append(appendNumber(appendNumber(nil, kind), count), bytes.Join(entries, nil)...)
}

func TestHeaderRefuses(t *testing.T) {
	t.Parallel()
	none, one, end := entry(0, 0), entry(100, 100), []byte{0x80}
	whole := func(flags, method uint64, index []byte) []byte {
		return headerOf(append(preface(flags, method, index), end...), 1)
	}
	good := index(1, 2, none, one)
	if _, err := ReadHeader(bytes.NewReader(whole(0, 0, good)), 1<<16); err != nil {
		t.Fatalf("what the rows change is refused itself: %v", err)
	}
	huge := append(appendNumber([]byte(magic), 1), 0x7f, 0x7f, 0x7f, 0x7f, 0x7f, 0x7f, 0x7f, 0x7f, 0xff)
	tests := []struct {
		name  string
		bytes []byte
		kind  error
		says  string
	}{
		{"nothing", nil, ErrDamaged, "cut"},
		{"a web page", []byte("<html><body>log in</body></html>"), ErrDamaged, "no zchunk file"},
		{"cut", whole(0, 0, good)[:60], ErrDamaged, "cut"},
		{"a size beyond all limits", append(huge, make([]byte, 100)...), ErrUnsupported, "more than the limit"},
		{"a size without an end", append(appendNumber([]byte(magic), 1), make([]byte, 100)...), ErrDamaged, "too large"},
		{"SHA-1", headerOf(append(preface(0, 0, good), end...), 0), ErrUnsupported, "SHA-1"},
		{"an unknown digest", headerOf(append(preface(0, 0, good), end...), 9), ErrUnsupported, "unknown kind 9"},
		{"streams", whole(1, 0, good), ErrUnsupported, "data streams"},
		{"optional elements", whole(2, 0, good), ErrUnsupported, "optional elements"},
		{"an unknown flag", whole(64, 0, good), ErrUnsupported, "flags 0x40"},
		{"gzip", whole(0, 1, good), ErrUnsupported, "method 1"},
		{"no plain digests", whole(0, 2, good), ErrUnsupported, "zck -u"},
		{"an index longer than the header", headerOf(appendNumber(preface(0, 0, nil)[:34], 99), 1), ErrDamaged, "index is cut"},
		{"signatures", headerOf(append(preface(0, 0, good), 0x81, 0x80, 0x80), 1), ErrUnsupported, "signed"},
		{"more behind", headerOf(append(preface(0, 0, good), 0x80, 0x80), 1), ErrDamaged, "does not end"},
		{"chunks by SHA-1", whole(0, 0, index(0, 2, none, one)), ErrUnsupported, "SHA-1"},
		{"a dictionary", whole(0, 0, index(1, 2, entry(50, 100), one)), ErrUnsupported, "dictionary"},
		{"no entry", whole(0, 0, index(1, 0)), ErrDamaged, "index is cut"},
		{"no chunk", whole(0, 0, index(1, 1, none)), ErrDamaged, "no chunk"},
		{"a chunk less than it says", whole(0, 0, index(1, 3, none, one)), ErrDamaged, "no room"},
		{"more chunks than there can be", whole(0, 0, index(1, 1<<62, none, one)), ErrDamaged, "no room"},
		{"a chunk more than it says", whole(0, 0, index(1, 2, none, one, one)), ErrDamaged, "follow"},
		{"an empty chunk", whole(0, 0, index(1, 2, none, entry(0, 0))), ErrDamaged, "empty"},
		{"a large chunk", whole(0, 0, index(1, 2, none, entry(MaxChunkBytes+1, MaxChunkBytes+1))), ErrUnsupported, "more than"},
		{"a chunk of 62 bits", whole(0, 0, index(1, 2, none, entry(1<<62, 1<<62))), ErrUnsupported, "more than"},
		{"two sizes", whole(0, 0, index(1, 2, none, entry(100, 99))), ErrDamaged, "not packed"},
		{"two digests", whole(4, 0, index(1, 2, make([]byte, 32), none, bytes.Repeat([]byte{1}, 32), one)), ErrDamaged, "digests differ"},
		{"packed to more", whole(4, 2, index(1, 2, make([]byte, 32), none, make([]byte, 32), entry(5000, 100))), ErrDamaged, "packed to 5000"},
		{"a fixture without plain digests", fixture(t, "no-plain-digests.header"), ErrUnsupported, "zck -u"},
		{"a fixture with a dictionary", fixture(t, "dictionary.header"), ErrUnsupported, "dictionary"},
	}
	for _, tt := range tests {
		_, err := ReadHeader(bytes.NewReader(tt.bytes), 1<<16)
		if !errors.Is(err, tt.kind) || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.says)
		}
	}
}

// Every single damaged byte of a header is found, cheaply.
func TestHeaderMutations(t *testing.T) {
	t.Parallel()
	good := fixture(t, "sha512_128.header")
	for at := range good {
		for _, flip := range []byte{0x01, 0x80, 0xff} {
			bad := bytes.Clone(good)
			bad[at] ^= flip
			if _, err := ReadHeader(bytes.NewReader(bad), 1<<16); !errors.Is(err, ErrDamaged) && !errors.Is(err, ErrUnsupported) {
				t.Errorf("byte %d by %#x: %v", at, flip, err)
			}
		}
		if _, err := ReadHeader(bytes.NewReader(good[:at]), 1<<16); !errors.Is(err, ErrDamaged) {
			t.Errorf("cut at %d: %v", at, err)
		}
	}
}

// A header that lies about its size gets memory up to the limit, once.
func TestMemoryOfALie(t *testing.T) {
	const limit = 1 << 20
	liar := appendNumber(appendNumber([]byte(magic), 1), limit-100)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	if _, err := ReadHeader(bytes.NewReader(append(liar, make([]byte, 64)...)), limit); !errors.Is(err, ErrDamaged) {
		t.Errorf("a header that lies about its size: %v", err)
	}
	runtime.ReadMemStats(&after)
	if got := after.TotalAlloc - before.TotalAlloc; got > 2*limit {
		t.Errorf("%d bytes were allocated for a limit of %d", got, limit)
	}
}

func FuzzReadHeader(f *testing.F) {
	for _, name := range []string{"sha512_128.header", "plain.header", "none.header", "dictionary.header"} {
		b := fixture(f, name)
		f.Add(b[:5+len(appendNumber(nil, 1))], b[40:])
	}
	f.Add([]byte{}, append(preface(0, 0, index(1, 2, entry(0, 0), entry(9, 9))), 0x80))
	f.Fuzz(func(t *testing.T, raw, rest []byte) {
		for _, b := range [][]byte{append(bytes.Clone(raw), rest...), headerOf(rest, 1)} {
			h, err := ReadHeader(bytes.NewReader(b), 1<<16)
			if err != nil {
				if !errors.Is(err, ErrDamaged) && !errors.Is(err, ErrUnsupported) {
					t.Fatal(err)
				}
				continue
			}
			n, size, body := 0, int64(0), int64(0)
			for i, c := range h.Chunks(0) {
				if i != n || c.Offset != size || c.BodyOffset != body || c.Size < 1 || c.Size > MaxChunkBytes || len(c.Digest) != h.Digest.Bytes() {
					t.Fatalf("chunk %d: %+v", i, c)
				}
				n, size, body = n+1, size+int64(c.Size), body+int64(c.BodySize)
			}
			if n != h.Len() || n == 0 || size != h.Size || body != h.BodySize || h.HeaderSize > int64(len(b)) {
				t.Fatalf("%d chunks of %d, %d bytes of %d, %d of %d", n, h.Len(), size, h.Size, body, h.BodySize)
			}
			NewIndex(h).Cost()
		}
	})
}
