package policy

import (
	"errors"
	"fmt"
	"time"
)

// Choice is an answer to an offer of type prompt.
type Choice string

const (
	Accept  Choice = "accept"
	Decline Choice = "decline"
	Ask     Choice = "ask" // let go of the offer; the server's next one is asked about anew
)

// consent is about offers that the viewer has a say in: all but forced ones.
func consent(q Question, f Facts) (Verdict, bool) {
	asks := f.Type != Silent && !f.Agreed
	switch {
	case f.Deferred > 0 && (asks || q == Reboot):
		return Verdict{Why: WhyDeferred, Reason: "put off by the viewer", At: f.Now.Add(f.Deferred)}, true
	case !asks:
		return Verdict{}, false
	}
	v := Verdict{Why: WhyConsent, Reason: "waiting for the viewer's consent"}
	if f.Rules.Deadline == 0 || f.Asked.IsZero() {
		return v, true
	}
	left := Left(f.Asked, f.Rules.Deadline, f.Now)
	if left == 0 {
		return Verdict{Why: WhyConsent, Reason: "the viewer did not answer in time", Choice: f.Rules.Silence}, true
	}
	v.At = f.Now.Add(left)
	return v, true
}

// Deferrals is how often and how long an update would have been put off.
type Deferrals struct {
	Count int
	Total time.Duration
	Last  time.Duration // how long from now
}

// MayDefer tells why an update with the facts f may not be put off as far as
// d; nil when it may.
func MayDefer(d Deferrals, f Facts) error {
	r := f.Rules
	switch {
	case r.DeferCount == 0:
		return errors.New("cannot put off: updates are not put off on this box")
	case d.Count > r.DeferCount:
		return fmt.Errorf("cannot put off: it was put off %d times, which is all that is allowed", d.Count-1)
	case d.Total > r.DeferTotal:
		return fmt.Errorf("cannot put off: that would be %s in all, %s are allowed", d.Total.Round(time.Second), r.DeferTotal)
	}
	if f.Agreed || f.Asked.IsZero() || r.Deadline == 0 {
		return nil
	}
	if left := Left(f.Asked, r.Deadline, f.Now); d.Last > left {
		return fmt.Errorf("cannot put off: the answer is due in %s", left.Round(time.Second))
	}
	return nil
}
