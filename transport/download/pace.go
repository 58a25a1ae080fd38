package download

import (
	"context"
	"time"
)

const (
	// paceSlice bounds one sleep, so that a new limit is heard soon.
	paceSlice = 200 * time.Millisecond
	// paceCredit bounds how much unused time may be caught up with later.
	paceCredit = 250 * time.Millisecond
)

// pace keeps a transfer to a rate that may change at any time.
type pace struct {
	limit func() int64 // bytes per second, 0 for unlimited
	paid  time.Time    // up to when bytes were accounted for
}

// wait returns when n more bytes are within the rate.
func (p *pace) wait(ctx context.Context, n int64) error {
	for debt := float64(n); ; {
		rate, now := p.limit(), time.Now()
		if rate <= 0 {
			p.paid = now
			return nil
		}
		if oldest := now.Add(-paceCredit); p.paid.Before(oldest) {
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
		case <-time.After(min(due.Sub(now), paceSlice)):
		}
	}
}
