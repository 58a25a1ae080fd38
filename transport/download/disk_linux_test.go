package download_test

import (
	"errors"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"otad/ota"
	"otad/transport/download"
	"otad/transport/download/downloadtest"
)

// smallDisk mounts a file system of size bytes.
func smallDisk(t *testing.T, size string) string {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size="+size); err != nil {
		t.Skipf("needs a small file system, which takes root to mount: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Errorf("cannot unmount %q: %v", dir, err)
		}
	})
	return dir
}

// TestDiskFillsUp: the size is not known beforehand, so the end of the disk is
// met while storing. What was stored is kept for the time when there is room.
func TestDiskFillsUp(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name    string
		disk    string
		reserve int64
		faults  downloadtest.Faults
		most    int64 // stored
	}{
		{"declared", "1m", 1, downloadtest.Faults{}, 0},
		{"to the last byte", "1m", 1, downloadtest.Faults{NoLength: true}, mib},
		{"into the reserve", "9m", 2 * mib, downloadtest.Faults{NoLength: true}, 8*mib + mib/2},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			b := newBox(t, downloadtest.Pattern(12*mib, 60), download.Options{ReserveBytes: tt.reserve})
			b.req.Path = filepath.Join(smallDisk(t, tt.disk), "2.swu")
			b.file.Set(tt.faults)
			fault := b.mustFail(ota.Transient, ota.CodeNoSpace)
			var no *download.NoSpaceError
			if !errors.As(fault, &no) || no.FreeBytes >= no.NeedBytes {
				t.Fatalf("cause is %+v", no)
			}
			synced := b.req.From.SyncedBytes
			if synced > tt.most || tt.faults.NoLength == (synced == 0) {
				t.Errorf("checkpoint is at %d", synced)
			}
			if err := unix.Mount("", filepath.Dir(b.req.Path), "", unix.MS_REMOUNT, "size=32m"); err != nil {
				t.Fatal(err)
			}
			b.file.Set(downloadtest.Faults{})
			b.mustAttempt()
			offsets := b.file.Stats().Offsets
			if last := offsets[len(offsets)-1]; last != synced {
				t.Errorf("resumed from %d, want %d", last, synced)
			}
		})
	}
}

// TestStartingOverCountsWhatItFrees: a box that has room for one artifact has
// room for its successor.
func TestStartingOverCountsWhatItFrees(t *testing.T) {
	t.Parallel()
	b := newBox(t, downloadtest.Pattern(2*mib, 61), download.Options{ReserveBytes: mib / 2})
	b.req.Path = filepath.Join(smallDisk(t, "3m"), "2.swu")
	b.half()
	b.replace(downloadtest.Pattern(2*mib, 62))
	b.mustAttempt()
}
