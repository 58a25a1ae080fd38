// Package policy answers when: may this update be downloaded, installed,
// booted now, and if not, why and when to ask again.
//
// It is pure: facts in, verdict out. The clock, the viewer and the server are
// facts that the caller brings.
package policy

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Question is what is asked.
type Question string

const (
	Download Question = "download"
	Install  Question = "install"
	Reboot   Question = "reboot"
)

// Upgrade is how the operator wants an offer applied, in UpgradeLink's numbers.
// One that is not known counts as Prompt, the gentlest.
type Upgrade int

const (
	Prompt Upgrade = 1 // needs the viewer's consent
	Silent Upgrade = 2 // in a window, while nobody watches, unasked
	Forced Upgrade = 3 // after a countdown, whatever goes on
)

// Facts is all that a verdict depends on.
type Facts struct {
	Now    time.Time // in the box's own time zone: windows are local
	Type   Upgrade
	Force  bool // a person said: now
	Agreed bool // the viewer said yes
	// Deferred is how much longer the viewer wants to be left alone.
	Deferred time.Duration
	Busy     string // why the viewer must not be disturbed; "" when nobody would notice
	Since    time.Time
	Rules    Rules
}

// Rules is the configured part.
type Rules struct {
	Windows    []Window      // maintenance windows; none: at any time
	Countdown  time.Duration // notice before a forced reboot, counted from Facts.Since
	DeferCount int           // how often the viewer may put an update off
	DeferTotal time.Duration // and how long in all
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
	if f.Type == Forced {
		return forced(q, f)
	}
	asks := f.Type != Silent && !f.Agreed
	if f.Deferred > 0 && (asks || q == Reboot) {
		return Verdict{Reason: "put off by the viewer", At: f.Now.Add(f.Deferred)}
	}
	if asks {
		return Verdict{Reason: "waiting for the viewer's consent"}
	}
	if q != Reboot {
		return yes
	}
	if f.Busy != "" {
		return Verdict{Reason: "the box is in use: " + f.Busy, At: f.Now.Add(recheck)}
	}
	if f.Agreed {
		return yes
	}
	return inWindow(f)
}

func forced(q Question, f Facts) Verdict {
	end := f.Since.Add(f.Rules.Countdown)
	// A start in the future is a clock that jumped back. How much notice there
	// was cannot be told; to count afresh each time could go on for ever.
	if q != Reboot || f.Busy == "" || !f.Now.Before(end) || f.Now.Before(f.Since) {
		return yes
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

// ParseWindow reads "02:00-05:00". The end of the day is 24:00 or 00:00.
func ParseWindow(s string) (Window, error) {
	start, end, _ := strings.Cut(s, "-")
	w := Window{Start: minutes(start), End: minutes(end)}
	if w.Start < 0 || w.Start == dayMinutes || w.End < 0 {
		return Window{}, fmt.Errorf("cannot read window %q: want HH:MM-HH:MM", s)
	}
	if w.Start == w.End {
		return Window{}, fmt.Errorf("cannot read window %q: it is empty", s)
	}
	return w, nil
}

const dayMinutes = 24 * 60

// minutes reads "HH:MM", from 00:00 to 24:00, and is -1 for anything else.
func minutes(s string) int {
	if len(s) != len("HH:MM") || s[2] != ':' {
		return -1
	}
	h, errH := strconv.ParseUint(s[:2], 10, 8)
	m, errM := strconv.ParseUint(s[3:], 10, 8)
	at := int(h*60 + m)
	if errH != nil || errM != nil || m > 59 || at > dayMinutes {
		return -1
	}
	return at
}

// Contains tells whether t is in the window by t's wall clock.
func (w Window) Contains(t time.Time) bool {
	minute := t.Hour()*60 + t.Minute()
	if w.Start < w.End {
		return w.Start <= minute && minute < w.End
	}
	return minute >= w.Start || minute < w.End
}

// Next is the first full minute after t that is in the window, by t's wall
// clock. It looks at one minute after the other: on the days on which the clock
// is set, a time of day may be missing or come twice, and [time.Date] may give
// either side of it.
func (w Window) Next(t time.Time) time.Time {
	at := t.Truncate(time.Minute)
	for {
		if at = at.Add(time.Minute); w.Contains(at) {
			return at
		}
	}
}
