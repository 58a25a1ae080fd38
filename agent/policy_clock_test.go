package agent

import (
	"errors"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"otad/ota"
	"otad/ota/journal"
)

// notedJournal keeps the record that was committed last, unless it is broken.
type notedJournal struct {
	Journal
	kept ota.Record
	err  error
}

func (j *notedJournal) Commit(c journal.Change) error {
	if j.err == nil {
		j.kept = *c.Update
	}
	return j.err
}

// A clock is set, drifts, or is lost while spans of the record run. Every row
// says what becomes of a span of three hours that began an hour before the first
// look, when it is looked at again after real time has passed.
func TestSettleClock(t *testing.T) {
	t.Parallel()
	const span = 3 * time.Hour
	for _, tt := range []struct {
		name   string
		begins time.Duration // of the span, from the first look; -1h when 0
		passes time.Duration // on no clock that can be set
		jumps  time.Duration // of the wall clock, just before the second look
		left   time.Duration // of the span
		moved  time.Duration // the begin of the span
	}{
		{name: "nothing happens", passes: time.Hour, left: time.Hour},
		{name: "it drifts back", passes: time.Hour, jumps: -jumpBack, left: time.Hour + jumpBack},
		{name: "set back", passes: time.Hour, jumps: -jumpBack - time.Second, left: time.Hour, moved: -jumpBack - time.Second},
		{name: "set back by years", passes: time.Hour, jumps: -30 * 365 * 24 * time.Hour, left: time.Hour, moved: -30 * 365 * 24 * time.Hour},
		{name: "the box slept", passes: time.Minute, jumps: time.Hour, left: time.Hour - time.Minute},
		{name: "the box slept a day", passes: time.Minute, jumps: jumpAhead, left: 0},
		{name: "set ahead", passes: time.Hour, jumps: jumpAhead + time.Second, left: time.Hour, moved: jumpAhead + time.Second},
		{name: "set ahead by years", passes: time.Hour, jumps: 30 * 365 * 24 * time.Hour, left: time.Hour, moved: 30 * 365 * 24 * time.Hour},
		{name: "set back at its end", passes: 2 * time.Hour, jumps: -48 * time.Hour, left: 0, moved: -48 * time.Hour},
		{name: "begun in the future", begins: 48 * time.Hour, passes: time.Hour, left: span},
		{name: "begun in the future, then set right", begins: 48 * time.Hour, passes: time.Hour, jumps: 48 * time.Hour, left: 2 * time.Hour},
		{name: "begun in the future, a day is not over", begins: 48 * time.Hour, passes: settleTime - time.Second, left: span},
		{name: "begun in the future, for a day", begins: 48 * time.Hour, passes: settleTime, left: span, moved: settleTime - 48*time.Hour},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var set time.Duration
				begin := time.Now().Add(-time.Hour)
				if tt.begins != 0 {
					begin = time.Now().Add(tt.begins)
				}
				begin = begin.Round(0)
				j := &notedJournal{}
				a := &Agent{Parts: Parts{Journal: j, Log: slog.New(slog.DiscardHandler),
					Clock: &Clock{Local: func() time.Time { return time.Now().Round(0).Add(set) }}}}
				a.rec = ota.Record{ID: "one", Phase: ota.PhaseOffered, Wait: ota.Wait{
					AskedAt: begin, Deferral: ota.Deferral{At: begin, For: span, Count: 1, Total: span}, CountdownAt: begin}}
				j.kept = a.rec
				if !a.settleClock() {
					t.Fatal("the first look fails")
				}
				time.Sleep(tt.passes)
				set = tt.jumps
				if !a.settleClock() {
					t.Fatal("the second look fails")
				}
				wait := a.rec.Wait
				if left := wait.Deferral.Left(a.Clock.Now()); left != tt.left {
					t.Errorf("%v are left, want %v", left, tt.left)
				}
				for name, at := range map[string]time.Time{"question": wait.AskedAt, "deferral": wait.Deferral.At, "countdown": wait.CountdownAt} {
					if moved := at.Sub(begin); moved != tt.moved {
						t.Errorf("the begin of the %s moved by %v, want %v", name, moved, tt.moved)
					}
				}
				if j.kept != a.rec {
					t.Errorf("the journal has %+v, the loop %+v", j.kept.Wait, wait)
				}
				if !a.settleClock() || a.rec.Wait != wait {
					t.Error("looked at once more, it moves again")
				}
			})
		})
	}
}

// What cannot be journalled has not happened: the jump is not made in memory
// alone.
func TestSettleClockWithABrokenJournal(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var set time.Duration
		j := &notedJournal{}
		a := &Agent{Parts: Parts{Journal: j, Log: slog.New(slog.DiscardHandler),
			Clock: &Clock{Local: func() time.Time { return time.Now().Round(0).Add(set) }}}}
		a.rec = ota.Record{ID: "one", Phase: ota.PhaseOffered, Wait: ota.Wait{AskedAt: time.Now().Round(0)}}
		before := a.rec
		if !a.settleClock() {
			t.Fatal("the first look fails")
		}
		time.Sleep(time.Minute)
		set, j.err = 48*time.Hour, errors.New("I/O error")
		if a.settleClock() || a.rec != before {
			t.Errorf("the span moved to %v, which is on no record", a.rec.Wait.AskedAt)
		}
		j.err = nil
		time.Sleep(time.Minute)
		if !a.settleClock() || a.rec.Wait.AskedAt.Sub(before.Wait.AskedAt) != set {
			t.Errorf("the journal works again, and the span moved by %v, not by %v", a.rec.Wait.AskedAt.Sub(before.Wait.AskedAt), set)
		}
	})
}
