package journal

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"go.etcd.io/bbolt"

	"otad/ota"
)

// bucketText is a bucket as testdata has it.
type bucketText struct {
	name     string
	sequence uint64
	keys     [][]byte
	values   [][]byte
}

// firstSchema reads testdata/schema1.txt.
func firstSchema(t *testing.T) (list []bucketText) {
	t.Helper()
	data, err := os.ReadFile("testdata/schema1.txt")
	if err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(bytes.NewReader(data))
	for lines.Scan() {
		line := lines.Text()
		if line == "" || line[0] == '#' {
			continue
		}
		key, value, _ := strings.Cut(line, " ")
		if key == "bucket" {
			var b bucketText
			if _, err := fmt.Sscan(value, &b.name, &b.sequence); err != nil {
				t.Fatalf("%q: %v", line, err)
			}
			list = append(list, b)
			continue
		}
		b := &list[len(list)-1]
		k, v := []byte(key), []byte(value)
		if n, err := strconv.ParseUint(key, 10, 64); err == nil {
			k = []byte{7: byte(n)}
		}
		if b.name == "meta" {
			if v, err = hex.DecodeString(value); err != nil {
				t.Fatalf("%q: %v", line, err)
			}
		}
		b.keys, b.values = append(b.keys, k), append(b.values, v)
	}
	return list
}

// writeBuckets makes the bbolt file of what the text says, and of nothing else.
func writeBuckets(t *testing.T, path string, list []bucketText) {
	t.Helper()
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{NoFreelistSync: true})
	if err != nil {
		t.Fatal(err)
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		for _, text := range list {
			b, err := tx.CreateBucket([]byte(text.name))
			if err != nil {
				return err
			}
			for i := range text.keys {
				if err := b.Put(text.keys[i], text.values[i]); err != nil {
					return err
				}
			}
			if err := b.SetSequence(text.sequence); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
}

// valueOf is the text of one value.
func valueOf(t *testing.T, list []bucketText, bucket, key string) string {
	t.Helper()
	for _, b := range list {
		i := slices.IndexFunc(b.keys, func(k []byte) bool { return string(k) == key })
		if b.name == bucket && i >= 0 {
			return string(b.values[i])
		}
	}
	t.Fatalf("testdata has no %s/%s", bucket, key)
	return ""
}

// A box that was never updated since schema 1 came has such a journal. The otad
// of today opens it without a migration and goes on with what was under way.
func TestFirstSchema(t *testing.T) {
	t.Parallel()
	old := firstSchema(t)
	dir := t.TempDir()
	writeBuckets(t, filepath.Join(dir, "journal.db"), old)
	j := open(t, dir) // fails when it is taken for damaged

	got := contentOf(t, j)
	r, b := got.State.Update, got.State.Box
	if r.ID != "NOW" || r.Phase != ota.PhaseDownloading || r.By != "mqtt:c7" || !r.Force || r.Consent != ota.ConsentAccepted ||
		r.Download.SyncedBytes != 1<<20 || r.Download.Validator != `"e1"` || r.Attempts != 1 || !r.ChangedAt.Equal(testTime) {
		t.Errorf("the record is %+v", r)
	}
	if b.Floor != "1.0" || !b.LastGood.Equal(testTime) || len(b.Bad) != 2 || b.Last == nil || b.Last.ID != "OLD2" || b.BootID != "boot-1" {
		t.Errorf("the box is %+v", b)
	}
	for _, key := range []string{ota.Offer{VersionName: "v9", URL: "http://host/9.swu"}.Key(), ota.Offer{File: "/media/usb/9.swu"}.Key()} {
		if _, is := b.IsBad(key, testTime); !is {
			t.Errorf("the bad offer %q is forgotten", key)
		}
	}
	if len(got.History) != 2 || got.History[0].ID != "OLD2" || got.History[0].Failure.Code != ota.CodeUnhealthy || got.History[1].Result != ota.PhaseConfirmed {
		t.Errorf("the history is %+v", got.History)
	}
	if len(got.Pending) != 2 || got.Pending[0].Seq != 2 || !got.Pending[0].Outcome || string(got.Pending[1].Payload) != `{"n":3}` || !got.Seen {
		t.Errorf("the outbox is %+v, the command was seen: %v", got.Pending, got.Seen)
	}

	// What was added since is optional: it is written only where it is used. (The
	// offset of the clock is not kept any more.)
	for key, v := range map[string]any{"update": r, "box": b} {
		want := strings.Replace(valueOf(t, old, "state", key), `"offset":1500000000,`, "", 1)
		if now, err := json.Marshal(v); err != nil || string(now) != want {
			t.Errorf("%s is written as\n%s\nand was\n%s", key, now, want)
		}
	}

	next, act := ota.Next(r, ota.Booted{BootID: "boot-2", Slot: "a"})
	if next.Phase != ota.PhaseDownloading || act != ota.ActDownload {
		t.Errorf("it goes on with %s, %v", next.Phase, act)
	}
	next, _ = ota.Next(next, ota.Fetched{File: "/staging/NOW.swu"})
	deed, report := ota.Deed{Verb: "check", OK: true}, ota.Report{Type: "app_start"}
	commit(t, j, Change{Update: &next, Events: []Event{event(4, false)}, Deed: &deed, Boot: "boot-2", Reports: []ota.Report{report}})
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	again := contentOf(t, open(t, dir))
	if again.State.Update != next || again.State.ReportedBoot != "boot-2" || len(again.History) != 2 ||
		len(again.Pending) != 3 || again.Pending[2].Seq != 4 {
		t.Errorf("afterwards it holds %+v", again)
	}
}

// A box that goes back to an older otad, whose journal is of a newer schema,
// keeps that file for the way forth and says why.
func TestOtherSchemas(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		schema []byte
		want   string
	}{
		{"newer", number(schema + 1), fmt.Sprintf("its schema is %d and this otad knows %d: a newer otad wrote it", schema+1, schema)},
		{"none like it", number(0), "its schema is 0, and there is none before 1"},
		{"no number", []byte{1}, "its schema 01 is no number"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			list := firstSchema(t)
			for _, b := range list {
				if b.name == "meta" {
					b.values[slices.IndexFunc(b.keys, func(k []byte) bool { return string(k) == "schema" })] = tt.schema
				}
			}
			path := filepath.Join(t.TempDir(), "journal.db")
			writeBuckets(t, path, list)
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			recovery := survive(t, tt.name, data)
			if recovery == nil || recovery.Cause.Error() != tt.want {
				t.Errorf("got %+v, want %q", recovery, tt.want)
			}
		})
	}
}
