package install

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"

	"otad/ota"
	"otad/ota/swu"
	"otad/ota/zck"
)

// deltaBox is a box that is given a delta: what runs, the idle slot, and a host
// that has the chunks.
type deltaBox struct {
	t        *testing.T
	mu       sync.Mutex // of what the host has and has handed out: two may read
	image    []byte
	file     []byte // of the chunks, header and all
	artifact []byte
	source   *slot // what runs; nil for nothing
	idle     *slot
	survey   Survey
	fetched  int64 // bytes that were handed out
	readings int   // of the host
	breakAt  int64 // the reading fails after so many bytes in all; 0 for never
	broken   error
	denied   error // of the source
}

func newDeltaBox(t *testing.T, runs, image []byte, packed bool) *deltaBox {
	t.Helper()
	b := &deltaBox{t: t, image: image, broken: ota.NewTransient(ota.CodeDownloadNetwork, errors.New("the line broke"))}
	if runs != nil {
		b.source = newSlot(runs)
	}
	b.idle = newSlot(pattern(len(image)+mib, 99))
	b.pack(packed)
	return b
}

func (b *deltaBox) pack(packed bool) {
	b.t.Helper()
	var body bytes.Buffer
	header, err := zck.Pack(&body, bytes.NewReader(b.image), zck.Options{Params: zck.DefaultParams, Digest: zck.SHA512_128, Packed: packed})
	if err != nil {
		b.t.Fatal(err)
	}
	b.file = slices.Concat(header, body.Bytes())
	b.artifact = packDelta(b.t, header, "")
}

func packDelta(t testing.TB, header []byte, fields string) []byte {
	t.Helper()
	p := zck.DefaultParams
	return packText(t, swu.KindNone, header, fmt.Sprintf(`{ SUM; type = "delta"; %s properties: { url = "rootfs.zck"; chain = "raw";
		chunk-min = "%d"; chunk-average = "%d"; chunk-max = "%d"; }; }`, fields, p.Min, p.Average, p.Max))
}

func (b *deltaBox) rules() Rules {
	r := rulesFor(b.t, b.idle.Size())
	r.Around.Delta = Delta{
		Fetch: func(_ context.Context, w Wanted) (io.ReadCloser, error) {
			b.readings++
			if w.TotalBytes != int64(len(b.file)) || w.URL != "rootfs.zck" {
				b.t.Errorf("asked for a file of %d bytes at %q, want %d", w.TotalBytes, w.URL, len(b.file))
			}
			var r io.Reader = &hostReader{b: b, pieces: w.Pieces}
			return io.NopCloser(r), nil
		},
		Source: func(_ context.Context, target string) (Medium, error) {
			if target != "b" {
				b.t.Errorf("asked for what runs in place of %q", target)
			}
			if b.denied != nil || b.source == nil {
				return nil, cmpErr(b.denied)
			}
			return medium{b.source}, nil
		},
		Told: func(s Survey) { b.survey = s },
	}
	return r
}

func cmpErr(err error) error {
	if err == nil {
		err = errors.New("there is none")
	}
	return err
}

type medium struct{ *slot }

func (medium) Close() error { return nil }

// hostReader hands out pieces of the file.
type hostReader struct {
	b      *deltaBox
	pieces []ota.Span
}

func (r *hostReader) Read(p []byte) (int, error) {
	b := r.b
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case len(r.pieces) == 0:
		return 0, io.EOF
	case b.breakAt > 0 && b.fetched >= b.breakAt:
		return 0, b.broken
	}
	s := &r.pieces[0]
	n := int64(copy(p[:min(int64(len(p)), s.Length)], b.file[s.Offset:]))
	if b.breakAt > 0 {
		n = min(n, b.breakAt-b.fetched)
	}
	b.fetched += n
	if s.Offset, s.Length = s.Offset+n, s.Length-n; s.Length == 0 {
		r.pieces = r.pieces[1:]
	}
	return int(n), nil
}

