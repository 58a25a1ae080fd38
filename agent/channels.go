package agent

import (
	"context"
	"math/rand/v2"
	"time"

	"otad/agent/apireport"
	"otad/agent/configuration"
	"otad/agent/packages"
	"otad/agent/report"
	"otad/ota"
	"otad/ota/journal"
	"otad/ota/policy"
)

// Channels are what is kept up to date beside the firmware, on the same rounds:
// after each check, and now and then while an update waits for leave. They run in
// the worker, so never while the firmware is fetched or installed, and never
// during a trial; what the firmware has to do goes first. Each has a record of
// its own in the journal.
type Channels struct {
	Configuration *configuration.Channel // nil for none
	Packages      []*packages.Channel
}

// roundAgain is when a round that was interrupted is made again.
const roundAgain = time.Minute

// rounded is what a round came to.
type rounded struct {
	failed bool
	again  time.Duration // when to look again before the next round; 0 for not
}

func (c Channels) any() bool { return c.Configuration != nil || len(c.Packages) > 0 }

// pending tells whether something was begun that a power cut interrupted.
func (c Channels) pending() bool {
	pending := c.Configuration != nil && c.Configuration.Pending()
	for _, p := range c.Packages {
		pending = pending || p.Pending()
	}
	return pending
}

// mayRound tells whether the channels may work now.
func (a *Agent) mayRound() bool {
	if !a.Poll || !a.booted || a.Hold || a.work != nil || a.held != nil || a.boot.Trial {
		return false
	}
	switch a.rec.Phase {
	case ota.PhaseIdle, ota.PhaseOffered, ota.PhaseDownloaded, ota.PhaseArmed:
		return true
	}
	return false
}

// planRound sets the time of the next round.
func (a *Agent) planRound(in time.Duration) {
	if a.Channels.any() {
		a.nextRound = a.Clock.alarmIn(in)
	}
}

// roundIn is how long until the next round; false when there is none.
func (a *Agent) roundIn() (time.Duration, bool) {
	if !a.nextRound.set() || !a.mayRound() {
		return 0, false
	}
	return a.Clock.left(a.nextRound), true
}

// round lets every channel work, one after the other.
func (a *Agent) round(ctx context.Context) {
	a.nextRound = alarm{}
	a.start(ctx, func(ctx context.Context) workResult {
		result := rounded{}
		one := func(what string, work func(context.Context) error) {
			if ctx.Err() != nil {
				return
			}
			f := ota.FaultOf(work(ctx))
			a.ShowChannels()
			switch {
			case f == nil || ctx.Err() != nil:
			case f.Code == ota.CodeNotNow:
				result.again = sooner(result.again, f.RetryAfter)
			default:
				result.failed = true
				a.Log.Warn("channel failed", "channel", what, "class", f.Class, "code", f.Code, "cause", f)
			}
		}
		if c := a.Channels.Configuration; c != nil {
			one("configuration", c.Round)
		}
		for _, p := range a.Channels.Packages {
			one(p.Name, p.Round)
		}
		return workResult{round: &result}
	})
	a.work.round = true
}

func sooner(a, b time.Duration) time.Duration {
	if a == 0 || b > 0 && b < a {
		return b
	}
	return a
}

// roundDone plans the next round, and lets the firmware go on with what came up
// meanwhile.
func (a *Agent) roundDone(ctx context.Context, r rounded) {
	a.tune()
	next := a.checkEvery()
	if r.failed {
		a.roundFail++
		next = min(next, ota.Backoff(a.roundFail, time.Minute, next, rand.Float64()))
	} else {
		a.roundFail = 0
	}
	a.planRound(sooner(next, r.again))
	if a.rec.Phase != ota.PhaseIdle {
		a.perform(ctx, ota.Resume(a.rec))
	}
}

// tune follows what the running configuration says to otad. The loop calls it
// while no worker runs, for others read these settings, too.
func (a *Agent) tune() {
	if a.Channels.Configuration == nil {
		return
	}
	tuned, err := a.settings.Tuned(a.Channels.Configuration.Tuning())
	if err != nil { // an otad that knows more took it
		a.Log.Warn("the configuration is not followed", "cause", err)
		return
	}
	every := a.checkEvery()
	if a.Config.Adopt(tuned) {
		a.Log.Info("tuned by the configuration", "check_every", a.checkEvery(), "windows", len(a.Config.Policy.Windows))
	}
	if a.booted && a.checkEvery() != every {
		a.planCheck()
	}
}

