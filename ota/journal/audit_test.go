package journal

import (
	"fmt"
	"path/filepath"
	"testing"

	"go.etcd.io/bbolt"

	"otad/ota"
)

// The audit is bounded, and what was refused goes before what was done.
func TestAuditIsBounded(t *testing.T) {
	t.Parallel()
	j := open(t, t.TempDir())
	j.db.NoSync = true
	if list, err := j.Deeds(10); err != nil || list == nil || len(list) != 0 {
		t.Errorf("a fresh journal has deeds %v, %v", list, err)
	}
	commit(t, j, Change{Deed: &ota.Deed{Verb: "reboot", OK: true}})
	for n := range 2 * MaxDeeds {
		commit(t, j, Change{Deed: &ota.Deed{Verb: fmt.Sprint("refused ", n)}})
	}
	list, err := j.Deeds(2 * MaxDeeds)
	if err != nil || len(list) != MaxDeeds {
		t.Fatalf("%d deeds, %v, want %d", len(list), err, MaxDeeds)
	}
	if list[0].Verb != fmt.Sprint("refused ", 2*MaxDeeds-1) || list[MaxDeeds-1].Verb != "reboot" {
		t.Errorf("the newest is %q, the oldest %q", list[0].Verb, list[MaxDeeds-1].Verb)
	}
	for n := range MaxDeeds {
		commit(t, j, Change{Deed: &ota.Deed{Verb: fmt.Sprint("done ", n), OK: true}})
	}
	if list, err = j.Deeds(2 * MaxDeeds); err != nil || len(list) != MaxDeeds || list[MaxDeeds-1].Verb != "done 0" {
		t.Errorf("%d deeds, the oldest is %q, %v", len(list), list[len(list)-1].Verb, err)
	}
}

// An otad without an audit, to which a box may roll back, and one that has it
// take each other's files; the others' content stays as it is.
func TestAuditAcrossVersions(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	j := open(t, dir)
	commit(t, j, Change{Command: "c7", Deed: &ota.Deed{Verb: "cancel", OK: true}})
	before := contentOf(t, j)
	if err := j.db.Update(func(tx *bbolt.Tx) error { return tx.DeleteBucket(bucketAudit) }); err != nil { // it never was
		t.Fatal(err)
	}
	j.Close()
	j, recovery, err := Open(filepath.Join(dir, "journal.db"), testTime)
	if err != nil || recovery != nil {
		t.Fatalf("a journal without audit: %v, %v", recovery, err)
	}
	defer j.Close()
	if after := contentOf(t, j); !after.Seen || fmt.Sprint(after) != fmt.Sprint(before) {
		t.Errorf("content %+v, want %+v", after, before)
	}
	commit(t, j, Change{Deed: &ota.Deed{Verb: "cancel", OK: true}})
	if list, err := j.Deeds(10); err != nil || len(list) != 1 {
		t.Errorf("deeds %v, %v", list, err)
	}
}