func (b *deltaBox) install(skipEqual bool) error {
	b.t.Helper()
	_, err := run(b.t.Context(), b.artifact, b.rules(), b.idle, skipEqual)
	return err
}

func (b *deltaBox) mustInstall(skipEqual bool) {
	b.t.Helper()
	if err := b.install(skipEqual); err != nil {
		b.t.Fatal(err)
	}
	b.mustHold()
}

func (b *deltaBox) mustHold() {
	b.t.Helper()
	if !bytes.Equal(b.idle.medium[:len(b.image)], b.image) {
		b.t.Fatal("the slot does not hold the image")
	}
	if rest := pattern(len(b.image)+mib, 99)[len(b.image):]; !bytes.Equal(b.idle.medium[len(b.image):], rest) {
		b.t.Error("the slot was written behind the image")
	}
}

// edited is an image in which some places changed and others moved.
func edited(old []byte) []byte {
	image := slices.Concat(old[:mib], pattern(100_000, 50), old[mib:3*mib], old[3*mib+5000:])
	copy(image[4*mib:], pattern(50_000, 51))
	return image
}

func TestDelta(t *testing.T) {
	t.Parallel()
	old := pattern(8*mib+77, 1)
	zeros := make([]byte, 5*mib)
	tests := []struct {
		name        string
		runs, image []byte
		atMost      int64 // bytes fetched
	}{
		{"some of it changed", old, edited(old), 250_000},
		{"nothing changed", old, old, 0},
		{"nothing is known", pattern(8*mib, 3), old, 9 * mib},
		{"nothing runs", nil, old, 9 * mib},
		{"nothing but zeros", old, zeros, 40_000},
		{"zeros within", old, slices.Concat(old[:2*mib], zeros, old[2*mib:]), 100_000},
		{"the same again, far away", nil, slices.Concat(pattern(2*mib, 7), pattern(4*mib, 8), pattern(2*mib, 7)), 6*mib + 200_000},
		{"what runs is shorter", old[:3*mib], old, 6 * mib},
		{"what runs has garbage behind it", slices.Concat(old, pattern(3*mib, 9)), edited(old), 250_000},
		{"one byte", old, []byte("x"), 100},
	}
	for _, tt := range tests {
		for _, packed := range []bool{true, false} {
			if packed && tt.name != "some of it changed" && tt.name != "zeros within" {
				continue // packing is slow with the race detector
			}
			t.Run(fmt.Sprint(tt.name, ", packed ", packed), func(t *testing.T) {
				t.Parallel()
				b := newDeltaBox(t, tt.runs, tt.image, packed)
				b.mustInstall(false)
				if b.fetched != b.survey.FetchBytes {
					t.Errorf("%d bytes were fetched, told were %d", b.fetched, b.survey.FetchBytes)
				}
				if b.fetched > tt.atMost {
					t.Errorf("%d bytes were fetched, want %d at most", b.fetched, tt.atMost)
				}
				if b.survey.ImageBytes != int64(len(tt.image)) {
					t.Errorf("told of an image of %d bytes", b.survey.ImageBytes)
				}
			})
		}
	}
}

// TestDeltaGoesOn: what came before a cut does not come again, and what of it
// was not on the medium is no more than the bytes between two syncs.
func TestDeltaGoesOn(t *testing.T) {
	t.Parallel()
	image := pattern(26*mib+5, 4)
	b := newDeltaBox(t, pattern(mib, 5), image, false)
	landed := int64(0)
	for _, n := range []int64{1, 15*mib + 100, 9 * mib} {
		b.breakAt, b.fetched = n, 0
		if err := b.install(landed > 0); !errors.Is(err, b.broken) {
			t.Fatalf("broke with %v", err)
		}
		copy(b.idle.cache, b.idle.medium) // the power goes
		handed := b.fetched
		before := landed
		b.look()
		landed = int64(len(image)) - b.survey.FetchBytes
		if again := before + handed - landed; again < 0 || again > pacedBytes {
			t.Errorf("%d bytes were there, %d came: %d of them come again", before, handed, again)
		}
	}
	b.breakAt = 0
	b.mustInstall(true)
	for i, w := range b.idle.writes {
		if w.offset%blockBytes != 0 {
			t.Errorf("write %d begins at %d", i, w.offset)
		}
	}
}

