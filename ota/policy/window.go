package policy

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Window is a maintenance window in local time, from Start up to but not
// including End, both in minutes after midnight. A window whose end is not
// after its start goes over midnight.
type Window struct {
	Start, End int
	Days       Days // on which it opens
}

// Days is a set of days of the week, a bit for each [time.Weekday]; empty for
// every day.
type Days uint8

const everyDay Days = 1<<7 - 1

// Has tells whether d is in the set.
func (s Days) Has(d time.Weekday) bool { return s == 0 || s&(1<<d) != 0 }

var dayNames = []string{"sun", "mon", "tue", "wed", "thu", "fri", "sat"}

// ParseWindow reads "02:00-05:00", "mon-fri 02:00-05:00" or
// "sat,sun 01:00-06:00". The end of the day is 24:00 or 00:00.
func ParseWindow(s string) (Window, error) {
	days, clock, both := strings.Cut(s, " ")
	if !both {
		days, clock = "", s
	}
	start, end, _ := strings.Cut(clock, "-")
	w := Window{Start: minutes(start), End: minutes(end)}
	if w.Start < 0 || w.Start == dayMinutes || w.End < 0 {
		return Window{}, fmt.Errorf("cannot read window %q: want HH:MM-HH:MM, with days before it or none, as in \"mon-fri 02:00-05:00\"", s)
	}
	if w.Start == w.End {
		return Window{}, fmt.Errorf("cannot read window %q: it is empty", s)
	}
	if !both {
		return w, nil
	}
	var ok bool
	if w.Days, ok = parseDays(days); !ok {
		return Window{}, fmt.Errorf("cannot read window %q: want days as in \"mon-fri\" or \"sat,sun\"", s)
	}
	return w, nil
}

// parseDays reads "mon-fri,sun"; a range may go over the end of the week.
func parseDays(s string) (Days, bool) {
	var set Days
	for part := range strings.SplitSeq(s, ",") {
		from, to, isRange := strings.Cut(part, "-")
		first, last := slices.Index(dayNames, from), slices.Index(dayNames, to)
		if !isRange {
			last = first
		}
		if first < 0 || last < 0 {
			return 0, false
		}
		for d := first; ; d = (d + 1) % 7 {
			set |= 1 << d
			if d == last {
				break
			}
		}
	}
	if set == everyDay {
		set = 0
	}
	return set, true
}

// String is w as [ParseWindow] reads it.
func (w Window) String() string {
	text := fmt.Sprintf("%02d:%02d-%02d:%02d", w.Start/60, w.Start%60, w.End/60, w.End%60)
	if w.Days == 0 {
		return text
	}
	var days []string
	for d, name := range dayNames {
		if w.Days.Has(time.Weekday(d)) {
			days = append(days, name)
		}
	}
	return strings.Join(days, ",") + " " + text
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

// Contains tells whether t is in the window by t's wall clock. What is after
// midnight belongs to the day before.
func (w Window) Contains(t time.Time) bool {
	minute, today := t.Hour()*60+t.Minute(), t.Weekday()
	if w.Start < w.End {
		return w.Days.Has(today) && w.Start <= minute && minute < w.End
	}
	return minute >= w.Start && w.Days.Has(today) || minute < w.End && w.Days.Has((today+6)%7)
}

// Next is the first full minute after t that is in the window, by t's wall
// clock. It looks at one minute after the other: on the days on which the clock
// is set, a time of day may be missing or come twice, and [time.Date] may give
// either side of it. A week has 10080 of them, so that it never takes long.
func (w Window) Next(t time.Time) time.Time {
	at := t.Truncate(time.Minute)
	for {
		if at = at.Add(time.Minute); w.Contains(at) {
			return at
		}
	}
}

// openFor is how long the window is open at t, at most limit.
func (w Window) openFor(t time.Time, limit time.Duration) time.Duration {
	at := t.Truncate(time.Minute)
	for w.Contains(at.Add(-time.Minute)) && t.Sub(at) < limit {
		at = at.Add(-time.Minute)
	}
	return min(limit, t.Sub(at))
}

// length of the window on an ordinary day.
func (w Window) length() time.Duration {
	return time.Duration((w.End-w.Start+dayMinutes-1)%dayMinutes+1) * time.Minute
}

// inWindow allows a restart in a window, when the box's own share of the
// spread after the opening is over.
func inWindow(f Facts) Verdict {
	if len(f.Rules.Windows) == 0 {
		return yes
	}
	next, why, reason := time.Time{}, WhyWindow, "outside the maintenance windows"
	for _, w := range f.Rules.Windows {
		// Half of a window at the most, so that there is time to restart in.
		share := Share(min(f.Rules.ApplySpread, w.length()/2), f.Device, "apply")
		at := w.Next(f.Now)
		if w.Contains(f.Now) {
			left := share - w.openFor(f.Now, share)
			if left == 0 {
				return yes
			}
			at, why, reason = f.Now.Add(left), WhySpread, "in the window, other boxes restart first"
		}
		if next.IsZero() || at.Before(next) {
			next = at
		}
	}
	return Verdict{Why: why, Reason: reason, At: next}
}
