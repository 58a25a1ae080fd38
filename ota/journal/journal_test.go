package journal

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"otad/ota"
)

var testTime = time.Date(2026, 3, 1, 2, 0, 0, 0, time.UTC)

// open opens the journal in dir, which must be whole, for the time of the test.
func open(t *testing.T, dir string) *Journal {
	t.Helper()
	j, recovery, err := Open(filepath.Join(dir, "journal.db"), testTime)
	if err != nil || recovery != nil {
		t.Fatalf("open: %+v, %v", recovery, err)
	}
	t.Cleanup(func() { j.Close() })
	return j
}

func commit(t *testing.T, j *Journal, c Change) {
	t.Helper()
	if err := j.Commit(c); err != nil {
		t.Fatal(err)
	}
}

func event(n int, outcome bool) Event {
	return Event{Payload: json.RawMessage(fmt.Sprintf(`{"n":%d}`, n)), Outcome: outcome}
}

func pending(t *testing.T, j *Journal) []Entry {
	t.Helper()
	list, err := j.Pending(2 * MaxOutbox)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func TestFreshJournal(t *testing.T) {
	t.Parallel()
	j := open(t, filepath.Join(t.TempDir(), "not", "there", "yet"))
	s, err := j.Load()
	if err != nil || !reflect.DeepEqual(s, State{Update: ota.Record{Phase: ota.PhaseIdle}}) {
		t.Errorf("got %+v, %v", s, err)
	}
	if h, err := j.History(10); len(h) != 0 || err != nil {
		t.Errorf("history %v, %v", h, err)
	}
}

func TestCommitAndLoad(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	j := open(t, dir)
	record := ota.Record{ID: "u1", Phase: ota.PhaseInstalling, Offer: ota.Offer{VersionCode: 1 << 60, URL: "http://h/ä"},
		Failure: &ota.Failure{Code: ota.CodeBoard, Text: "line\none"}, StartedAt: testTime, Attempts: 3}
	box := ota.Box{Floor: "1.2", LastGood: testTime, Bad: []ota.BadOffer{{Key: "2.0\x00http://h", Code: ota.CodeUnhealthy}}}
	commit(t, j, Change{Update: &record})
	commit(t, j, Change{Box: &box, Events: []Event{event(1, false)}, Command: "c1"})
	check := func(j *Journal) {
		t.Helper()
		s, err := j.Load()
		if err != nil || !reflect.DeepEqual(s, State{Update: record, Box: box}) {
			t.Errorf("got %+v, %v", s, err)
		}
		if seen, err := j.CommandSeen("c1"); !seen || err != nil {
			t.Errorf("command: %v, %v", seen, err)
		}
		if seen, _ := j.CommandSeen("c2"); seen {
			t.Error("a command that was never given is seen")
		}
		if list := pending(t, j); len(list) != 1 || string(list[0].Payload) != `{"n":1}` {
			t.Errorf("outbox %+v", list)
		}
	}
	check(j)
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	check(open(t, dir))
}

// A change that cannot be written as a whole leaves nothing behind.
func TestCommitIsAllOrNothing(t *testing.T) {
	t.Parallel()
	j := open(t, t.TempDir())
	record := ota.Record{ID: "u1", Phase: ota.PhaseArmed}
	err := j.Commit(Change{Update: &record, Command: "c1", Events: []Event{event(1, true), {Payload: json.RawMessage("{")}}})
	if f := ota.FaultOf(err); f == nil || f.Code != ota.CodeJournal || f.Class != ota.Transient {
		t.Fatalf("got %v", err)
	}
	s, _ := j.Load()
	seen, _ := j.CommandSeen("c1")
	if s.Update.ID != "" || seen || len(pending(t, j)) != 0 {
		t.Errorf("half of it is there: %+v, command %v, %d events", s.Update, seen, len(pending(t, j)))
	}
	commit(t, j, Change{Update: &record})
}

func TestOutboxOrderAndNumbers(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	j := open(t, dir)
	last := uint64(0)
	for round := range 4 {
		commit(t, j, Change{Events: []Event{event(10*round, false), event(10*round+1, false)}})
		list := pending(t, j)
		if len(list) != 2 || string(list[0].Payload) != fmt.Sprintf(`{"n":%d}`, 10*round) {
			t.Fatalf("round %d: %+v", round, list)
		}
		for _, e := range list {
			if e.Seq <= last {
				t.Errorf("round %d: number %d comes after %d", round, e.Seq, last)
			}
			last = e.Seq
			if err := j.Delivered(e.Seq); err != nil {
				t.Fatal(err)
			}
		}
		if err := j.Delivered(last); err != nil {
			t.Errorf("delivered twice: %v", err)
		}
		if err := j.Close(); err != nil {
			t.Fatal(err)
		}
		j = open(t, dir)
	}
	if first, err := j.Pending(0); len(first) != 0 || err != nil {
		t.Errorf("none asked for: %v, %v", first, err)
	}
}

func TestBounds(t *testing.T) {
	t.Parallel()
	j := open(t, t.TempDir())
	var events []Event
	for n := range MaxOutbox + 30 {
		events = append(events, event(n, n < 20)) // the oldest are outcomes
	}
	commit(t, j, Change{Events: events})
	list := pending(t, j)
	if len(list) != MaxOutbox || !list[19].Outcome || list[20].Outcome || string(list[20].Payload) != `{"n":50}` {
		t.Errorf("%d events; the outcomes must stay, the oldest others go: then %s", len(list), list[20].Payload)
	}
	events = nil
	for n := range MaxOutbox + 5 {
		events = append(events, event(1000+n, true))
	}
	commit(t, j, Change{Events: events})
	commit(t, j, Change{Events: []Event{event(9999, false)}})
	list = pending(t, j)
	if len(list) != MaxOutbox || string(list[0].Payload) != `{"n":1005}` || !list[MaxOutbox-1].Outcome {
		t.Errorf("%d events, first %s: with outcomes only, the oldest goes, and no other gets in", len(list), list[0].Payload)
	}
	for n := range MaxHistory + 3 {
		commit(t, j, Change{Ended: &ota.Outcome{ID: fmt.Sprint(n)}})
	}
	history, err := j.History(1000)
	if err != nil || len(history) != MaxHistory || history[0].ID != fmt.Sprint(MaxHistory+2) || history[MaxHistory-1].ID != "3" {
		t.Errorf("history: %d, newest %q, %v", len(history), history[0].ID, err)
	}
	if two, _ := j.History(2); len(two) != 2 || two[0].ID != history[0].ID {
		t.Errorf("two of the history: %+v", two)
	}
}

func TestCommandsAreBounded(t *testing.T) {
	t.Parallel()
	j := open(t, t.TempDir())
	j.db.NoSync = true
	for n := range MaxCommands + 1 {
		commit(t, j, Change{Command: fmt.Sprint("c", n)})
	}
	oldest, _ := j.CommandSeen("c0")
	second, _ := j.CommandSeen("c1")
	newest, _ := j.CommandSeen(fmt.Sprint("c", MaxCommands))
	if oldest || !second || !newest {
		t.Errorf("the oldest %v, the second %v, the newest %v", oldest, second, newest)
	}
}

func TestSecondOpenerIsLockedOut(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	open(t, dir)
	begin := time.Now()
	j, recovery, err := Open(filepath.Join(dir, "journal.db"), testTime)
	if f := ota.FaultOf(err); f == nil || f.Code != ota.CodeLocked || f.Class != ota.Refused || recovery != nil || j != nil {
		t.Fatalf("got %v, %+v, %v", j, recovery, err)
	}
	if took := time.Since(begin); took > 5*time.Second {
		t.Errorf("it took %v to say so", took)
	}
}

// What one commit costs the flash, in an update of usual size.
func TestBytesPerCommit(t *testing.T) {
	t.Parallel()
	j := open(t, t.TempDir())
	j.db.NoSync = true
	payload := json.RawMessage(`{"text":"` + string(make64(300)) + `"}`)
	for n := range MaxOutbox {
		commit(t, j, Change{Command: fmt.Sprint("c", n), Ended: &ota.Outcome{ID: fmt.Sprint(n)}, Events: []Event{{Payload: payload}}})
	}
	record := ota.Record{ID: "u1", Offer: ota.Offer{URL: "http://host/firmware/2.0.swu"}, StartedAt: testTime}
	for _, tt := range []struct {
		name     string
		change   Change
		maxBytes int64
	}{
		{"a checkpoint", Change{Update: &record}, 24 << 10},
		{"a phase and its event", Change{Update: &record, Events: []Event{{Payload: payload}}}, 48 << 10},
	} {
		before := j.db.Stats()
		begin := time.Now()
		const commits = 50
		for range commits {
			record.Changes++
			commit(t, j, tt.change)
		}
		after := j.db.Stats()
		each := (after.TxStats.GetPageAlloc()-before.TxStats.GetPageAlloc())/commits + int64(os.Getpagesize()) // and the meta page
		t.Logf("%s: %d bytes a commit, %v without the sync, with the outbox full", tt.name, each, time.Since(begin)/commits)
		if each > tt.maxBytes {
			t.Errorf("%s: %d bytes a commit, want at most %d", tt.name, each, tt.maxBytes)
		}
	}
	info, err := os.Stat(j.db.Path())
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("the file has %d bytes", info.Size())
	if info.Size() > 4<<20 {
		t.Errorf("the file has %d bytes", info.Size())
	}
}

func make64(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = 'a' + byte(i%26)
	}
	return b
}
