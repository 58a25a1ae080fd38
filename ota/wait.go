package ota

import "time"

// Wait is what the waiting of an update has come to: the part of the record
// that the policy reads. Spans are kept as a start and a length, so that a
// clock that jumps can shorten one, but never stretch it.
type Wait struct {
	Deferral Deferral `json:"deferral,omitzero"`
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
