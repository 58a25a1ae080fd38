package agent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"otad/agent/config"
	"otad/agent/report"
	"otad/ota"
	"otad/ota/durable"
	"otad/ota/journal"
)

// wear counts what otad itself writes to the flash, the artifact and the slot
// aside: pages of the journal that are not what they were, and bytes that go to
// other files of the state directory. What a file system adds is not in it.
type wear struct {
	mu        sync.Mutex
	file      string // the journal
	dir       string // of the state
	connected bool   // a broker takes each event at once
	last      []byte // of the journal
	commits   int
	journal   int64 // bytes
	floor     int64 // bytes, of the file beside the journal
	others    int64
}

func wearOf(b *testBox, connected bool) *wear {
	return &wear{file: filepath.Join(b.config.State.Dir, journalName), dir: b.config.State.Dir, connected: connected}
}

// begin forgets what was counted so far.
func (w *wear) begin(t *testing.T) {
	t.Helper()
	data, err := os.ReadFile(w.file)
	must(t, err)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.last, w.commits, w.journal, w.floor, w.others = data, 0, 0, 0, 0
}

// count adds the pages that were written since.
func (w *wear) count() error {
	data, err := os.ReadFile(w.file)
	if err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for at := 0; at < len(data); at += journalPage {
		page := data[at:min(len(data), at+journalPage)]
		if at >= len(w.last) && len(bytes.Trim(page, "\x00")) == 0 {
			continue // the file grew ahead
		}
		if at >= len(w.last) || !bytes.Equal(page, w.last[at:min(len(w.last), at+journalPage)]) {
			w.journal += int64(len(page))
		}
	}
	w.last = data
	return nil
}

// watch makes a count.
func (w *wear) watch(a *Agent) *Agent {
	a.Journal, a.FS = &wornJournal{journalOf(a), w}, wornFS{durable.OS, w}
	return a
}

type wornJournal struct {
	*journal.Journal
	wear *wear
}

func (j *wornJournal) Commit(c journal.Change) error {
	err := j.Journal.Commit(c)
	j.wear.mu.Lock()
	j.wear.commits++
	j.wear.mu.Unlock()
	err = errors.Join(err, j.wear.count())
	if err != nil || !j.wear.connected || len(c.Events) == 0 {
		return err
	}
	waiting, err := j.Pending(journal.MaxOutbox)
	for _, e := range waiting {
		err = errors.Join(err, j.Delivered(e.Seq), j.wear.count())
	}
	return err
}

type wornFS struct {
	durable.FS
	wear *wear
}

func (f wornFS) OpenFile(name string, flag int, perm fs.FileMode) (durable.File, error) {
	file, err := f.FS.OpenFile(name, flag, perm)
	if err != nil || !strings.HasPrefix(name, f.wear.dir) {
		return file, err
	}
	return wornFile{file, f.wear}, nil
}

type wornFile struct {
	durable.File
	wear *wear
}

func (f wornFile) Write(p []byte) (int, error) {
	n, err := f.File.Write(p)
	f.add(n)
	return n, err
}

func (f wornFile) WriteAt(p []byte, at int64) (int, error) {
	n, err := f.File.WriteAt(p, at)
	f.add(n)
	return n, err
}

func (f wornFile) add(n int) {
	f.wear.mu.Lock()
	defer f.wear.mu.Unlock()
	if strings.HasPrefix(filepath.Base(f.Name()), floorFile) {
		f.wear.floor += int64(n)
	} else {
		f.wear.others += int64(n)
	}
}

// longUsed fills the journal as years do: a commit writes the pages of the
// buckets that it changes.
func longUsed(t *testing.T, b *testBox) {
	t.Helper()
	must(t, os.MkdirAll(b.config.State.Dir, 0o755))
	j, _, err := journal.Open(filepath.Join(b.config.State.Dir, journalName), time.Now())
	must(t, err)
	for n := range journal.MaxHistory {
		must(t, j.Commit(journal.Change{
			Command: fmt.Sprint("command ", n), Deed: &ota.Deed{Verb: "check", By: "mqtt", OK: true},
			Ended: &ota.Outcome{ID: fmt.Sprint("U", n), Result: ota.PhaseConfirmed, Slot: "a", By: "poll",
				Offer: ota.Offer{VersionCode: 1, VersionName: "v1", URL: "https://firmware.example/stv1/v1.swu", Prompt: strings.Repeat("news ", 20)}},
		}))
	}
	must(t, j.Close())
}

