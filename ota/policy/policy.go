// Package policy answers when: may this update be downloaded, installed,
// booted now, and if not, why and when to ask again.
//
// It is pure: facts in, verdict out. The clock, the viewer and the server are
// facts that the caller brings.
package policy

import (
	"fmt"
	"time"

	"otad/ota"
)

// Question is what is asked.
type Question string

const (
	Download Question = "download"
	Install  Question = "install"
	Reboot   Question = "reboot"
)

// Facts is all that a verdict depends on.
type Facts struct {
	Now     time.Time // in the box's own time zone: windows are local
	Type    ota.UpgradeType
	Force   bool // a person said: now
	Consent ota.Consent
	Busy    string // why the viewer must not be disturbed; "" when nobody would notice
	Since   time.Time
	Rules   Rules
}

// Rules is the configured part.
type Rules struct {
	Windows   []Window      // maintenance windows; none: at any time
	Countdown time.Duration // notice before a forced reboot, counted from Facts.Since
}

// Verdict is the answer.
type Verdict struct {
	Allowed bool
	Reason  string    // why not, for people; "" when allowed
	At      time.Time // when it may change by itself; zero when only an event can change it
}

// recheck is how often to look again at what gives no notice of its change.
const recheck = time.Minute

var yes = Verdict{Allowed: true}

// Decide answers q.
//
//   - A person's "now" is always followed.
//   - Downloading and installing disturb nobody and are allowed, but an offer
//     of type prompt is not even fetched before the viewer agreed.
//   - A forced update reboots when its countdown is over, whoever watches.
//   - All else reboots in a maintenance window, while nobody watches. Consent
//     given by the viewer stands in for the window.
func Decide(q Question, f Facts) Verdict {
	if f.Force {
		return yes
	}
	if f.Type == ota.UpgradeForced {
		return forced(q, f)
	}
	if f.Type != ota.UpgradeSilent && f.Consent != ota.ConsentAccepted {
		return Verdict{Reason: "waiting for the viewer's consent"}
	}
	if q != Reboot {
		return yes
	}
	if f.Busy != "" {
		return Verdict{Reason: "the box is in use: " + f.Busy, At: f.Now.Add(recheck)}
	}
	if f.Consent == ota.ConsentAccepted {
		return yes
	}
	return inWindow(f)
}

func forced(q Question, f Facts) Verdict {
	end := f.Since.Add(f.Rules.Countdown)
	// A start in the future is a clock that jumped back: count from now.
	if q != Reboot || !f.Now.Before(end) || f.Busy == "" {
		return yes
	}
	if left := end.Sub(f.Now); left > f.Rules.Countdown {
		end = f.Now.Add(f.Rules.Countdown)
	}
	return Verdict{Reason: "forced, counting down: " + f.Busy, At: end}
}

func inWindow(f Facts) Verdict {
	if len(f.Rules.Windows) == 0 {
		return yes
	}
	next := time.Time{}
	for _, w := range f.Rules.Windows {
		if w.Contains(f.Now) {
			return yes
		}
		if at := w.Next(f.Now); next.IsZero() || at.Before(next) {
			next = at
		}
	}
	return Verdict{Reason: "outside the maintenance windows", At: next}
}

// Window is a daily maintenance window in local time, from Start up to but not
// including End, both in minutes after midnight. A window whose end is not
// after its start goes over midnight.
type Window struct{ Start, End int }

// ParseWindow reads "02:00-05:00".
func ParseWindow(s string) (Window, error) {
	var h1, m1, h2, m2 int
	var rest string
	n, _ := fmt.Sscanf(s+" ", "%2d:%2d-%2d:%2d%s", &h1, &m1, &h2, &m2, &rest)
	w := Window{Start: h1*60 + m1, End: h2*60 + m2}
	if n != 4 || h1 > 23 || h2 > 24 || m1 > 59 || m2 > 59 || w.End > 24*60 || min(h1, m1, h2, m2) < 0 {
		return Window{}, fmt.Errorf("cannot read window %q: want HH:MM-HH:MM", s)
	}
	if w.Start == w.End {
		return Window{}, fmt.Errorf("cannot read window %q: it is empty", s)
	}
	return w, nil
}

// Contains tells whether t is in the window by t's wall clock.
func (w Window) Contains(t time.Time) bool {
	minute := t.Hour()*60 + t.Minute()
	if w.Start < w.End {
		return w.Start <= minute && minute < w.End
	}
	return minute >= w.Start || minute < w.End
}

// Next is the next start of the window after t, by t's wall clock. On a day
// whose clock skips the start, it is the first instant after the gap.
func (w Window) Next(t time.Time) time.Time {
	for day := 0; ; day++ {
		at := time.Date(t.Year(), t.Month(), t.Day()+day, w.Start/60, w.Start%60, 0, 0, t.Location())
		if at.After(t) {
			return at
		}
	}
}