// look finds out what is missing and fetches nothing.
func (b *deltaBox) look() {
	b.t.Helper()
	stop := errors.New("only looking")
	rules := b.rules()
	rules.Around.Delta.Fetch = func(context.Context, Wanted) (io.ReadCloser, error) { return nil, stop }
	if _, err := run(b.t.Context(), b.artifact, rules, b.idle, true); err != nil && !errors.Is(err, stop) {
		b.t.Fatal(err)
	}
}

// TestDeltaWritesNothingWrong: whatever the host or what runs say, a chunk that
// is not what was signed is never written.
func TestDeltaWritesNothingWrong(t *testing.T) {
	t.Parallel()
	old := pattern(6*mib, 1)
	image := edited(old)
	right := func(b *deltaBox) func() {
		return func() {
			for _, w := range b.idle.writes {
				if !bytes.Equal(b.idle.cache[w.offset:w.offset+w.length], b.image[w.offset:w.offset+w.length]) {
					b.t.Errorf("%d wrong bytes were written at %d", w.length, w.offset)
				}
			}
		}
	}
	t.Run("the host lies once", func(t *testing.T) {
		t.Parallel()
		b := newDeltaBox(t, old, image, false)
		defer right(b)()
		good := bytes.Clone(b.file)
		rules := b.rules()
		fetch := rules.Around.Delta.Fetch
		rules.Around.Delta.Fetch = func(ctx context.Context, w Wanted) (io.ReadCloser, error) {
			b.mu.Lock()
			copy(b.file, good)
			if b.readings == 0 {
				b.file[w.Pieces[0].Offset+10] ^= 1
			}
			b.mu.Unlock()
			return fetch(ctx, w)
		}
		if _, err := run(t.Context(), b.artifact, rules, b.idle, false); err != nil {
			t.Fatal(err)
		}
		b.mustHold()
		if b.readings != 2 {
			t.Errorf("%d readings, want 2", b.readings)
		}
	})
	t.Run("the host lies always", func(t *testing.T) {
		t.Parallel()
		b := newDeltaBox(t, old, image, false)
		defer right(b)()
		for i := len(b.file) / 2; i < len(b.file); i++ {
			b.file[i] ^= 1
		}
		err := b.install(false)
		wantFault(t, err, ota.Permanent, ota.CodeArtifactHash)
		if !strings.Contains(fmt.Sprint(err), "rootfs.zck") {
			t.Errorf("it does not say which file: %v", err)
		}
	})
	t.Run("what runs changes after it was looked at", func(t *testing.T) {
		t.Parallel()
		b := newDeltaBox(t, old, image, false)
		defer right(b)()
		rules := b.rules()
		rules.Around.Delta.Told = func(Survey) { copy(b.source.cache[5*mib:], pattern(20_000, 60)) }
		if _, err := run(t.Context(), b.artifact, rules, b.idle, false); err != nil {
			t.Fatal(err)
		}
		b.mustHold()
		if b.readings < 3 || b.readings > 10 {
			t.Errorf("%d readings of the host, want the one and one for each chunk", b.readings)
		}
	})
	t.Run("what runs cannot be read from a place on", func(t *testing.T) {
		t.Parallel()
		b := newDeltaBox(t, old, image, false)
		defer right(b)()
		rules := b.rules()
		rules.Around.Delta.Source = func(context.Context, string) (Medium, error) { return failing{medium{b.source}, 3 * mib}, nil }
		if _, err := run(t.Context(), b.artifact, rules, b.idle, false); err != nil {
			t.Fatal(err)
		}
		b.mustHold()
		if b.survey.NoSource == nil || b.survey.CopiedBytes < 2*mib {
			t.Errorf("told %+v", b.survey)
		}
	})
}