// MayInstall tells why a side package must not be installed now, and when to ask
// again; "" when it may. Who replaces a program restarts it: so the question is
// that of a restart. A package does not ask the viewer.
func (a *Agent) MayInstall(ctx context.Context, how ota.UpgradeType, since time.Time) (reason string, again time.Duration) {
	facts := policy.Facts{Type: policy.Silent, Begun: since}
	if how == ota.UpgradeForced {
		facts.Type = policy.Forced
	}
	facts = a.boxFacts(ctx, facts)
	verdict := policy.Decide(policy.Reboot, facts)
	if verdict.Allowed {
		return "", 0
	}
	return verdict.Reason, max(time.Second, a.lookAgain(verdict))
}

// TellOutcome is the event that tells how a change of a channel ended.
func (a *Agent) TellOutcome(o ota.Outcome) journal.Event {
	kind := report.EventPackage
	if o.Kind == ota.KindConfiguration {
		kind = report.EventConfiguration
	}
	to := ota.Version{Code: o.Offer.VersionCode, Name: o.Offer.VersionName}
	e := a.event(report.Event{Type: kind, Update: o.ID, To: &to, Failure: o.Failure, Outcome: &o})
	e.Outcome = true
	return e
}

// ShowChannels copies how the channels stand into the visible state.
func (a *Agent) ShowChannels() {
	c, list := a.channelStates()
	a.edit(func(s *report.State) { s.Configuration, s.Packages = c, list })
}

// channelStates is what is said of the channels.
func (a *Agent) channelStates() (*report.Configuration, []report.Package) {
	var c *report.Configuration
	if a.Channels.Configuration != nil {
		rec, trouble := a.Channels.Configuration.State()
		c = &report.Configuration{Version: rec.Running, Applied: optional(rec.Applied), Trouble: trouble}
		if rec.Next != nil {
			c.To = &rec.Next.To
		}
		if rec.Bad != nil {
			c.Bad, c.Failure = &rec.Bad.Version, &rec.Bad.Failure
		}
	}
	var list []report.Package
	for _, channel := range a.Channels.Packages {
		s := channel.State()
		p := report.Package{Name: channel.Name, Kind: channel.Kind, Version: s.Record.Installed, Phase: ota.PhaseIdle,
			Reason: s.Reason, Trouble: s.Trouble}
		if w := s.Record.Work; w != nil {
			p.Phase, p.To = w.Phase, &w.To
			p.Percent = report.Percent(s.DoneBytes, s.TotalBytes)
		}
		if s.Record.Bad != nil {
			p.Bad, p.Failure = &s.Record.Bad.Version, &s.Record.Bad.Failure
		}
		list = append(list, p)
	}
	return c, list
}

// reports is what the server's statistics are told of an update that ended, or
// that came in whole.
func (a *Agent) reports(rec ota.Record) []ota.Report {
	if !a.Config.Server.Report || rec.Offer.VersionCode == 0 || rec.Offer.URL == "" || rec.Back {
		return nil
	}
	r := ota.Report{Type: reportDownload, AppKey: a.Config.Firmware.URLKey, Time: a.Clock.Now(),
		Running: a.Running.Code, Target: rec.Offer.VersionCode, Code: apireport.ResultOf(rec.Failure)}
	switch {
	case rec.Phase == ota.PhaseDownloaded:
	case rec.Failure != nil && rec.Failure.Class == ota.Refused: // somebody said no: nothing failed
		return nil
	case rec.Phase != ota.PhaseFailed || rec.File != "":
		r.Type = journal.ReportOutcome
	}
	return []ota.Report{r}
}

// What the server's statistics call a download and a start.
const (
	reportDownload = "app_upgrade_download"
	reportStart    = "app_start"
)

// tellStart puts the start of the system into the queue, once for each boot.
// Reporting decides nothing: a fault is logged.
func (a *Agent) tellStart() {
	if !a.Poll || !a.Config.Server.Report || a.boot.ID == "" || a.boot.ID == a.reported {
		return
	}
	start := ota.Report{Type: reportStart, AppKey: a.Config.Firmware.URLKey, Time: a.Clock.Now(), Running: a.Running.Code}
	if err := a.Journal.Commit(journal.Change{Boot: a.boot.ID, Reports: []ota.Report{start}}); err != nil {
		a.Log.Warn("cannot note the start for the server", "cause", err)
		return
	}
	a.reported = a.boot.ID
}
