package swu

import (
	"bytes"
	"errors"
	"io"
	"testing"
	"testing/iotest"

	"github.com/klauspost/compress/zstd"
)

// frames packs plain into zstd frames of n bytes each, without a check sum or
// with, and with a skippable frame before each where asked.
func frames(t *testing.T, plain []byte, n int, sum, skippable bool) []byte {
	t.Helper()
	z, err := zstd.NewWriter(nil, zstd.WithEncoderCRC(sum), zstd.WithEncoderConcurrency(1))
	if err != nil {
		t.Fatal(err)
	}
	var out []byte
	for len(plain) > 0 {
		part := plain[:min(n, len(plain))]
		plain = plain[len(part):]
		if skippable {
			out = append(out, 0x53, 0x2a, 0x4d, 0x18, 5, 0, 0, 0, 1, 2, 3, 4, 5)
		}
		out = z.EncodeAll(part, out)
	}
	return out
}

// streamed packs plain as [Compress] does, with the block that ends a frame
// apart from its data.
func streamed(t *testing.T, plain []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	if _, err := Compress(&out, bytes.NewReader(plain), KindZstd); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// A mark is seen at the very byte at which a frame of [Compress] ends.
func TestFlowMarksFrames(t *testing.T) {
	t.Parallel()
	plain := make([]byte, 2*FrameBytes+1)
	stored := streamed(t, plain)
	flow, err := flowImage(KindZstd, stored, plain).Flow(bytes.NewReader(stored), nil, 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer flow.Close()
	for n := range 2 {
		if _, err := io.CopyN(io.Discard, struct{ io.Reader }{flow}, FrameBytes); err != nil {
			t.Fatal(err)
		}
		if _, at, ok := flow.Mark(); !ok || at != int64(n+1)*FrameBytes {
			t.Errorf("the mark behind frame %d is at %d, %t", n, at, ok)
		}
	}
}

func flowImage(kind string, stored, plain []byte) Image {
	return Image{Filename: "rootfs", Compressed: kind, SHA256: hashOf(string(stored)), SizeBytes: int64(len(stored)),
		DecompressedBytes: int64(len(plain)), DecompressedSHA256: hashOf(string(plain))}
}

// A flow gives the plain bytes, and from each of its marks a second one gives
// exactly the rest.
func TestFlowGoesOnFromEveryMark(t *testing.T) {
	t.Parallel()
	plain := bytes.Repeat([]byte("a frame does not depend on another. "), 3000)
	plain = append(plain, make([]byte, 50_000)...) // blocks of one repeated byte
	for _, tt := range []struct {
		name   string
		kind   string
		stored []byte
		marks  int // at least
	}{
		{"raw", "", plain, 100},
		{"one frame", KindZstd, frames(t, plain, len(plain), true, false), 1},
		{"frames with check sums", KindZstd, frames(t, plain, 10_000, true, false), 16},
		{"frames without", KindZstd, frames(t, plain, 10_000, false, false), 16},
		{"tiny frames", KindZstd, frames(t, plain, 777, true, false), 200},
		{"frames that end with an empty block", KindZstd, streamed(t, plain), 1},
		{"skippable frames between", KindZstd, frames(t, plain, 10_000, true, true), 16},
	} {
		for reader, wrap := range map[string]func(io.Reader) io.Reader{
			"whole": func(r io.Reader) io.Reader { return r }, "byte by byte": iotest.OneByteReader, "data with EOF": iotest.DataErrReader,
		} {
			t.Run(tt.name+", "+reader, func(t *testing.T) {
				t.Parallel()
				image := flowImage(tt.kind, tt.stored, plain)
				flow, err := image.Flow(wrap(bytes.NewReader(tt.stored)), nil, 0, 0)
				if err != nil {
					t.Fatal(err)
				}
				defer flow.Close()
				var got []byte
				marks, last := 0, int64(-1)
				for p := make([]byte, 1000); ; {
					n, err := flow.Read(p)
					got = append(got, p[:n]...)
					if stored, at, ok := flow.Mark(); ok && at != last {
						marks, last = marks+1, at
						if at != int64(len(got)) {
							t.Fatalf("the mark is at %d, %d bytes were read", at, len(got))
						}
						if tt.kind != "" && marks%10 == 1 || marks%20_000 == 1 {
							wantRest(t, image, wrap(bytes.NewReader(tt.stored[stored:])), stored, at, plain[at:])
						}
					}
					if err == io.EOF {
						break
					}
					if err != nil {
						t.Fatal(err)
					}
				}
				if !bytes.Equal(got, plain) {
					t.Errorf("%d bytes came, want %d", len(got), len(plain))
				}
				if marks < tt.marks || last != int64(len(plain)) {
					t.Errorf("%d marks, the last at %d; want %d, the last at %d", marks, last, tt.marks, len(plain))
				}
			})
		}
	}
}

func wantRest(t *testing.T, image Image, stored io.Reader, storedBytes, plainBytes int64, want []byte) {
	t.Helper()
	flow, err := image.Flow(stored, nil, storedBytes, plainBytes)
	if err != nil {
		t.Fatal(err)
	}
	defer flow.Close()
	got, err := io.ReadAll(flow)
	if err != nil || !bytes.Equal(got, want) {
		t.Fatalf("from stored byte %d: %d bytes and %v, want %d", storedBytes, len(got), err, len(want))
	}
}

// What is damaged is never taken for the end.
func TestFlowFindsDamage(t *testing.T) {
	t.Parallel()
	plain := bytes.Repeat([]byte("0123456789"), 2000)
	stored := frames(t, plain, 5000, true, false)
	read := func(b []byte) ([]byte, error) {
		flow, err := flowImage(KindZstd, b, plain).Flow(bytes.NewReader(b), nil, 0, 0)
		if err != nil {
			return nil, err
		}
		defer flow.Close()
		return io.ReadAll(flow)
	}
	for n := 0; n < len(stored); n += 3 {
		if _, err := read(stored[:n]); KindOf(err) != Damaged {
			t.Fatalf("cut at byte %d: %v", n, err)
		}
		flipped := bytes.Clone(stored)
		flipped[n] ^= 0x10
		if got, err := read(flipped); err == nil && !bytes.Equal(got, plain) {
			t.Fatalf("byte %d flipped: other bytes and no error", n)
		}
	}
	if _, err := read(append(bytes.Clone(stored), stored...)); KindOf(err) != Damaged {
		t.Errorf("twice as much: %v", err)
	}
	broken := errors.New("the line broke")
	flow, err := flowImage(KindZstd, stored, plain).Flow(io.MultiReader(bytes.NewReader(stored[:100]), iotest.ErrReader(broken)), nil, 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(flow); !errors.Is(err, broken) {
		t.Errorf("the source's error is %v", err)
	}
	window, err := zstd.NewWriter(nil, zstd.WithWindowSize(2*MaxZstdWindowBytes))
	if err != nil {
		t.Fatal(err)
	}
	large := &bytes.Buffer{}
	window.Reset(large)
	for range 3 {
		window.Write(make([]byte, 8<<20))
	}
	window.Close()
	if _, err := read(large.Bytes()); KindOf(err) != Unsupported {
		t.Errorf("a window that is too large: %v", err)
	}
}

// Scripts come first in the archive, wherever the description has them.
func TestFillPutsScriptsFirst(t *testing.T) {
	t.Parallel()
	text := `software = { images: ({ filename = "i"; }); files: ({ filename = "f"; path = "/f"; }); scripts: ({ filename = "s"; type = "preinstall"; }, { filename = "p"; type = "postinstall"; }); };`
	_, payloads, err := Fill([]byte(text), func(string) (Payload, error) { return Payload{}, nil })
	if err != nil {
		t.Fatal(err)
	}
	order := ""
	for _, p := range payloads {
		order += p.Filename
	}
	if order != "spif" {
		t.Errorf("the order is %q", order)
	}
}