type failing struct {
	Medium
	from int64
}

func (f failing) ReadAt(p []byte, off int64) (int, error) {
	if off+int64(len(p)) > f.from {
		return 0, errors.New("input/output error")
	}
	return f.Medium.ReadAt(p, off)
}

// TestDeltaIsRefused before anything is touched.
func TestDeltaIsRefused(t *testing.T) {
	t.Parallel()
	image := pattern(2*mib, 1)
	tests := []struct {
		name string
		do   func(b *deltaBox, r *Rules)
		code ota.Code
	}{
		{"a box that fetches none", func(_ *deltaBox, r *Rules) { r.Around.Delta = Delta{} }, ota.CodeArtifactUnsupported},
		{"too large for the slot", func(_ *deltaBox, r *Rules) { r.Target.SizeBytes = 2*mib - 1 }, ota.CodeImageTooLarge},
		{"cuts that make no sense", func(b *deltaBox, _ *Rules) {
			b.artifact = packText(b.t, swu.KindNone, b.file[:400], `{ SUM; type = "delta"; properties: { url = "x"; chain = "raw"; chunk-min = "1"; chunk-average = "1"; chunk-max = "1"; }; }`)
		}, ota.CodeArtifactUnsupported},
		{"an offset", func(b *deltaBox, _ *Rules) { b.repack(`offset = "4096";`) }, ota.CodeArtifactUnsupported},
		{"compressed", func(b *deltaBox, _ *Rules) { b.repack(`compressed = "zlib";`) }, ota.CodeArtifactUnsupported},
		{"no header at all", func(b *deltaBox, _ *Rules) { b.artifact = packDelta(b.t, []byte("not a header"), "") }, ota.CodeArtifactDamaged},
		{"half a header", func(b *deltaBox, _ *Rules) { b.artifact = packDelta(b.t, b.file[:400], "") }, ota.CodeArtifactDamaged},
		{"no url", func(b *deltaBox, _ *Rules) {
			b.artifact = packText(b.t, swu.KindNone, b.file[:400], `{ SUM; type = "delta"; }`)
		}, ota.CodeArtifactUnsupported},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			b := newDeltaBox(t, nil, image, false)
			rules := b.rules()
			tt.do(b, &rules)
			_, err := run(t.Context(), b.artifact, rules, b.idle, false)
			wantFault(t, err, ota.Permanent, tt.code)
			if b.readings > 0 || len(b.idle.writes) > 0 {
				t.Error("something was touched")
			}
		})
	}
}

func (b *deltaBox) repack(fields string) {
	header, err := zck.ReadHeader(bytes.NewReader(b.file), swu.MaxDeltaHeaderBytes)
	if err != nil {
		b.t.Fatal(err)
	}
	b.artifact = packDelta(b.t, b.file[:header.HeaderSize], fields)
}

// TestDeltaStreamed: the artifact itself comes in as a stream.
func TestDeltaStreamed(t *testing.T) {
	t.Parallel()
	old := pattern(6*mib, 1)
	b := newDeltaBox(t, old, edited(old), false)
	_, err := pour(t.Context(), &stream{artifact: b.artifact}, b.rules(), StreamTo{Slot: b.idle, SkipEqual: true})
	if err != nil {
		t.Fatal(err)
	}
	b.mustHold()
	if b.fetched > 300_000 {
		t.Errorf("%d bytes were fetched", b.fetched)
	}
	at := bytes.Index(b.artifact, []byte("\x00ZCK1")) + 3000
	b.artifact[at] ^= 1
	_, err = pour(t.Context(), &stream{artifact: b.artifact}, b.rules(), StreamTo{Slot: newSlot(make([]byte, 8*mib))})
	wantFault(t, err, ota.Permanent, ota.CodeArtifactHash)
}

