package ota

import "time"

// Wait is what the waiting of an update has come to: the part of the record
// that the policy reads. Spans are kept as their start, so that a clock that
// jumps can shorten one, but never stretch it.
type Wait struct {
	AskedAt  time.Time `json:"asked_at,omitzero"`  // when the viewer's answer was first waited for
	Prompted bool      `json:"prompted,omitempty"` // the viewer saw the question and did not answer
	Deferral Deferral  `json:"deferral,omitzero"`
	// CountdownAt is when the countdown of a forced update began, Notice the
	// last of its notices that was given: so much time before its end.
	CountdownAt time.Time     `json:"countdown_at,omitzero"`
	Notice      time.Duration `json:"notice,omitempty"`
}

// Deferral is how often and how long the viewer said: later.
type Deferral struct {
	At    time.Time     `json:"at,omitzero"` // of the last time
	For   time.Duration `json:"for,omitempty"`
	Count int           `json:"count,omitempty"`
	Total time.Duration `json:"total,omitempty"` // of all; what was cut short counts as far as it went
}

// Left is how long the deferral still holds at now: never longer than it was
// asked for, whatever became of the clock.
func (d Deferral) Left(now time.Time) time.Duration {
	return max(0, min(d.For, d.At.Add(d.For).Sub(now)))
}

// Again is d after another deferral at now, which takes the place of one that
// still holds.
func (d Deferral) Again(now time.Time, length time.Duration) Deferral {
	return Deferral{At: now, For: length, Count: d.Count + 1, Total: d.Total - d.Left(now) + length}
}

// Moved is w after the clock was set by jump at the time before (as it was):
// its spans go on as if it had not been. A start that is later than before was
// taken from a better clock, and stays.
func (w Wait) Moved(before time.Time, jump time.Duration) Wait {
	for _, start := range []*time.Time{&w.AskedAt, &w.Deferral.At, &w.CountdownAt} {
		if !start.IsZero() && !start.After(before) {
			*start = start.Add(jump)
		}
	}
	return w
}

// Begun is w at now with no span that begins later: the clock will not come
// right any more.
func (w Wait) Begun(now time.Time) Wait {
	for _, start := range []*time.Time{&w.AskedAt, &w.Deferral.At, &w.CountdownAt} {
		if start.After(now) {
			*start = now
		}
	}
	return w
}
