package journal

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"otad/ota"
)

// content is all that a journal answers.
type content struct {
	State   State
	History []ota.Outcome
	Pending []Entry
	Seen    bool
}

func contentOf(t *testing.T, j *Journal) content {
	t.Helper()
	var c content
	var err error
	if c.State, err = j.Load(); err != nil {
		t.Fatal(err)
	}
	if c.History, err = j.History(MaxHistory); err != nil {
		t.Fatal(err)
	}
	if c.Seen, err = j.CommandSeen("c7"); err != nil {
		t.Fatal(err)
	}
	c.Pending = pending(t, j)
	return c
}

// sample is the bytes of a journal in use, with its last two contents. full
// makes the buckets so large that they have branch pages.
func sample(t *testing.T, full bool) (data []byte, last, before content) {
	t.Helper()
	dir := t.TempDir()
	j := open(t, dir)
	j.db.NoSync = true
	commits := 10
	if full {
		commits = 150
	}
	for n := range commits {
		before = contentOf(t, j)
		commit(t, j, Change{
			Update:  &ota.Record{ID: fmt.Sprint("u", n), Phase: ota.PhaseDownloading, Offer: ota.Offer{URL: "http://host/2.swu"}, StartedAt: testTime},
			Box:     &ota.Box{Floor: fmt.Sprint("1.", n), LastGood: testTime},
			Command: fmt.Sprint("c", n),
			Ended:   &ota.Outcome{ID: fmt.Sprint("u", n), Result: ota.PhaseConfirmed},
			Events:  []Event{{Payload: json.RawMessage(`{"text":"` + string(make64(100)) + `"}`)}},
		})
	}
	last = contentOf(t, j)
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(filepath.Join(dir, "journal.db"))
	if err != nil {
		t.Fatal(err)
	}
	return data, last, before
}

// survive opens damaged bytes and holds the journal to its promise: the old
// content, or the file kept aside and a fresh journal; either one works.
// It returns the recovery, nil when the content was whole.
func survive(t *testing.T, name string, damaged []byte, whole ...content) *Recovery {
	t.Helper()
	dir, err := os.MkdirTemp(fastDir(t), "damage-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "journal.db")
	if err := os.WriteFile(path, damaged, 0o600); err != nil {
		t.Fatal(err)
	}
	j, recovery, err := Open(path, testTime)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	defer j.Close()
	got := contentOf(t, j)
	if recovery == nil {
		ok := false
		for _, want := range whole {
			ok = ok || reflect.DeepEqual(got, want)
		}
		if !ok {
			t.Fatalf("%s: opened as whole, with %+v", name, got)
		}
	} else {
		if kept, err := os.ReadFile(recovery.Kept); err != nil || !bytes.Equal(kept, damaged) {
			t.Errorf("%s: the damaged file was not kept as it was: %v", name, err)
		}
		if recovery.Kept != path+".damaged-20260301-020000" || recovery.Cause == nil {
			t.Errorf("%s: recovery %+v", name, recovery)
		}
		if fresh := (content{State: State{Update: ota.Record{Phase: ota.PhaseIdle}}}); !reflect.DeepEqual(got, fresh) {
			t.Errorf("%s: the fresh journal holds %+v", name, got)
		}
	}
	if err := j.Commit(Change{Update: &ota.Record{ID: "after"}, Events: []Event{event(1, true)}}); err != nil {
		t.Errorf("%s: cannot write: %v", name, err)
	}
	return recovery
}

// fastDir is a directory in memory where there is one: the sync of a thousand
// journals is not what these tests are about.
func fastDir(t testing.TB) string {
	if info, err := os.Stat("/dev/shm"); err == nil && info.IsDir() {
		return "/dev/shm"
	}
	return t.TempDir()
}

func TestDamage(t *testing.T) {
	t.Parallel()
	data, last, before := sample(t, false)
	pageBytes := os.Getpagesize()
	edit := func(change func(b []byte) []byte) []byte { return change(bytes.Clone(data)) }
	zero := func(page int) []byte {
		return edit(func(b []byte) []byte { clear(b[page*pageBytes : (page+1)*pageBytes]); return b })
	}
	for _, tt := range []struct {
		name string
		data []byte
		lost bool
	}{
		{"whole", data, false},
		{"rubbish behind it", append(bytes.Clone(data), "rubbish"...), false},
		{"first meta page zeroed", zero(0), false}, // bbolt has a second one
		{"second meta page zeroed", zero(1), false},
		{"empty", nil, true},
		{"one byte", data[:1], true},
		{"text", []byte("[device]\nmodel = \"x\"\n"), true},
		{"zeros", make([]byte, len(data)), true},
		{"both meta pages zeroed", edit(func(b []byte) []byte { clear(b[:2*pageBytes]); return b }), true},
		{"all but the meta pages zeroed", edit(func(b []byte) []byte { clear(b[2*pageBytes:]); return b }), true},
		{"all but the meta pages ones", edit(func(b []byte) []byte {
			for i := 2 * pageBytes; i < len(b); i++ {
				b[i] = 0xff
			}
			return b
		}), true},
		{"cut behind all pages in use", data[:len(data)-1], false}, // bbolt grows the file ahead
		{"cut to four pages", data[:4*pageBytes], true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if recovery := survive(t, tt.name, tt.data, last, before); (recovery != nil) != tt.lost {
				t.Errorf("recovery %+v, want one: %v", recovery, tt.lost)
			}
		})
	}
}

