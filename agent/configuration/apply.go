package configuration

import (
	"context"
	"errors"
	"fmt"
	"os/exec"

	"otad/ota"
	"otad/ota/durable"
	"otad/ota/journal"
)

// reportUpgrade is what the server's statistics call the end of a change.
const (
	reportUpgrade = journal.ReportOutcome
	reportFailed  = 1
)

// resume goes on with the change in the record.
func (c *Channel) resume(ctx context.Context) error {
	change := *c.rec.Next
	if change.Failure != nil {
		return c.restore(ctx, change)
	}
	current, err := c.load(c.File)
	if err != nil {
		return err
	}
	if sumOf(current) == change.SHA256 {
		// It was applied and put in place, perhaps in a name that was never synced.
		return c.keep(change, current)
	}
	staged, err := c.load(c.File + ".next")
	if err != nil {
		return err
	}
	switch {
	case sumOf(staged) != change.SHA256:
		return c.fail(ctx, change, ota.NewPermanent(ota.CodeConfigurationBad,
			fmt.Errorf("cannot apply configuration %d: what was staged of it is lost", change.To.Code)))
	case change.Attempts >= maxAttempts:
		return c.fail(ctx, change, ota.NewPermanent(ota.CodeAttempts,
			fmt.Errorf("cannot apply configuration %d: it was interrupted %d times", change.To.Code, change.Attempts)))
	}
	return c.apply(ctx, change, staged)
}

// apply hands the staged content to the hook. The intent is journalled first.
func (c *Channel) apply(ctx context.Context, change ota.ConfigurationChange, content []byte) error {
	change.Attempts++
	if err := c.commit(change); err != nil {
		return err
	}
	c.Log.Info("configuration is applied", "version", change.To.Code, "attempt", change.Attempts)
	if err := c.hooks(ctx, content); killed(err) {
		return ota.NewTransient(ota.CodeConfigurationHook, err) // the box goes down, perhaps: again, a bounded number of times
	} else if err != nil {
		return c.fail(ctx, change, ota.FaultOf(err))
	}
	return c.keep(change, content)
}

// hooks applies a content and judges the box. A hook that was begun is not
// interrupted: that would be no better than a power cut.
func (c *Channel) hooks(ctx context.Context, content []byte) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), c.Timeout)
	defer cancel()
	if err := c.Run(ctx, c.Apply, content); err != nil {
		return ota.NewPermanent(ota.CodeConfigurationHook, fmt.Errorf("cannot apply configuration: %w", err)).
			WithHint("see what the hook says; configuration.apply names it")
	}
	if c.Health == "" {
		return nil
	}
	ctx, cancel = context.WithTimeout(context.WithoutCancel(ctx), c.Timeout)
	defer cancel()
	if err := c.Run(ctx, c.Health, content); err != nil {
		return ota.NewPermanent(ota.CodeUnhealthy, fmt.Errorf("cannot keep configuration: %w", err)).
			WithHint("see what the hook says; configuration.health names it")
	}
	return nil
}

// killed tells whether a hook was ended by a signal that did not come from us.
func killed(err error) bool {
	var exit *exec.ExitError
	return errors.As(err, &exit) && exit.ExitCode() == -1
}

// keep puts the content in the place of the running one, and tells.
//
// Crash windows: before the rename the old content is in its place and the
// change is in the record, so it is applied again; after it the new content is
// in its place, and all that is missing is to say so.
func (c *Channel) keep(change ota.ConfigurationChange, content []byte) error {
	old, err := c.load(c.File)
	if err == nil && old != nil && sumOf(old) != change.SHA256 {
		err = durable.WriteFile(c.FS, c.File+".old", old, 0o600)
	}
	if err == nil {
		// Not the staged file under its new name: after a fault of an earlier
		// attempt nobody knows what of it is on the medium.
		err = durable.WriteFile(c.FS, c.File, content, 0o600)
	}
	if err != nil {
		return ota.NewTransient(ota.CodeJournal, fmt.Errorf("cannot keep configuration %d: %w", change.To.Code, err))
	}
	return c.end(change, nil, content)
}

