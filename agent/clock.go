package agent

import (
	"sync"
	"time"
)

// Clock tells the time on a box that may have none. A box without a real-time
// clock starts in 1970; certificates and windows need better. What cannot be is
// ruled out: it is not before this otad was built, and not before a time that
// was known for certain. While the local clock says so, it is not trusted, and
// the server's clock is taken in its place. Now never goes back below the build
// and the floor.
//
// Times that were learnt move on with the monotonic reading of the local clock,
// so that setting it does not move them.
type Clock struct {
	Local func() time.Time // time.Now
	Build time.Time        // when this otad was built

	mu     sync.Mutex
	floor  anchor // last time known good
	server anchor // the server's time, while the local clock is not to be trusted
}

// anchor is a time that was learnt, and what the local clock said then. The
// zero anchor is none.
type anchor struct{ at, local time.Time }

// now is the anchor moved on to the local time.
func (a anchor) now(local time.Time) time.Time {
	if a.at.IsZero() {
		return time.Time{}
	}
	return a.at.Add(max(0, local.Sub(a.local)))
}

// maxAhead bounds what an unauthenticated server may claim, and what is
// believed of the past: a clock set far ahead would make every certificate
// expire.
const maxAhead = 20 * 365 * 24 * time.Hour

// Now is the best time known, in the local zone.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	local := c.Local()
	now, least := local, c.least(local)
	if local.Before(least) {
		now = latest(least, c.server.now(local))
	}
	return now.In(local.Location())
}

// least is what it is at the least.
func (c *Clock) least(local time.Time) time.Time { return latest(c.Build, c.floor.now(local)) }

func latest(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// reasonable tells whether it could be t.
func (c *Clock) reasonable(t time.Time) bool {
	return c.Build.IsZero() || t.Before(c.Build.Add(maxAhead))
}

// seen raises the floor to a time that was good once.
func (c *Clock) seen(t time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	local := c.Local()
	if t.After(c.floor.now(local)) && c.reasonable(t) {
		c.floor = anchor{at: t, local: local}
	}
}

// learn takes the server's offset from the local clock. It is used only while
// the local clock is not to be trusted, and only within reason.
func (c *Clock) learn(offset time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	local := c.Local()
	claimed := local.Add(offset)
	if least := c.least(local); local.Before(least) && claimed.After(least) && c.reasonable(claimed) {
		c.server = anchor{at: claimed, local: local}
	}
}
