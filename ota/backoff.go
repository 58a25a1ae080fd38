package ota

import "time"

// Backoff is the wait before attempt number n (1 is the first repetition):
// full jitter over an exponential that starts at first and is capped at limit.
// roll is a random number in [0, 1). The result is at least a tenth of the
// exponential, so that a run of small rolls is no tight loop; so is limit for
// a first that is not positive.
func Backoff(n int, first, limit time.Duration, roll float64) time.Duration {
	d, doubled := limit, max(0, n-1)
	if first > 0 && first < limit>>doubled { // the limit is shifted, for first could overflow
		d = first << doubled
	}
	return d/10 + time.Duration(roll*float64(d-d/10))
}
