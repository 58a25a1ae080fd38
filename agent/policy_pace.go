package agent

import (
	"context"
	"time"

	"otad/board"
	"otad/ota/install"
	"otad/ota/pace"
)

// limitAge is how long an answer of the board is good enough for a rate.
const limitAge = time.Second

// writeLimit is the rate at which the flash may be written now.
func (a *Agent) writeLimit(ctx context.Context) func() int64 {
	c := a.Config.Install
	var asked time.Time
	limit := int64(c.LimitIdle)
	return func() int64 {
		if c.LimitBusy == c.LimitIdle || time.Since(asked) < limitAge {
			return limit
		}
		asked, limit = time.Now(), int64(c.LimitIdle)
		if use, err := board.UsageOf(ctx, a.Board); err != nil || use.Busy != "" {
			limit = int64(c.LimitBusy)
		}
		return limit
	}
}

// pacedSlot is a slot that is written no faster than the viewer can bear.
type pacedSlot struct {
	board.Medium
	ctx  context.Context
	pace pace.Pace
}

func (a *Agent) paced(ctx context.Context, slot board.Medium) *pacedSlot {
	return &pacedSlot{Medium: slot, ctx: ctx, pace: pace.Pace{Limit: a.writeLimit(ctx)}}
}

// WriteAt waits before it writes; it fails when its context ends.
func (s *pacedSlot) WriteAt(p []byte, off int64) (int, error) {
	if err := s.pace.Wait(s.ctx, int64(len(p))); err != nil {
		return 0, err
	}
	return s.Medium.WriteAt(p, off)
}

// Forget implements [install.Forgetter], if the slot does.
func (s *pacedSlot) Forget(off, length int64) error {
	if f, ok := s.Medium.(install.Forgetter); ok {
		return f.Forget(off, length)
	}
	return nil
}