// fail journals that the change failed, then restores the old content.
func (c *Channel) fail(ctx context.Context, change ota.ConfigurationChange, f *ota.Fault) error {
	c.Log.Warn("configuration failed", "version", change.To.Code, "code", f.Code, "cause", f)
	change.Failure = ota.FailureOf(f)
	return c.restore(ctx, change)
}

// restore hands the old content to the hook again. When it does not take it
// either, that is tried a few times; nothing better can be done.
func (c *Channel) restore(ctx context.Context, change ota.ConfigurationChange) error {
	fault := &ota.Fault{Class: change.Failure.Class, Code: change.Failure.Code, Hint: change.Failure.Hint, Err: errors.New(change.Failure.Text)}
	old, err := c.load(c.File)
	if err != nil {
		return err
	}
	lost := c.rec.SHA256 != "" && sumOf(old) != c.rec.SHA256
	if old == nil || lost {
		return c.end(change, fault, nil)
	}
	if change.Restores >= maxAttempts {
		fault.Err = fmt.Errorf("%w; and the hook did not take the old one again", fault.Err)
		return c.end(change, fault, nil)
	}
	change.Restores++
	if err := c.commit(change); err != nil {
		return err
	}
	if err := c.hooks(ctx, old); err != nil {
		return fmt.Errorf("cannot restore configuration %d: %w", c.rec.Running.Code, err)
	}
	return c.end(change, fault, nil)
}

// commit journals the change under way.
func (c *Channel) commit(change ota.ConfigurationChange) error {
	rec := c.rec
	rec.Next = &change
	if err := c.Journal.CommitChannel(journal.ChannelChange{Configuration: &rec}); err != nil {
		return err
	}
	c.mu.Lock()
	c.rec = rec
	c.mu.Unlock()
	if c.Changed != nil {
		c.Changed()
	}
	return nil
}

// end journals how a change ended, with the history, the event and the report,
// and removes what was staged. The new content runs when there is no fault.
func (c *Channel) end(change ota.ConfigurationChange, fault *ota.Fault, content []byte) error {
	now := c.Now()
	rec := c.rec
	rec.Next = nil
	outcome := ota.Outcome{ID: change.ID, Kind: ota.KindConfiguration, Result: ota.PhaseConfirmed,
		Offer: ota.Offer{VersionCode: change.To.Code, VersionName: change.To.Name}, From: rec.Running,
		By: "poll", Failure: ota.FailureOf(fault), Started: change.StartedAt, Ended: now}
	report := ota.Report{Type: reportUpgrade, AppKey: c.Key, Time: now, Target: change.To.Code}
	if fault == nil {
		rec.Running, rec.SHA256, rec.Applied, rec.Bad = change.To, change.SHA256, now, nil
		rec.Floor = max(rec.Floor, change.To.Code)
	} else {
		rec.Bad = &ota.BadVersion{Version: change.To, Failure: *outcome.Failure}
		outcome.Result, report.Code = ota.PhaseFailed, reportFailed
		if change.Restores > 0 {
			outcome.Result = ota.PhaseRolledBack
		}
	}
	report.Running = max(oldest, rec.Running.Code)
	commit := journal.ChannelChange{Configuration: &rec, Ended: &outcome}
	if c.Tell != nil {
		commit.Events = []journal.Event{c.Tell(outcome)}
	}
	if c.Report {
		commit.Reports = []ota.Report{report}
	}
	if err := c.Journal.CommitChannel(commit); err != nil {
		return err
	}
	c.mu.Lock()
	c.rec = rec
	if content != nil {
		c.content = content
	}
	c.mu.Unlock()
	c.Log.Info("configuration ended", "version", change.To.Code, "result", outcome.Result)
	if err := durable.Remove(c.FS, c.File+".next"); err != nil {
		c.Log.Warn("cannot remove the staged configuration", "cause", err)
	}
	return nil
}
