package agent

import (
	"testing"
	"time"
)

// wall is a local clock that a test sets. It has no monotonic reading: set
// moves it as a clock is set, and learnt times with it.
type wall struct{ now time.Time }

func (w *wall) local() time.Time { return w.now }

func day(text string) time.Time {
	t, err := time.Parse("2006-01-02", text)
	if err != nil {
		panic(err)
	}
	return t
}

var epoch = time.Unix(0, 0).UTC()

func TestClock(t *testing.T) {
	t.Parallel()
	build, good, truth := day("2026-01-01"), day("2026-06-01"), day("2026-11-22")
	for _, tt := range []struct {
		name   string
		local  time.Time // the local clock
		floor  time.Time // last time known good, zero for none
		server time.Time // what the server's clock says, zero for no answer
		build  time.Time
		want   time.Time
	}{
		{"a good clock", truth, good, truth, build, truth},
		{"a good clock alone", truth, time.Time{}, time.Time{}, build, truth},
		{"a good clock, the server is wrong", truth, good, day("2031-01-01"), build, truth},
		{"1970 and nothing known", epoch, time.Time{}, time.Time{}, build, build},
		{"1970, a time known good", epoch, good, time.Time{}, build, good},
		{"1970, the server answers", epoch, time.Time{}, truth, build, truth},
		{"1970, the server answers, a time known good", epoch, good, truth, build, truth},
		{"1970, the server is before the build", epoch, time.Time{}, day("2020-01-01"), build, build},
		{"1970, the server is before the floor", epoch, good, day("2026-03-01"), build, good},
		{"1970, the server is in another age", epoch, good, day("2099-01-01"), build, good},
		{"behind the floor, the server answers", day("2026-02-01"), good, truth, build, truth},
		{"behind the floor, no server", day("2026-02-01"), good, time.Time{}, build, good},
		{"ahead of all", day("2030-01-01"), good, truth, build, day("2030-01-01")}, // it may be right
		{"a floor before the build", epoch, day("2025-01-01"), time.Time{}, build, build},
		{"a floor in another age", epoch, day("2099-01-01"), time.Time{}, build, build},
		{"the build is not known", epoch, time.Time{}, truth, time.Time{}, epoch},
		{"the build is not known, the floor is", epoch, good, truth, time.Time{}, truth},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := &wall{tt.local}
			c := &Clock{Local: w.local, Build: tt.build}
			c.seen(tt.floor)
			if !tt.server.IsZero() {
				c.learn(tt.server.Sub(tt.local))
			}
			if got := c.Now(); !got.Equal(tt.want) {
				t.Fatalf("got %v, want %v", got, tt.want)
			}
			w.now = w.now.Add(time.Hour)
			want := tt.want.Add(time.Hour)
			if tt.want.Equal(tt.build) {
				want = tt.want // the build stands still
			}
			if got := c.Now(); !got.Equal(want) {
				t.Errorf("an hour later: got %v, want %v", got, want)
			}
		})
	}
}

// The local clock is set while the agent runs.
func TestClockIsSet(t *testing.T) {
	t.Parallel()
	build, good, truth := day("2026-01-01"), day("2026-06-01"), day("2026-11-22")
	w := &wall{epoch}
	c := &Clock{Local: w.local, Build: build}
	c.seen(good)
	c.learn(truth.Sub(epoch))
	for _, step := range []struct {
		name  string
		local time.Time
		want  time.Time
	}{
		{"as it started", epoch, truth},
		{"set right", truth.Add(time.Minute), truth.Add(time.Minute)},
		{"set ahead", day("2028-01-01"), day("2028-01-01")},
		{"set right again", truth.Add(2 * time.Minute), truth.Add(2 * time.Minute)},
		{"back to the start", epoch, truth},
		{"before the start", epoch.AddDate(-1, 0, 0), truth},
	} {
		w.now = step.local
		// Without a monotonic reading the learnt times move with the wall, so
		// what is ahead is only bounded from below here.
		if got := c.Now(); got.Before(step.want) {
			t.Errorf("%s: got %v, want %v", step.name, got, step.want)
		}
	}
}

// With a monotonic reading, setting the wall clock moves nothing that was learnt.
func TestClockMonotonic(t *testing.T) {
	t.Parallel()
	start := time.Now()
	c := &Clock{Local: time.Now, Build: start.AddDate(1, 0, 0)} // the local clock is a year behind
	c.learn(2 * 365 * 24 * time.Hour)
	first := c.Now()
	if d := first.Sub(start.Add(2 * 365 * 24 * time.Hour)); d < 0 || d > time.Minute {
		t.Errorf("off by %v", d)
	}
	if second := c.Now(); second.Before(first) {
		t.Errorf("%v after %v", second, first)
	}
}

func TestFloorNeverGoesBack(t *testing.T) {
	t.Parallel()
	good := day("2026-06-01")
	w := &wall{epoch}
	c := &Clock{Local: w.local, Build: day("2026-01-01")}
	c.seen(good)
	w.now = epoch.Add(48 * time.Hour)
	c.seen(good.Add(time.Hour)) // later than what was seen, earlier than it is now
	if got, want := c.Now(), good.Add(48*time.Hour); !got.Equal(want) {
		t.Errorf("got %v, want %v", got, want)
	}
	c.seen(day("2025-01-01"))
	c.seen(time.Time{})
	if got, want := c.Now(), good.Add(48*time.Hour); !got.Equal(want) {
		t.Errorf("got %v, want %v", got, want)
	}
	w.now = epoch // set back: the floor stands
	if got := c.Now(); got.Before(good) {
		t.Errorf("got %v, before %v", got, good)
	}
}

func TestClockIsLocal(t *testing.T) {
	t.Parallel()
	zone := time.FixedZone("box", 3600)
	w := &wall{epoch.In(zone)}
	c := &Clock{Local: w.local, Build: day("2026-01-01")}
	if got := c.Now().Location(); got != zone {
		t.Errorf("got %v: windows are in local time", got)
	}
}
