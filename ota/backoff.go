package ota

import "time"

// Backoff is the wait before attempt number n (1 is the first repetition):
// full jitter over an exponential that starts at first and is capped at limit.
// roll is a random number in [0, 1). The result is at least a tenth of the
// exponential, so that a run of small rolls is no tight loop.
func Backoff(n int, first, limit time.Duration, roll float64) time.Duration {
	d := limit
	if n < 1 {
		n = 1
	}
	if n-1 < 30 && first<<(n-1) < limit && first<<(n-1) > 0 {
		d = first << (n - 1)
	}
	return d/10 + time.Duration(roll*float64(d-d/10))
}
