package install

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"otad/ota/swu"
)

// largeBytes is far above what may be held; the race detector makes it slow.
func largeBytes() int64 {
	if underRace {
		return 20 * mib
	}
	return 256 * mib
}

// zeros reads as n zero bytes.
type zeros struct{ at, n int64 }

func (z *zeros) Read(p []byte) (int, error) {
	n := min(int64(len(p)), z.n-z.at)
	if n == 0 {
		return 0, io.EOF
	}
	clear(p[:n])
	z.at += n
	return int(n), nil
}

func (z *zeros) Seek(offset int64, _ int) (int64, error) { z.at = offset; return offset, nil }

// holes writes to a file and leaves out what is zero.
type holes struct {
	f  *os.File
	at int64
}

func (h *holes) Write(p []byte) (int, error) {
	if !bytes.Equal(p, make([]byte, len(p))) {
		if _, err := h.f.WriteAt(p, h.at); err != nil {
			return 0, err
		}
	}
	h.at += int64(len(p))
	return len(p), nil
}

// zeroSlot is a large slot that keeps nothing: it reads as zeros.
type zeroSlot struct{ written int64 }

func (s *zeroSlot) Size() int64      { return largeBytes() }
func (s *zeroSlot) Sync() error      { return nil }
func (s *zeroSlot) DropCache() error { return nil }
func (s *zeroSlot) WriteAt(p []byte, _ int64) (int, error) {
	s.written += int64(len(p))
	return len(p), nil
}

func (s *zeroSlot) ReadAt(p []byte, _ int64) (int, error) {
	clear(p)
	return len(p), nil
}

// A large image takes no more memory than a small one. Not parallel: it
// measures the heap of the process.
func TestMemoryIsFlat(t *testing.T) {
	for _, kind := range []string{swu.KindNone, swu.KindZlib, swu.KindZstd} {
		f, err := os.Create(filepath.Join(t.TempDir(), "large.swu"))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		out := &holes{f: f}
		if err := authority().PackAs(out, swu.Manifest{Version: "2.0", Model: "stv1"}, kind, &zeros{n: largeBytes()}); err != nil {
			t.Fatal(err)
		}
		if err := f.Truncate(out.at); err != nil {
			t.Fatal(err)
		}
		var stats runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&stats)
		base, peak, calls := stats.HeapAlloc, uint64(0), 0
		watch := func(Stage, int64, int64) {
			if calls++; calls%64 == 0 {
				runtime.ReadMemStats(&stats)
				peak = max(peak, stats.HeapAlloc)
			}
		}
		s := &zeroSlot{}
		plan, err := Open(t.Context(), f, out.at, rulesFor(t, largeBytes()), watch)
		if err != nil {
			t.Fatal(err)
		}
		image, err := plan.Write(t.Context(), s, true, watch)
		if err != nil {
			t.Fatal(err)
		}
		if err := ReadBack(t.Context(), s, image, watch); err != nil {
			t.Fatal(err)
		}
		grown := int64(peak) - int64(base)
		t.Logf("%s: an artifact of %d MiB for %d MiB takes %.1f MiB of heap at most", kind, out.at/mib, largeBytes()/mib, float64(grown)/mib)
		if image.SizeBytes != largeBytes() || s.written != 0 {
			t.Errorf("%s: %d bytes, %d written", kind, image.SizeBytes, s.written)
		}
		if grown > 16*mib {
			t.Errorf("%s: the heap grew by %d MiB", kind, grown/mib)
		}
	}
}
