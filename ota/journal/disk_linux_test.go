package journal

import (
	"encoding/json"
	"path/filepath"
	"reflect"
	"testing"

	"golang.org/x/sys/unix"

	"otad/ota"
)

// mountDisk mounts a file system of its own for the test.
func mountDisk(t *testing.T, options string) string {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, options); err != nil {
		t.Skipf("needs a file system of its own, which takes root to mount: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Errorf("cannot unmount %q: %v", dir, err)
		}
	})
	return dir
}

func wantJournalFault(t *testing.T, err error) {
	t.Helper()
	if f := ota.FaultOf(err); f == nil || f.Code != ota.CodeJournal || f.Class != ota.Transient || f.Hint == "" {
		t.Errorf("got %v", err)
	}
}

func TestReadOnlyDirectory(t *testing.T) {
	t.Parallel()
	for _, whole := range []bool{false, true} {
		dir := mountDisk(t, "size=1m")
		if whole {
			open(t, dir).Close()
		}
		if err := unix.Mount("", dir, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
			t.Fatal(err)
		}
		_, recovery, err := Open(filepath.Join(dir, "journal.db"), testTime)
		wantJournalFault(t, err)
		if recovery != nil {
			t.Errorf("there is a journal, %v: recovery %+v", whole, recovery)
		}
	}
}

func TestNoRoomToCreate(t *testing.T) {
	t.Parallel()
	dir := mountDisk(t, "size=8k")
	_, recovery, err := Open(filepath.Join(dir, "journal.db"), testTime)
	wantJournalFault(t, err)
	if recovery != nil {
		t.Errorf("recovery %+v", recovery)
	}
}

// A full disk refuses the commit; what was there stays, and with room again
// the journal goes on.
func TestDiskFillsUp(t *testing.T) {
	t.Parallel()
	dir := mountDisk(t, "size=96k")
	j := open(t, dir)
	commit(t, j, Change{Update: &ota.Record{ID: "u1", Phase: ota.PhaseArmed}})
	payload := json.RawMessage(`"` + string(make64(4000)) + `"`)
	var err error
	kept := 0
	for ; err == nil && kept < 100; kept++ {
		err = j.Commit(Change{Update: &ota.Record{ID: "u2"}, Events: []Event{{Payload: payload}, {Payload: payload}}})
	}
	wantJournalFault(t, err)
	kept--
	if kept == 0 {
		t.Fatal("not even one commit had room")
	}
	check := func(j *Journal) {
		t.Helper()
		s, err := j.Load()
		if err != nil || !reflect.DeepEqual(s.Update, ota.Record{ID: "u2"}) || len(pending(t, j)) != 2*kept {
			t.Errorf("%+v with %d events, want %d: %v", s.Update, len(pending(t, j)), 2*kept, err)
		}
	}
	check(j)
	wantJournalFault(t, j.Commit(Change{Events: []Event{{Payload: payload}, {Payload: payload}}}))
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	j = open(t, dir)
	check(j)
	if err := unix.Mount("", dir, "", unix.MS_REMOUNT, "size=1m"); err != nil {
		t.Fatal(err)
	}
	commit(t, j, Change{Events: []Event{{Payload: payload}}})
}
