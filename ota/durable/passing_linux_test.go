package durable_test

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"otad/ota/durable"
)

// Who reads a large file twice in passing has the same bytes and leaves next to
// nothing of it in memory.
func TestPassing(t *testing.T) {
	t.Parallel()
	dir, err := os.MkdirTemp("/var/tmp", "passing") // /tmp may be in memory
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil || fs.Type == unix.TMPFS_MAGIC {
		t.Skipf("needs a file system on a disk: %q is none (%v)", dir, err)
	}
	path, content := filepath.Join(dir, "artifact"), bytes.Repeat([]byte("0123456789abcde\n"), 2<<20)
	if err := durable.WriteFile(durable.OS, path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := durable.OS.OpenFile(path, os.O_RDONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	watched, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer watched.Close()
	cached := func() int64 {
		var stat unix.Cachestat_t
		err := unix.Cachestat(uint(watched.Fd()), &unix.CachestatRange{}, &stat, 0)
		if errors.Is(err, unix.ENOSYS) {
			t.Skip("needs cachestat, Linux 6.5")
		} else if err != nil {
			t.Fatal(err)
		}
		return int64(stat.Cache) * int64(os.Getpagesize())
	}
	if all := cached(); all < int64(len(content)) {
		t.Logf("only %d bytes were in memory at first", all)
	}
	passing := durable.Passing(f)
	for range 2 {
		got := make([]byte, len(content))
		r, done := io.NewSectionReader(passing, 0, int64(len(content))), 0
		for done < len(got) {
			n, err := r.Read(got[done:min(done+300_000, len(got))])
			if done += n; err != nil {
				t.Fatal(err)
			}
			if held := cached(); done > len(got)/2 && held > int64(len(content))*3/4 {
				t.Fatalf("%d bytes are in memory after %d were read", held, done)
			}
		}
		if !bytes.Equal(got, content) {
			t.Fatal("other bytes were read")
		}
		if held := cached(); held > 6<<20 {
			t.Errorf("%d bytes stay in memory", held)
		}
	}
}
