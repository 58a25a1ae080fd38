package download_test

import (
	"runtime"
	"testing"

	"otad/transport/download"
	"otad/transport/download/downloadtest"
)

// TestMemoryIsFlat is not parallel: it looks at the heap of the process, the
// host's included.
func TestMemoryIsFlat(t *testing.T) {
	const size, most = 256 * mib, 4 * mib
	b := newBox(t, downloadtest.Pattern(size, 50), download.Options{CheckpointBytes: 16 * mib})
	b.req.MaxBytes = size
	var base, peak runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&base)
	save := b.req.Save
	b.req.Save = func(c download.Checkpoint) error {
		var now runtime.MemStats
		runtime.GC() // what is left is held, not garbage
		runtime.ReadMemStats(&now)
		if now.HeapAlloc > peak.HeapAlloc {
			peak = now
		}
		return save(c)
	}
	if err := b.attempt(); err != nil {
		t.Fatal(err)
	}
	var end runtime.MemStats
	runtime.ReadMemStats(&end)
	t.Logf("%d MiB: %d checkpoints, held at most %d KiB, allocated %d KiB in all",
		size/mib, b.saves, (int64(peak.HeapAlloc)-int64(base.HeapAlloc))/kib, (end.TotalAlloc-base.TotalAlloc)/kib)
	if held := int64(peak.HeapAlloc) - int64(base.HeapAlloc); held > most {
		t.Errorf("%d bytes are held, at most %d are wanted", held, most)
	}
	if all := end.TotalAlloc - base.TotalAlloc; all > 2*most {
		t.Errorf("%d bytes were allocated: memory grows with the file", all)
	}
}
