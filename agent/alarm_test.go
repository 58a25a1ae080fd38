package agent

import (
	"testing"
	"time"
)

func TestAlarm(t *testing.T) {
	t.Parallel()
	start := time.Date(2026, 11, 22, 3, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		name string
		now  time.Time // the wall clock, no time after the alarm was set to an hour
		want time.Duration
	}{
		{"nothing happened", start, time.Hour},
		{"half the time", start.Add(30 * time.Minute), 30 * time.Minute},
		{"the box slept a night", start.Add(9 * time.Hour), 0},
		{"the clock was set from 1970", start.AddDate(50, 0, 0), 0},
		{"the clock was set back by years", start.AddDate(-4, 0, 0), time.Hour},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			now := start
			clock := &Clock{Local: func() time.Time { return now }}
			alarm := clock.alarmIn(time.Hour)
			now = c.now
			if got := clock.left(alarm).Round(time.Minute); got != c.want {
				t.Errorf("%v left, want %v", got, c.want)
			}
		})
	}
}
