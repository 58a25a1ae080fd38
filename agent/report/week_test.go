package report

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"otad/ota"
	"otad/ota/journal"
	"otad/transport"
)

// unsure is a broker whose link falls around publishes: before the message gets
// through, or after it did and before that was acknowledged.
type unsure struct {
	mu     sync.Mutex
	away   bool
	calls  int
	before map[int]bool // calls that get lost
	after  map[int]bool // calls whose acknowledgement gets lost
	got    []Event
	up     chan struct{}
}

func (b *unsure) Connected() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return !b.away
}

func (b *unsure) Publish(_ context.Context, m transport.Message) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.away {
		return transport.ErrOffline
	}
	if m.Topic != topicsOfWeek.Event() {
		return nil
	}
	b.calls++
	if b.before[b.calls] {
		b.comeBack()
		return transport.ErrOffline
	}
	var e Event
	if err := json.Unmarshal(m.Payload, &e); err != nil {
		return err
	}
	b.got = append(b.got, e)
	if b.after[b.calls] {
		b.comeBack()
		return transport.ErrOffline
	}
	return nil
}

// comeBack rings as the transport does when the next connection is up.
func (b *unsure) comeBack() {
	select {
	case b.up <- struct{}{}:
	default:
	}
}

// once is what came, each id once; it fails the test when that is out of order.
func (b *unsure) once(t *testing.T) (outcomes []string, all int) {
	t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	seen := map[string]bool{}
	last := uint64(0)
	for _, e := range b.got {
		if seen[e.ID] {
			continue
		}
		if e.Seq <= last {
			t.Errorf("event %d comes after %d", e.Seq, last)
		}
		seen[e.ID], last = true, e.Seq
		if e.Type == EventOutcome {
			outcomes = append(outcomes, e.Update)
		}
	}
	return outcomes, len(seen)
}

var topicsOfWeek = Topics{"otad", "stv1", "dev1"}

// publishing runs a publisher on a journal of its own, in a bubble of synctest.
func publishing(t *testing.T, b *unsure) (j *journal.Journal, file string, stop func()) {
	t.Helper()
	file = filepath.Join(t.TempDir(), "journal.db")
	j, _, err := journal.Open(file, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	b.up = make(chan struct{}, 1)
	p := &Publisher{Broker: b, Outbox: j, Source: &source{changed: make(chan struct{}, 1)}, Topics: topicsOfWeek,
		Log: slog.New(slog.DiscardHandler), Up: b.up}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); p.Run(ctx) }()
	return j, file, func() {
		cancel()
		<-ended
		if err := j.Close(); err != nil {
			t.Error(err)
		}
	}
}

// journalUpdate journals the events of one update, as the agent does.
func journalUpdate(t *testing.T, j *journal.Journal, id string, phases ...ota.Phase) {
	t.Helper()
	note := func(e Event, ended *ota.Outcome) {
		e.V, e.ID, e.Update = Version, fmt.Sprint(id, " ", e.Type, " ", e.Phase), id
		payload, err := json.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		if err := j.Commit(journal.Change{Ended: ended, Events: []journal.Event{{Payload: payload, Outcome: ended != nil}}}); err != nil {
			t.Fatal(err)
		}
	}
	for _, p := range phases {
		note(Event{Type: EventPhase, Phase: p}, nil)
	}
	note(Event{Type: EventOutcome}, &ota.Outcome{ID: id, Result: ota.PhaseConfirmed})
}

// A broker that is away for a week of updates, one every two hours, gets every
// outcome when it is back, in order; what waits on the box has its bounds.
func TestBrokerIsAwayForAWeek(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := &unsure{away: true}
		j, file, stop := publishing(t, b)
		defer stop()
		var want []string
		var half int64
		for n := range 7 * 12 {
			want = append(want, fmt.Sprintf("update-%02d", n))
			journalUpdate(t, j, want[n], ota.PhaseDownloading, ota.PhaseInstalling, ota.PhaseTrial, ota.PhaseConfirmed)
			time.Sleep(2 * time.Hour)
			if n == 60 { // more than the outbox holds
				half = sizeOf(t, file)
			}
		}
		waiting, err := j.Pending(10_000)
		if err != nil || len(waiting) != journal.MaxOutbox {
			t.Errorf("%d events wait, %v; want %d", len(waiting), err, journal.MaxOutbox)
		}
		if end := sizeOf(t, file); end > half {
			t.Errorf("the journal still grows: %d, then %d bytes", half, end)
		}
		b.mu.Lock()
		b.away = false
		b.after = map[int]bool{3: true, 100: true}
		b.before = map[int]bool{50: true}
		b.mu.Unlock()
		b.comeBack()
		time.Sleep(time.Hour)
		synctest.Wait()
		outcomes, all := b.once(t)
		if !slices.Equal(outcomes, want) || all != journal.MaxOutbox {
			t.Errorf("%d events came, with the outcomes %v", all, outcomes)
		}
		if left, err := j.Pending(1); err != nil || len(left) != 0 {
			t.Errorf("still waiting: %v, %v", left, err)
		}
	})
}

func sizeOf(t *testing.T, file string) int64 {
	t.Helper()
	info, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	return info.Size()
}

// Wherever in an update the link falls, before a message is through or before
// its acknowledgement is, every event arrives once in effect and in order.
func TestLinkFallsAtEveryEvent(t *testing.T) {
	t.Parallel()
	phases := []ota.Phase{ota.PhaseOffered, ota.PhaseDownloading, ota.PhaseDownloaded, ota.PhaseInstalling, ota.PhaseInstalled,
		ota.PhaseArmed, ota.PhaseTrial, ota.PhaseConfirmed}
	for at := 1; at <= len(phases)+1; at++ {
		for _, b := range []*unsure{{before: map[int]bool{at: true}}, {after: map[int]bool{at: true}},
			{before: map[int]bool{at: true, at + 1: true}, after: map[int]bool{at + 2: true}}} {
			t.Run(fmt.Sprintf("event %d, lost %v, unacknowledged %v", at, b.before, b.after), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					j, _, stop := publishing(t, b)
					defer stop()
					b.comeBack()
					journalUpdate(t, j, "u1", phases...)
					b.comeBack()
					time.Sleep(10 * time.Minute)
					synctest.Wait()
					outcomes, all := b.once(t)
					if !slices.Equal(outcomes, []string{"u1"}) || all != len(phases)+1 {
						t.Errorf("%d events came, with the outcomes %v", all, outcomes)
					}
					if left, err := j.Pending(1); err != nil || len(left) != 0 {
						t.Errorf("still waiting: %v, %v", left, err)
					}
				})
			})
		}
	}
}
