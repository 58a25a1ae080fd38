// Package pace keeps work beside a running television from being noticed: a
// rate that may change while it is kept to, and a thread that gives way to all
// others.
package pace

import (
	"context"
	"time"
)

const (
	// slice bounds one sleep, so that a new limit is heard soon.
	slice = 200 * time.Millisecond
	// credit bounds how much unused time may be caught up with later.
	credit = 250 * time.Millisecond
)

// Pace keeps a flow of bytes to a rate. It is for one goroutine.
type Pace struct {
	Limit func() int64 // bytes per second that are allowed now, 0 for any
	paid  time.Time    // up to when bytes were accounted for
}

// Wait returns when n more bytes are within the rate, or when ctx ends.
func (p *Pace) Wait(ctx context.Context, n int64) error {
	for debt := float64(n); ; {
		rate, now := p.Limit(), time.Now()
		if rate <= 0 {
			p.paid = now
			return nil
		}
		if oldest := now.Add(-credit); p.paid.Before(oldest) {
			p.paid = oldest
		}
		due := p.paid.Add(time.Duration(debt / float64(rate) * float64(time.Second)))
		if !due.After(now) {
			p.paid = due
			return nil
		}
		// Pay for the time that passed, sleep a little, look at the limit again.
		if passed := now.Sub(p.paid); passed > 0 {
			debt -= passed.Seconds() * float64(rate)
			p.paid = now
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(min(due.Sub(now), slice)):
		}
	}
}
