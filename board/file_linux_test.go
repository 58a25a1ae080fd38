package board_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"otad/board"
	"otad/ota/durable"
)

// While a slot is written, with no sync at all, few MiB of it wait in memory:
// the kernel itself is asked, page by page.
func TestWriteKeepsFewPages(t *testing.T) {
	t.Parallel()
	const size, block, most, margin = 256 << 20, 1 << 20, 8 << 20, 1 << 20
	dir, err := os.MkdirTemp("/var/tmp", "slot") // /tmp may be in memory
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil || fs.Type == unix.TMPFS_MAGIC {
		if os.Getenv("CI") == "true" {
			t.Fatalf("needs a file system on a disk: %q is none (%v)", dir, err)
		}
		t.Skipf("needs a file system on a disk: %q is none (%v)", dir, err)
	}
	path := filepath.Join(dir, "slot")
	watched, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer watched.Close()
	if err := watched.Truncate(size); err != nil {
		t.Fatal(err)
	}
	if _, err := waiting(watched); errors.Is(err, unix.ENOSYS) {
		t.Skip("needs cachestat, Linux 6.5")
	}
	slot, err := board.OpenFile(durable.OS, path, false)
	if err != nil {
		t.Fatal(err)
	}
	defer slot.Close()
	seen := peak{file: watched, done: make(chan struct{})}
	seen.ended.Go(seen.watch)
	data, begun := make([]byte, block), time.Now()
	for off := int64(0); off < size; off += block {
		data[0]++
		if _, err := slot.WriteAt(data, off); err != nil {
			t.Fatal(err)
		}
	}
	took := time.Since(begun)
	close(seen.done)
	seen.ended.Wait()
	fmt.Fprintf(t.Output(), "%d MiB in %v: at most %d KiB dirty or on their way (%d samples)\n", size>>20, took.Round(time.Millisecond), seen.bytes>>10, seen.samples)
	if seen.err != nil || seen.bytes == 0 {
		t.Fatalf("nothing was seen in %d samples: %v", seen.samples, seen.err)
	}
	if seen.bytes > most+margin {
		t.Errorf("%d bytes wait in memory, want at most %d", seen.bytes, most)
	}
	if err := slot.Sync(); err != nil {
		t.Fatal(err)
	}
}

// peak samples how much of a file waits in memory for the medium.
type peak struct {
	file    *os.File
	done    chan struct{}
	ended   sync.WaitGroup
	bytes   int64
	samples int
	err     error
}

func (p *peak) watch() {
	for tick := time.NewTicker(time.Millisecond); ; <-tick.C {
		n, err := waiting(p.file)
		if err != nil {
			p.err = err
		}
		p.samples++
		p.bytes = max(p.bytes, n)
		select {
		case <-p.done:
			return
		default:
		}
	}
}

// waiting tells how many bytes of a file are dirty or under write-back.
func waiting(f *os.File) (int64, error) {
	var stat unix.Cachestat_t
	if err := unix.Cachestat(uint(f.Fd()), &unix.CachestatRange{}, &stat, 0); err != nil {
		return 0, err
	}
	return int64(stat.Dirty+stat.Writeback) * int64(os.Getpagesize()), nil
}

// What writing a slot costs, synced as an install does it.
func BenchmarkWrite(b *testing.B) {
	const size, block = 64 << 20, 1 << 20
	path := filepath.Join(b.TempDir(), "slot")
	if err := os.WriteFile(path, make([]byte, size), 0o600); err != nil {
		b.Fatal(err)
	}
	slot, err := board.OpenFile(durable.OS, path, false)
	if err != nil {
		b.Fatal(err)
	}
	defer slot.Close()
	data := make([]byte, block)
	b.SetBytes(size)
	for b.Loop() {
		for off := int64(0); off < size; off += block {
			if _, err := slot.WriteAt(data, off); err != nil {
				b.Fatal(err)
			}
			if (off+block)%(16<<20) == 0 {
				if err := slot.Sync(); err != nil {
					b.Fatal(err)
				}
			}
		}
	}
}

// What was read of a slot and is let go of is in memory no more.
func TestForget(t *testing.T) {
	t.Parallel()
	const size, block = 64 << 20, 1 << 20
	dir, err := os.MkdirTemp("/var/tmp", "slot") // /tmp may be in memory
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "slot")
	if err := os.WriteFile(path, make([]byte, size), 0o600); err != nil {
		t.Fatal(err)
	}
	slot, err := board.OpenFile(durable.OS, path, false)
	if err != nil {
		t.Fatal(err)
	}
	defer slot.Close()
	if err := errors.Join(slot.Sync(), slot.DropCache()); err != nil {
		t.Fatal(err)
	}
	watched, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer watched.Close()
	most, data := int64(0), make([]byte, block)
	for off := int64(0); off < size; off += block {
		if _, err := slot.ReadAt(data, off); err != nil {
			t.Fatal(err)
		}
		if err := slot.(*board.File).Forget(off, block); err != nil {
			t.Fatal(err)
		}
		var stat unix.Cachestat_t
		if err := unix.Cachestat(uint(watched.Fd()), &unix.CachestatRange{}, &stat, 0); errors.Is(err, unix.ENOSYS) {
			t.Skip("needs cachestat, Linux 6.5")
		} else if err != nil {
			t.Fatal(err)
		}
		most = max(most, int64(stat.Cache)*int64(os.Getpagesize()))
	}
	if most > size/2 { // a disk reads up to two times 8 MiB ahead
		t.Errorf("%d bytes of the slot were in memory", most)
	}
}
