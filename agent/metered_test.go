package agent

import (
	"context"
	"os"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"otad/agent/control"
	"otad/agent/report"
	"otad/board"
	"otad/ota"
	"otad/ota/policy"
)

// phoneLink is the board of a box whose link may cost.
type phoneLink struct {
	board.Board
	metered *atomic.Bool
}

func (b phoneLink) Metered(context.Context) (bool, error) { return b.metered.Load(), nil }

// A link becomes metered while a download runs.
func TestLinkBecomesMetered(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		how   ota.UpgradeType
		now   bool // a person says so while it rests
		rests bool
		again bool // the link is free again, after an hour
	}{
		{name: "silent", how: ota.UpgradeSilent, rests: true, again: true},
		{name: "silent, and a person says now", how: ota.UpgradeSilent, rests: true, now: true},
		{name: "forced", how: ota.UpgradeForced},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			synctest.Test(t, func(t *testing.T) {
				b := newTestBoxIn(t, dir)
				b.config.Policy.CheckEvery *= 1200 // a minute
				offer := b.publish(system{code: 2, health: "exit 0"})
				offer.Type = tt.how
				b.server.offer = offer
				data := b.server.files[offer.URL]
				half := int64(len(data) / 2)
				var begins []int64
				b.server.fetch = func(ctx context.Context, f Fetch) error {
					begins = append(begins, f.From.SyncedBytes)
					if err := f.Save(ota.Checkpoint{URL: f.URL, SyncedBytes: max(half, f.From.SyncedBytes), TotalBytes: int64(len(data))}); err != nil {
						return err
					}
					if !sleep(ctx, 10*time.Minute) {
						return ctx.Err()
					}
					return os.WriteFile(f.Path, data, 0o644)
				}
				a := b.boot()
				defer func() { must(t, journalOf(a).Close()) }()
				var metered atomic.Bool
				a.Board = phoneLink{a.Board, &metered}
				until := make(chan report.State, 1)
				go func() {
					s, _ := b.until(t.Context(), a, func(s report.State) bool { return false })
					until <- s
				}()
				for a.State().Phase != ota.PhaseDownloading {
					time.Sleep(time.Second)
				}
				metered.Store(true)
				time.Sleep(2 * time.Minute)
				if s := a.State(); (s.Why == string(policy.WhyMetered)) != tt.rests || s.Phase != ota.PhaseDownloading {
					t.Errorf("two minutes after: %s, %q", s.Phase, s.Why)
				}
				time.Sleep(time.Hour)
				if rests := a.State().Phase == ota.PhaseDownloading; rests != tt.rests {
					t.Errorf("an hour after: %s", a.State().Phase)
				}
				if tt.now {
					do(t, a, control.Request{Verb: control.Upgrade, Args: control.Args{Now: true}})
				}
				metered.Store(!tt.again && metered.Load())
				<-until
				want := 1
				if tt.rests {
					want = 2
				}
				if len(begins) != want || begins[want-1] != half*int64(want-1) {
					t.Errorf("the downloads began at %d", begins)
				}
				if a.rec.Attempts != 0 || a.rec.Phase != ota.PhaseArmed {
					t.Errorf("in the end: %s, %d attempts", a.rec.Phase, a.rec.Attempts)
				}
			})
		})
	}
}
