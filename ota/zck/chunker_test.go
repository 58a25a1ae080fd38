package zck

import (
	"bytes"
	"errors"
	"io"
	"math/bits"
	"slices"
	"testing"
	"testing/iotest"
)

// plainly cuts as zchunk's own code does, byte by byte.
func plainly(image []byte, p Params) (sizes []int) {
	mask := uint32(p.Average - 1)
	var ring []byte
	hash := func() (h uint32) {
		for _, c := range ring {
			h = bits.RotateLeft32(h, 1) ^ buzhash[c]
		}
		return h
	}
	start := 0
	for i, again := 0, 0; i < len(image); {
		ring = append(ring, image[i])
		ring = ring[max(0, len(ring)-window):]
		match := len(ring) == window && hash()&mask == 0
		switch {
		case match && i-start < p.Min && again < window:
			again++
			continue // without a step: the same byte comes again
		case match && i-start >= p.Min || i-start >= p.Max:
			sizes, start, ring = append(sizes, i-start), i, nil
			continue
		}
		i, again = i+1, 0
	}
	if start < len(image) {
		sizes = append(sizes, len(image)-start)
	}
	return sizes
}

func TestChunkerCutsAsThePlainWay(t *testing.T) {
	t.Parallel()
	small := Params{Average: 1024, Min: 512, Max: 4096}
	images := map[string][]byte{
		"noise":         noise(60_000, 1),
		"phrases":       phrases(100_000, 2),
		"a byte":        {1},
		"a window":      noise(window, 3),
		"less than min": noise(500, 4),
		"max":           noise(4096, 5),
		"zeros":         make([]byte, 9_000),
		"noise, zeros":  append(noise(5000, 6), make([]byte, 9_000)...),
	}
	for value := 0; value < 256; value += 5 { // constant bytes, some of which match for ever
		images["only "+string(rune('a'+value))] = bytes.Repeat([]byte{byte(value)}, 1000)
	}
	for name, image := range images {
		for _, p := range []Params{small, DefaultParams, {Average: 2048, Min: 2048, Max: 2100}, {Average: 1024, Min: 256, Max: 4096}} {
			want := plainly(image, p)
			for how, r := range map[string]io.Reader{
				"whole": bytes.NewReader(image), "by bytes": iotest.OneByteReader(bytes.NewReader(image)),
				"with its end": iotest.DataErrReader(bytes.NewReader(image)),
			} {
				if how != "whole" && len(image) > 60_000 {
					continue
				}
				if got := cuts(t, r, p); !slices.Equal(got, want) {
					t.Fatalf("%s, %s, %s: %v, want %v", name, p, how, got, want)
				}
			}
		}
	}
}

// No byte, repeated, matches for ever: zeros are common, and each such byte
// would cost a window of work below the minimum.
func TestNoConstantMatches(t *testing.T) {
	t.Parallel()
	for value := range 256 {
		h := hashOf((*[window]byte)(bytes.Repeat([]byte{byte(value)}, window)))
		for _, p := range []Params{ToolParams, DefaultParams} {
			if h&uint32(p.Average-1) == 0 {
				t.Errorf("byte %#x matches with %s", value, p)
			}
		}
	}
}

func TestChunkerHandsOnTheReadersError(t *testing.T) {
	t.Parallel()
	own := errors.New("own")
	c := NewChunker(io.MultiReader(bytes.NewReader(noise(1<<20, 1)), failing{own}), DefaultParams)
	for {
		if _, err := c.Next(); err != nil {
			if !errors.Is(err, own) {
				t.Errorf("error %v", err)
			}
			return
		}
	}
}

func TestChunkerHoldsItsBounds(t *testing.T) {
	t.Parallel()
	for _, p := range []Params{ToolParams, DefaultParams} {
		sizes := cuts(t, io.MultiReader(bytes.NewReader(noise(3<<20, 9)), bytes.NewReader(make([]byte, 1<<20))), p)
		total := 0
		for i, size := range sizes {
			total += size
			if size > p.Max || size < p.Min && i < len(sizes)-1 {
				t.Errorf("%s: chunk %d has %d bytes", p, i, size)
			}
		}
		if total != 4<<20 {
			t.Errorf("%s: %d bytes in all", p, total)
		}
	}
}

func TestParamsAreChecked(t *testing.T) {
	t.Parallel()
	for _, p := range []Params{{}, {8000, 2048, 32768}, {512, 256, 4096}, {1 << 20, 2048, 32768}, {8192, 0, 32768}, {8192, 4096, 2048}, {8192, 4096, MaxChunkBytes + 1}, {-8192, 4096, 8192}} {
		if p.Check() == nil {
			t.Errorf("%+v is taken", p)
		}
	}
	for _, p := range []Params{ToolParams, DefaultParams} {
		must(t, p.Check())
	}
}

func BenchmarkChunker(b *testing.B) {
	image := noise(64<<20, 7)
	for _, p := range []Params{ToolParams, DefaultParams} {
		b.Run(p.String(), func(b *testing.B) {
			b.SetBytes(int64(len(image)))
			for b.Loop() {
				cuts(b, bytes.NewReader(image), p)
			}
		})
	}
}