// Foreign and newer files have a whole tree; it is the content that is wrong.
func TestForeignContent(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		change func(tx *bbolt.Tx) error
		sync   bool // keep a list of free pages, as other programs do
	}{
		{"newer schema", func(tx *bbolt.Tx) error { return tx.Bucket(bucketMeta).Put(keySchema, number(schema+1)) }, false},
		{"no schema", func(tx *bbolt.Tx) error { return tx.Bucket(bucketMeta).Delete(keySchema) }, false},
		{"no check sum", func(tx *bbolt.Tx) error { return tx.Bucket(bucketMeta).Delete(keySum) }, false},
		{"missing bucket", func(tx *bbolt.Tx) error { return tx.DeleteBucket(bucketOutbox) }, false},
		{"bucket in a bucket", func(tx *bbolt.Tx) error {
			_, err := tx.Bucket(bucketState).CreateBucket([]byte("deep"))
			return err
		}, false},
		{"record that is no record", func(tx *bbolt.Tx) error {
			if err := tx.Bucket(bucketState).Put(keyUpdate, []byte(`{"phase":7}`)); err != nil {
				return err
			}
			return putSum(tx)
		}, false},
		{"changed behind the check sum", func(tx *bbolt.Tx) error { return tx.Bucket(bucketState).Put(keyUpdate, []byte(`{"phase":"idle"}`)) }, false},
		{"another program wrote it", func(*bbolt.Tx) error { return nil }, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "journal.db")
			j, _, err := Open(path, testTime)
			if err != nil {
				t.Fatal(err)
			}
			if err := j.Close(); err != nil {
				t.Fatal(err)
			}
			o := options()
			o.NoFreelistSync = !tt.sync
			db, err := bbolt.Open(path, 0o600, o)
			if err != nil {
				t.Fatal(err)
			}
			if err := db.Update(tt.change); err != nil {
				t.Fatal(err)
			}
			if err := db.Close(); err != nil {
				t.Fatal(err)
			}
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if survive(t, tt.name, data) == nil {
				t.Error("it was taken")
			}
		})
	}
}

func TestTruncated(t *testing.T) {
	t.Parallel()
	data, last, before := sample(t, true)
	random := rand.New(rand.NewPCG(3, 4))
	sizes := []int{}
	for n := 0; n <= len(data); n += os.Getpagesize() {
		sizes = append(sizes, n)
	}
	for range 40 {
		sizes = append(sizes, random.IntN(len(data)))
	}
	for _, n := range sizes {
		survive(t, fmt.Sprintf("cut to %d of %d bytes", n, len(data)), data[:n], last, before)
	}
}

func TestZeroedPages(t *testing.T) {
	t.Parallel()
	data, last, before := sample(t, true)
	for page := range len(data) / os.Getpagesize() {
		damaged := bytes.Clone(data)
		clear(damaged[page*os.Getpagesize() : (page+1)*os.Getpagesize()])
		survive(t, fmt.Sprintf("page %d zeroed", page), damaged, last, before)
	}
}

// An old page in the place of a newer one, as a lost write leaves it.
func TestStalePages(t *testing.T) {
	t.Parallel()
	data, last, before := sample(t, true)
	pageBytes := os.Getpagesize()
	random := rand.New(rand.NewPCG(5, 6))
	pages := len(data) / pageBytes
	for range 80 {
		damaged := bytes.Clone(data)
		to, from := random.IntN(pages), random.IntN(pages)
		copy(damaged[to*pageBytes:(to+1)*pageBytes], data[from*pageBytes:(from+1)*pageBytes])
		order.PutUint64(damaged[to*pageBytes:], uint64(to)) // it says that it is the right one
		survive(t, fmt.Sprintf("page %d is a copy of page %d", to, from), damaged, last, before)
	}
}

