package agent

import (
	"crypto/rand"
	"encoding/json"
	"time"

	"otad/agent/report"
	"otad/ota"
	"otad/ota/journal"
	"otad/ota/policy"
)

// State is what the agent says of itself now. Safe for concurrent use.
func (a *Agent) State() report.State {
	a.mu.Lock()
	defer a.mu.Unlock()
	s := a.state
	s.Time = a.Clock.Now()
	return s
}

// Ready is closed when the board was asked which slot runs: State is whole then,
// or says that the board does not answer.
func (a *Agent) Ready() <-chan struct{} { return a.ready }

// Watch returns a channel that gets a value when State may have changed;
// several changes may be one value. stop ends it.
func (a *Agent) Watch() (changed <-chan struct{}, stop func()) {
	c := make(chan struct{}, 1)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.watchers[c] = struct{}{}
	return c, func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		delete(a.watchers, c)
	}
}

// edit changes the visible state and tells the watchers.
func (a *Agent) edit(change func(s *report.State)) {
	a.mu.Lock()
	defer a.mu.Unlock()
	change(&a.state)
	for c := range a.watchers {
		select {
		case c <- struct{}{}:
		default: // it has not looked yet
		}
	}
}

// show copies what the loop owns into the visible state. Only the loop calls it.
func (a *Agent) show() {
	configuration, packages := a.channelStates()
	a.edit(func(s *report.State) {
		s.Configuration, s.Packages = configuration, packages
		s.V, s.Online, s.Agent = report.Version, a.Poll, a.Version
		s.Model, s.Device = a.Config.Device.Model, a.Config.Device.Key
		s.Version, s.Slot, s.Trial = a.Running, a.boot.Slot, a.boot.Trial
		s.Booted = a.bootReason
		s.Floor, s.Last = a.box.Floor, a.box.Last
		if s.Phase != a.rec.Phase {
			s.Percent, s.Transfer, s.Stage, s.Delta = 0, nil, "", nil
		}
		s.Phase, s.Update = a.rec.Phase, nil
		if a.rec.ID != "" {
			s.Update = &report.Update{ID: a.rec.ID, Type: a.rec.Offer.Type, By: a.rec.By, Back: a.rec.Back, Prompt: a.rec.Offer.Prompt, Streamed: a.rec.Streamed,
				Consent: a.rec.Consent, AskedAt: optional(a.rec.Wait.AskedAt), Deferrals: a.rec.Wait.Deferral.Count,
				To: ota.Version{Code: a.rec.Offer.VersionCode, Name: a.rec.Offer.VersionName}}
		}
		if s.Update == nil && s.Why != "" { // what waited has ended
			s.Why, s.Reason, s.GoesOn = "", "", nil
		}
		s.CheckAt, s.Checked = nil, optional(a.box.CheckAt)
		if a.Poll && a.rec.Phase == ota.PhaseIdle {
			s.CheckAt = optional(a.nextCheck.wall)
		}
	})
}

func optional(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC().Truncate(time.Second)
	return &t
}

// progress shows how far the act is. The worker calls it.
func (a *Agent) progress(stage string, done, total, rate int64) {
	a.edit(func(s *report.State) {
		s.Stage, s.Percent, s.Transfer = stage, report.Percent(done, total), nil
		if done != 0 || total != 0 {
			s.Transfer = report.TransferOf(done, total, rate)
			if s.Delta != nil {
				s.Transfer.FetchedBytes = a.fetched
			}
		}
	})
}

// explain shows why it does not go on, and when it will.
func (a *Agent) explain(v policy.Verdict) {
	a.edit(func(s *report.State) { s.Why, s.Reason, s.GoesOn = string(v.Why), v.Reason, optional(v.At) })
}

// trouble shows the fault that is being tried again; nil clears it.
func (a *Agent) trouble(f *ota.Fault) {
	a.edit(func(s *report.State) { s.Trouble = ota.FailureOf(f) })
}

// event makes an event for the outbox.
func (a *Agent) event(e report.Event) journal.Event {
	e.V, e.ID, e.Time = report.Version, rand.Text()[:12], a.Clock.Now()
	data, err := json.Marshal(e)
	if err != nil {
		panic(err) // a struct of plain values always marshals
	}
	return journal.Event{Payload: data}
}

func (a *Agent) phaseEvent(next ota.Record) report.Event {
	return report.Event{Type: report.EventPhase, Update: next.ID, Phase: next.Phase, Slot: next.ToSlot, Failure: next.Failure,
		To: &ota.Version{Code: next.Offer.VersionCode, Name: next.Offer.VersionName}}
}

// tellRecovery puts the loss of the journal into the outbox. When that cannot be
// journalled, the journal says so again at the next start.
func (a *Agent) tellRecovery() {
	e := a.event(report.Event{Type: report.EventJournalRecovered, Text: a.Recovered.Cause.Error()})
	if err := a.Journal.Commit(journal.Change{Events: []journal.Event{e}, Told: true}); err != nil {
		a.Log.Error("cannot tell of the recovery now", "cause", err)
	}
}