// Flash wear of one update, from idle over two restarts to confirmed, with as
// many checkpoints as an artifact of 512 MiB makes. docs/reliability.md has the
// figures.
func TestWearOfAnUpdate(t *testing.T) {
	t.Parallel()
	const artifactBytes = 512 << 20
	for _, tt := range []struct {
		name      string
		connected bool
		atMost    int64 // bytes of the journal
	}{
		{"alone", false, 768 << 10},
		{"with a broker", true, 896 << 10},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			b := newTestBox(t)
			longUsed(t, b)
			checkpoints := 0
			offer := b.publish(system{code: 2, health: "exit 0"})
			b.server.fetch = func(_ context.Context, f Fetch) error {
				for at := int64(b.config.Download.Checkpoint); at < artifactBytes; at += int64(b.config.Download.Checkpoint) {
					checkpoints++
					if err := f.Save(ota.Checkpoint{URL: f.URL, Validator: `"0123456789abcdef"`, SyncedBytes: at, TotalBytes: artifactBytes}); err != nil {
						return err
					}
				}
				return os.WriteFile(f.Path, b.server.files[offer.URL], 0o644)
			}
			w := wearOf(b, tt.connected)
			w.begin(t)
			for done := false; !done; {
				a := w.watch(b.boot())
				var s report.State
				s, done = b.until(t.Context(), a, ended(2))
				must(t, a.Journal.(*wornJournal).Close())
				must(t, w.count()) // closing and opening write nothing, or it counts
				if done && s.Last.Result != ota.PhaseConfirmed {
					t.Fatalf("the update ended as %+v", s.Last)
				}
			}
			t.Logf("%d commits, %d of them checkpoints: %d bytes of the journal, %d of the floor, %d of other files",
				w.commits, checkpoints, w.journal, w.floor, w.others)
			if checkpoints == 0 || w.journal == 0 || w.floor == 0 {
				t.Fatal("nothing was counted")
			}
			if commits := checkpoints + 24; w.commits > commits || w.journal > tt.atMost || w.floor > 64 || w.others != 0 {
				t.Errorf("want at most %d commits, %d bytes of the journal, 64 of the floor, none of other files", commits, tt.atMost)
			}
		})
	}
}

// Flash wear of a day on which nothing changes: a box that asks four times and
// has nothing to do writes nothing at all. An artifact that came damaged is tried
// once a day.
func TestWearOfAnIdleDay(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		server func(b *testBox)
		phase  ota.Phase
		atMost int64 // bytes of the journal
	}{
		{"nothing new", func(*testBox) {}, ota.PhaseIdle, 0},
		{"no answer", func(b *testBox) { b.server.err = ota.NewTransient(ota.CodeNoAnswer, errors.New("no route")) }, ota.PhaseIdle, 0},
		{"an offer that is bad for good", func(b *testBox) {
			var foreign bytes.Buffer
			must(b.t, b.authority.Pack(&foreign, "another-model", "2", strings.NewReader("an image")))
			b.server.set(b.publish(system{code: 2}), foreign.Bytes())
		}, ota.PhaseIdle, 0},
		{"an offer that came damaged", func(b *testBox) {
			b.server.set(b.publish(system{code: 2}), []byte("no artifact"))
		}, ota.PhaseIdle, 192 << 10},
		{"an offer that waits for the viewer", func(b *testBox) {
			offer := b.publish(system{code: 2})
			offer.Type = ota.UpgradePrompt
			b.server.set(offer, b.server.files[offer.URL])
		}, ota.PhaseOffered, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			synctest.Test(t, func(t *testing.T) {
				b := newTestBoxIn(t, dir)
				b.config.Policy.CheckEvery = config.Duration(6 * time.Hour)
				tt.server(b)
				w := wearOf(b, false)
				a := w.watch(b.boot())
				ctx, cancel := context.WithCancel(context.Background())
				ended := make(chan error, 1)
				go func() { ended <- a.Run(ctx) }()
				defer func() { cancel(); <-ended; must(t, a.Journal.(*wornJournal).Close()) }()
				time.Sleep(7 * time.Hour) // the start, the first check, the end of the probation
				synctest.Wait()
				s := a.State()
				if s.Phase != tt.phase {
					t.Fatalf("the box is %s (%+v), want %s", s.Phase, s.Last, tt.phase)
				}
				if s.Last != nil {
					t.Logf("the offer was given up: %s", s.Last.Failure.Code)
				}
				w.begin(t)
				asked := b.server.asked()
				time.Sleep(24 * time.Hour)
				synctest.Wait()
				asked = b.server.asked() - asked
				must(t, w.count())
				t.Logf("%d checks, %d commits: %d bytes of the journal, %d of the floor, %d of other files", asked, w.commits, w.journal, w.floor, w.others)
				if tt.phase == ota.PhaseIdle && asked < 3 {
					t.Errorf("asked %d times a day", asked)
				}
				if w.journal > tt.atMost || tt.atMost == 0 && w.commits != 0 || w.floor != 0 || w.others != 0 {
					t.Errorf("want at most %d bytes of the journal, none of other files", tt.atMost)
				}
			})
		})
	}
}
