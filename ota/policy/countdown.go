package policy

import (
	"time"
)

// notices are given so long before the end of a countdown; another one at its
// beginning.
var notices = []time.Duration{time.Minute, 5 * time.Minute, 10 * time.Minute}

// forced decides on forced updates, all but whether there is room.
func forced(q Question, f Facts) (Verdict, bool) {
	if f.Type != Forced {
		return Verdict{}, false
	}
	reason, _ := f.use()
	if q != Reboot || reason == "" || f.Rules.Countdown == 0 {
		return yes, true
	}
	begun := f.Begun
	if begun.IsZero() {
		begun = f.Now
	}
	end := begun.Add(f.Rules.Countdown)
	// A start in the future is a clock that jumped back. How much notice there
	// was cannot be told; to count afresh each time could go on for ever.
	if !f.Now.Before(end) || f.Now.Before(begun) {
		return yes, true
	}
	notice, next := f.notice(end.Sub(f.Now))
	return Verdict{Why: WhyCountdown, Reason: "forced, counting down: " + reason, At: end, Again: min(recheck, next), Notice: notice}, true
}

// notice is the one that is due when left is left, and how long it takes to
// the one that follows, or to the end.
func (f Facts) notice(left time.Duration) (due, next time.Duration) {
	due, next = f.Rules.Countdown, left
	for _, n := range notices {
		switch {
		case n >= f.Rules.Countdown:
		case n >= left:
			return n, next
		default:
			next = left - n
		}
	}
	return due, next
}
