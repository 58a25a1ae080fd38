package agent

import "time"

// alarm is a time to look again. It is kept by two clocks: the wall clock may
// jump back, which must not put the alarm off for years; the monotonic one
// stands still while the box sleeps, which must not put it off for a night. It
// is due by whichever comes first: to look too early does no harm.
type alarm struct{ wall, mono time.Time }

// alarmIn is due after d.
func (c *Clock) alarmIn(d time.Duration) alarm {
	return alarm{wall: c.Now().Add(d), mono: time.Now().Add(d)}
}

// set tells whether there is an alarm at all.
func (a alarm) set() bool { return !a.mono.IsZero() }

// left is how long until a is due, 0 when it is.
func (c *Clock) left(a alarm) time.Duration {
	return max(0, min(a.wall.Sub(c.Now()), time.Until(a.mono)))
}