func TestFlippedBits(t *testing.T) {
	t.Parallel()
	for _, full := range []bool{false, true} {
		t.Run(fmt.Sprint("full ", full), func(t *testing.T) {
			t.Parallel()
			data, last, before := sample(t, full)
			random := rand.New(rand.NewPCG(7, 8))
			lost := 0
			rounds := 250
			for round := range rounds {
				damaged := bytes.Clone(data)
				// Mostly into the first bytes of a page, where the structure is.
				for range 1 + round%3 {
					at := random.IntN(len(data))
					if round%2 == 0 {
						at = at/os.Getpagesize()*os.Getpagesize() + random.IntN(160)
					}
					damaged[at] ^= 1 << random.IntN(8)
				}
				if survive(t, fmt.Sprint("round ", round), damaged, last, before) != nil {
					lost++
				}
			}
			t.Logf("%d of %d had to be rebuilt", lost, rounds)
		})
	}
}

// A file that cannot be a journal is not read to find out.
func TestHugeFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "journal.db")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, maxFileBytes+1); err != nil {
		t.Fatal(err)
	}
	j, recovery, err := Open(path, testTime)
	if err != nil || recovery == nil {
		t.Fatal(recovery, err)
	}
	j.Close()
}

func FuzzCheckPages(f *testing.F) {
	f.Add([]byte("no journal"))
	f.Fuzz(func(t *testing.T, data []byte) { _ = checkPages(bytes.NewReader(data), int64(len(data))) })
}

// A power cut while the journal was made leaves half of it under another name.
func TestCrashDuringCreation(t *testing.T) {
	t.Parallel()
	for name, leftover := range map[string][]byte{"empty": {}, "half": make([]byte, 5000), "text": []byte("x")} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, "journal.db.new"), leftover, 0o600); err != nil {
				t.Fatal(err)
			}
			commit(t, open(t, dir), Change{Command: "c1"})
			if _, err := os.Stat(filepath.Join(dir, "journal.db.new")); err == nil {
				t.Error("the leftover is still there")
			}
		})
	}
}

// A recovery is told of once, whenever the power goes in between: the file that
// was made in it says so until a change does.
func TestRecoveryIsToldOfOnce(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		left map[string]string // files that the power cut left
	}{
		{"damaged", map[string]string{"journal.db": "x"}},
		{"kept aside, none in its place", map[string]string{"journal.db.damaged-20260301-020000": "x"}},
		{"kept aside, half of one", map[string]string{"journal.db.damaged-20260301-020000": "x", "journal.db.new": "y"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			for name, content := range tt.left {
				if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			for start := range 3 {
				j, recovery, err := Open(filepath.Join(dir, "journal.db"), testTime)
				if err != nil || recovery == nil || recovery.Cause == nil {
					t.Fatalf("start %d: %+v, %v", start, recovery, err)
				}
				if content, err := os.ReadFile(recovery.Kept); err != nil || string(content) != "x" {
					t.Errorf("start %d: kept %q, %v", start, content, err)
				}
				commit(t, j, Change{Told: start == 2, Events: []Event{event(start, false)}})
				j.Close()
			}
			open(t, dir)
		})
	}
}

// A commit whose sync fails late is durable, and is made again.
func TestOutcomeCommittedTwice(t *testing.T) {
	t.Parallel()
	j := open(t, t.TempDir())
	for _, id := range []string{"u1", "u1", "u2", "u2", "u2"} {
		commit(t, j, Change{Ended: &ota.Outcome{ID: id}, Events: []Event{event(1, true)}})
	}
	history, err := j.History(MaxHistory)
	if err != nil || len(history) != 2 || len(pending(t, j)) != 2 {
		t.Errorf("history %+v, %v; %d events, want two of each", history, err, len(pending(t, j)))
	}
}

func TestDamagedFilesDoNotPileUp(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "journal.db")
	for day := range 10 {
		if err := os.WriteFile(path, []byte("rubbish"), 0o600); err != nil {
			t.Fatal(err)
		}
		j, recovery, err := Open(path, testTime.AddDate(0, 0, day))
		if err != nil || recovery == nil {
			t.Fatal(recovery, err)
		}
		if _, err := os.Stat(recovery.Kept); err != nil {
			t.Errorf("day %d: %v", day, err)
		}
		j.Close()
	}
	if kept, _ := filepath.Glob(path + ".damaged-*"); len(kept) != maxKept {
		t.Errorf("kept %q", kept)
	}
}

// A lock that is held says nothing about the content.
func TestLockedIsNotDamaged(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	j := open(t, dir)
	if _, _, err := Open(filepath.Join(dir, "journal.db"), time.Now()); err == nil {
		t.Fatal("opened twice")
	}
	commit(t, j, Change{Command: "c1"})
	if entries, _ := os.ReadDir(dir); len(entries) != 1 {
		t.Errorf("the directory has %v", entries)
	}
}
