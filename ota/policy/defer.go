package policy

import (
	"fmt"
	"time"
)

// Deferrals is how often and how long an update would have been put off.
type Deferrals struct {
	Count int
	Total time.Duration
}

// MayDefer tells why an update may not be put off as far as d; nil when it may.
func (r Rules) MayDefer(d Deferrals) error {
	switch {
	case r.DeferCount == 0:
		return fmt.Errorf("cannot put off: updates are not put off on this box")
	case d.Count > r.DeferCount:
		return fmt.Errorf("cannot put off: it was put off %d times, which is all that is allowed", d.Count-1)
	case d.Total > r.DeferTotal:
		return fmt.Errorf("cannot put off: that would be %s in all, %s are allowed", d.Total.Round(time.Second), r.DeferTotal)
	}
	return nil
}
