// Package policy answers when: may this update be downloaded, installed,
// booted now, and if not, why and when to ask again.
//
// It is pure: facts in, verdict out. The clock, the viewer, the box and the
// server are facts that the caller brings. Spans (a deferral, a deadline, a
// countdown) come as their start and are measured against their length, so that
// a clock that jumps has a defined effect; docs/policy.md has it in a table.
package policy

import (
	"fmt"
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
	Silent Upgrade = 2 // in a window or in standby, unasked
	Forced Upgrade = 3 // after a countdown, whatever goes on
)

// Facts is all that a verdict depends on.
type Facts struct {
	Now    time.Time // in the box's own time zone: windows are local
	Type   Upgrade
	Force  bool // a person said: now
	Agreed bool // the viewer said yes, or the operator in the viewer's place

	Device   string        // decides the box's own share of every spread
	Accepted time.Time     // when the offer was taken
	Asked    time.Time     // when the viewer was first asked; zero before
	Deferred time.Duration // how much longer the viewer wants to be left alone
	Begun    time.Time     // when the countdown of a forced update began; zero before

	Busy    string    // why the viewer must not be disturbed; "" when nobody would notice
	Standby bool      // nobody would even notice a restart
	Timer   time.Time // when the box begins something by itself, as a recording; zero: nothing is planned

	NotReady  string // why the box is in no state to be written or restarted: battery, temperature
	Metered   bool   // each byte costs
	NeedBytes int64  // still to come; 0 while unknown
	FreeBytes int64  // where it would go

	Rules Rules
}

// Rules is the configured part.
type Rules struct {
	Windows []Window // maintenance windows; none: at any time
	// Countdown is the notice before a forced restart of a box in use.
	Countdown time.Duration
	// TimerAhead is how long before a timer the box counts as in use.
	TimerAhead time.Duration
	// Deadline is how long the viewer's answer is waited for; 0 for ever.
	// Then Silence takes its place.
	Deadline   time.Duration
	Silence    Choice
	DeferCount int           // how often the viewer may put an update off
	DeferTotal time.Duration // and how long in all
	// DownloadSpread and ApplySpread are the times over which the boxes of a
	// fleet begin to download, and restart after a window opened.
	DownloadSpread, ApplySpread time.Duration
}

// Why names the rule that holds an update back, for machines. Names are only
// ever added.
type Why string

const (
	WhyNotReady  Why = "not-ready" // battery, temperature …
	WhySpace     Why = "space"
	WhyMetered   Why = "metered"
	WhyConsent   Why = "consent"
	WhyDeferred  Why = "deferred"
	WhySpread    Why = "spread" // other boxes first
	WhyTimer     Why = "timer"  // a recording begins soon
	WhyBusy      Why = "busy"
	WhyWindow    Why = "window"
	WhyCountdown Why = "countdown"
)

// Verdict is the answer. One that is not Allowed says when it may change by
// itself (At), or that only looking again tells (Again), or neither: then
// somebody has to say something.
type Verdict struct {
	Allowed bool
	Why     Why
	Reason  string        // why not, for people; "" when allowed
	At      time.Time     // when it changes by itself
	Again   time.Duration // when to look again at what gives no notice of its change
	// Choice is what the operator chose for a viewer who did not answer in
	// time; it is to be put into effect. "" else.
	Choice Choice
	// Notice is, while a countdown runs, the last of its notices that is due:
	// so much time before its end. 0 else.
	Notice time.Duration
}

// recheck is how often to look again at what gives no notice of its change.
const recheck = time.Minute

var yes = Verdict{Allowed: true}

// Decide answers q.
//
//   - A box that is not ready is neither written nor restarted, whoever says so.
//   - Beyond that, a person's "now" is always followed.
//   - Nothing comes in that has no room, and nothing on a metered link but what
//     is forced.
//   - An offer of type prompt is not even fetched before the viewer agreed.
//   - A forced update restarts a box in use when its countdown is over.
//   - All else restarts in standby, or in a maintenance window while the box is
//     not in use.
func Decide(q Question, f Facts) Verdict {
	for _, rule := range []func(Question, Facts) (Verdict, bool){ready, room, forced, consent, link, downloadSpread, inUse} {
		if v, decided := rule(q, f); decided {
			return v
		}
	}
	if q != Reboot || f.Standby {
		return yes
	}
	return inWindow(f)
}

// ready is the only rule that a person cannot overrule.
func ready(q Question, f Facts) (Verdict, bool) {
	if f.NotReady != "" && q != Download {
		return Verdict{Why: WhyNotReady, Reason: "the box is not ready: " + f.NotReady, Again: recheck}, true
	}
	return yes, f.Force
}

func room(q Question, f Facts) (Verdict, bool) {
	if q != Download || f.NeedBytes <= f.FreeBytes || f.NeedBytes == 0 {
		return Verdict{}, false
	}
	text := fmt.Sprintf("too little room: %d KiB are needed, %d KiB are free", f.NeedBytes>>10, f.FreeBytes>>10)
	return Verdict{Why: WhySpace, Reason: text, Again: recheck}, true
}

func link(q Question, f Facts) (Verdict, bool) {
	return Verdict{Why: WhyMetered, Reason: "the link is metered", Again: recheck}, q == Download && f.Metered
}

// downloadSpread lets the boxes of a fleet begin one after the other. A viewer
// who agreed is not kept waiting.
func downloadSpread(q Question, f Facts) (Verdict, bool) {
	share := Share(f.Rules.DownloadSpread, f.Device, "download")
	left := Left(f.Accepted, share, f.Now)
	return Verdict{Why: WhySpread, Reason: "other boxes download first", At: f.Now.Add(left)}, q == Download && !f.Agreed && left > 0
}

// inUse holds a restart back while somebody would notice.
func inUse(q Question, f Facts) (Verdict, bool) {
	switch reason, soon := f.use(); {
	case q != Reboot || reason == "":
		return Verdict{}, false
	case soon:
		return Verdict{Why: WhyTimer, Reason: reason, At: f.Timer, Again: recheck}, true
	default:
		return Verdict{Why: WhyBusy, Reason: "the box is in use: " + reason, Again: recheck}, true
	}
}

// use is what the box does, or is about to do (soon).
func (f Facts) use() (reason string, soon bool) {
	if f.Busy != "" {
		return f.Busy, false
	}
	if ahead := f.Timer.Sub(f.Now); !f.Timer.IsZero() && ahead > 0 && ahead <= f.Rules.TimerAhead {
		return "a timer begins at " + f.Timer.In(f.Now.Location()).Format("15:04"), true
	}
	return "", false
}

// Left is how much is left at now of a span of the given length that began at
// start: never more than all of it, whatever became of the clock.
func Left(start time.Time, length time.Duration, now time.Time) time.Duration {
	return max(0, min(length, start.Add(length).Sub(now)))
}