// TestDeltaEnds when it is told to, also while the network is waited for.
func TestDeltaEnds(t *testing.T) {
	t.Parallel()
	b := newDeltaBox(t, nil, pattern(4*mib, 1), false)
	ctx, cancel := context.WithCancel(t.Context())
	rules := b.rules()
	rules.Around.Delta.Fetch = func(ctx context.Context, w Wanted) (io.ReadCloser, error) {
		r, w2 := io.Pipe()
		context.AfterFunc(ctx, func() { w2.CloseWithError(ctx.Err()) })
		cancel()
		return r, nil
	}
	if _, err := run(ctx, b.artifact, rules, b.idle, false); !errors.Is(err, context.Canceled) {
		t.Errorf("ended with %v", err)
	}
}

// TestDeltaOfAPart: a part of the slot is copied from the same part of what runs.
func TestDeltaOfAPart(t *testing.T) {
	t.Parallel()
	old := pattern(3*mib, 1)
	b := newDeltaBox(t, old, edited(slices.Concat(old, old))[:3*mib], false)
	part := b.idle
	b.idle = newSlot(make([]byte, 4*mib))
	header, err := zck.ReadHeader(bytes.NewReader(b.file), swu.MaxDeltaHeaderBytes)
	if err != nil {
		t.Fatal(err)
	}
	about, err := swu.Compress(io.Discard, bytes.NewReader(b.file[:header.HeaderSize]), swu.KindNone)
	if err != nil {
		t.Fatal(err)
	}
	about.PlainBytes, about.PlainSHA256 = int64(len(b.image)), fmt.Sprintf("%x", sha256.Sum256(b.image))
	rootfs := pattern(mib, 70)
	plain, err := swu.Compress(io.Discard, bytes.NewReader(rootfs), swu.KindNone)
	if err != nil {
		t.Fatal(err)
	}
	var artifact bytes.Buffer
	p := zck.DefaultParams
	err = swu.Pack(&artifact, swu.Manifest{Version: "2.0", Model: "stv1", Payloads: []swu.Payload{
		{Filename: "rootfs.img", Name: "rootfs", Stored: plain, Content: bytes.NewReader(rootfs)},
		{Filename: "data.zckheader", Name: "data", Type: swu.TypeDelta, Stored: about, Content: bytes.NewReader(b.file[:header.HeaderSize]),
			Devices: map[string]string{"copy1": "data", "copy2": "data"},
			Delta:   swu.Delta{URL: "rootfs.zck", ChunkMin: p.Min, ChunkAverage: p.Average, ChunkMax: p.Max}},
	}}, authority().Signer)
	if err != nil {
		t.Fatal(err)
	}
	rules := b.rules()
	rules.Around.Targets = []Target{{Name: "data", Device: "/dev/data-b", SizeBytes: part.Size()}}
	rules.Around.OpenTarget = func(context.Context, string) (Medium, error) { return medium{part}, nil }
	asked := ""
	rules.Around.Delta.Source = func(_ context.Context, target string) (Medium, error) {
		asked = target
		return medium{b.source}, nil
	}
	image, err := run(t.Context(), artifact.Bytes(), rules, b.idle, false)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(part.medium[:len(b.image)], b.image) || !bytes.Equal(b.idle.medium[:mib], rootfs) {
		t.Error("slot and part do not hold their images")
	}
	if got, known := image.Part("data"); asked != "data" || !known || got.SizeBytes != int64(len(b.image)) {
		t.Errorf("copied from %q, described as %+v", asked, got)
	}
	if b.fetched > 300_000 {
		t.Errorf("%d bytes were fetched", b.fetched)
	}
}
