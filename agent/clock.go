package agent

import (
	"sync"
	"time"
)

// Clock tells the time on a box that may have none. A box without a real-time
// clock starts in 1970; certificates and windows need better. Now is the
// latest of the local clock, the build time and the last time known good,
// moved by what the server's clock taught. It never goes back below the
// floor of these.
type Clock struct {
	Local func() time.Time // time.Now
	Build time.Time        // when this otad was built

	mu     sync.Mutex
	floor  time.Time     // last time known good
	at     time.Time     // local time when floor was learnt
	offset time.Duration // of the server, while the local clock is not to be trusted
}

// maxAhead bounds what an unauthenticated server may claim: a clock set far
// ahead would make every certificate expire.
const maxAhead = 20 * 365 * 24 * time.Hour

// Now is the best time known, in the local zone.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now()
}

func (c *Clock) now() time.Time {
	local := c.Local()
	now := local
	if local.Before(c.Build) && c.offset != 0 {
		now = local.Add(c.offset)
	}
	if now.Before(c.Build) {
		now = c.Build
	}
	if !c.floor.IsZero() {
		// The floor moves on with the monotonic clock since it was learnt.
		if least := c.floor.Add(max(0, local.Sub(c.at))); now.Before(least) {
			now = least
		}
	}
	return now.In(local.Location())
}

// seen raises the floor to a time that was good once.
func (c *Clock) seen(t time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if t.After(c.floor) {
		c.floor, c.at = t, c.Local()
	}
}

// learn takes the server's offset. It is used only while the local clock is
// before the build, and only within reason.
func (c *Clock) learn(offset time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	claimed := c.Local().Add(offset)
	if claimed.After(c.Build) && claimed.Before(c.Build.Add(maxAhead)) {
		c.offset = offset
	}
}
