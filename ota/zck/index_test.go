package zck

import (
	"bytes"
	"runtime"
	"slices"
	"testing"
)

func TestIndexFindsWhatTheSourceHas(t *testing.T) {
	t.Parallel()
	old := noise(2<<20, 1)
	image := slices.Concat(old[1<<20:], []byte("a few bytes"), old[:1<<20], noise(100_000, 2), old[:200_000])
	o := Options{Params: DefaultParams, Digest: SHA256}
	_, h := pack(t, image, o)
	x := NewIndex(h)
	must(t, x.Scan(bytes.NewReader(old), o.Params))
	have, missing, missingBytes := 0, map[string]bool{}, int64(0)
	for _, c := range h.Chunks(0) {
		at, found := x.Find(c)
		switch {
		case found && !h.Check(c, old[at:][:c.Size]):
			t.Errorf("at %d of the source is another chunk than that at %d of the image", at, c.Offset)
		case found:
			have += c.Size
		case !missing[string(c.Digest)]:
			missing[string(c.Digest)] = true
			missingBytes += int64(c.BodySize)
		}
	}
	if have < 2<<20 {
		t.Errorf("only %d bytes were found", have)
	}
	if b, n := x.Cost(); b != missingBytes || n != len(missing) {
		t.Errorf("cost %d bytes, %d chunks, want %d, %d", b, n, missingBytes, len(missing))
	}
	if x.Add(make([]byte, 32), 5) {
		t.Error("a chunk that the image does not have is news")
	}
	for _, c := range h.Chunks(0) {
		_, known := x.Find(c)
		if news := x.Add(c.Digest, 5); news == known {
			t.Errorf("a chunk is news: %t, its place was known: %t", news, known)
		}
		if at, _ := x.Find(c); !known && at != 5 {
			t.Errorf("a chunk was noted at 5 and is found at %d", at)
		}
	}
}

// The header and the index of an image of 512 MiB leave room on a box.
func TestMemoryOfALargeImage(t *testing.T) {
	const chunks = 64 << 10
	entries := make([][]byte, 0, chunks+1)
	entries = append(entries, entry(0, 0))
	for i := range uint64(chunks) {
		e := entry(8192, 8192)
		copy(e, appendNumber(nil, 1+i*0x9e3779b97f4a7c15>>1))
		entries = append(entries, e)
	}
	file := headerOf(append(preface(0, 0, index(1, chunks+1, entries...)), 0x80), 1)
	runtime.GC()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	h, err := ReadHeader(bytes.NewReader(file), 8<<20)
	must(t, err)
	x := NewIndex(h)
	runtime.GC()
	runtime.ReadMemStats(&after)
	held := after.HeapAlloc - before.HeapAlloc
	runtime.KeepAlive(x)
	runtime.KeepAlive(file)
	if perChunk := float64(held) / chunks; perChunk > 36+16+3 {
		t.Errorf("%.1f bytes a chunk are held", perChunk)
	}
}

func BenchmarkScan(b *testing.B) {
	source := noise(64<<20, 7)
	for _, o := range []Options{{Params: DefaultParams, Digest: SHA256}, {Params: DefaultParams, Digest: SHA512_128}, {Params: ToolParams, Digest: SHA256}} {
		_, h := pack(b, source, o)
		b.Run(o.Params.String()+" "+o.Digest.String(), func(b *testing.B) {
			b.SetBytes(int64(len(source)))
			b.ReportAllocs()
			for b.Loop() {
				must(b, NewIndex(h).Scan(bytes.NewReader(source), o.Params))
			}
		})
	}
}

func BenchmarkReadHeader(b *testing.B) {
	file, h := pack(b, noise(64<<20, 7), Options{Params: DefaultParams, Digest: SHA256})
	b.SetBytes(h.HeaderSize)
	b.ReportAllocs()
	for b.Loop() {
		_, err := ReadHeader(bytes.NewReader(file), 8<<20)
		must(b, err)
	}
}
