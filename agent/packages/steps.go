package packages

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"strings"

	"otad/ota"
	"otad/ota/durable"
	"otad/ota/journal"
)

// What the server's statistics call a download.
const reportDownload = "app_upgrade_download"

func newID() string { return rand.Text()[:12] }

// describe adds what the look-up told. What the offer said stays.
func describe(work *ota.PackageWork, d Details) {
	work.To.Name = cmp.Or(work.To.Name, d.Name)
	work.Description = d.Description
	work.SizeBytes = cmp.Or(work.SizeBytes, d.SizeBytes)
	work.MD5 = strings.ToLower(cmp.Or(work.MD5, d.MD5))
	work.SHA256 = strings.ToLower(d.SHA256)
}

// download brings the file in, from the last checkpoint on.
func (c *Channel) download(ctx context.Context, work ota.PackageWork) error {
	err := durable.MkdirAll(c.FS, c.Dir, 0o755)
	if err != nil {
		return ota.NewTransient(ota.CodeBoard, err)
	}
	err = c.Fetcher.Fetch(ctx, Fetch{
		URL: work.URL, Path: c.place(work), From: work.Download,
		Save: func(p ota.Checkpoint) error {
			work = *c.rec().Work
			if p.SyncedBytes > work.Download.SyncedBytes {
				work.Attempts = 0
			}
			work.Download = p
			return c.commit(work)
		},
		Progress: func(done, total int64) { c.edit(func(s *State) { s.DoneBytes, s.TotalBytes = done, total }) },
	})
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		return c.again(*c.rec().Work, ota.FaultOf(err), maxFetches)
	}
	work = *c.rec().Work
	work.Phase, work.Attempts, work.ChangedAt = ota.PhaseDownloaded, 0, c.Now()
	return c.commit(work, c.report(reportDownload, work, 0))
}

// again counts a fault and gives up when it is one too many, or one that will
// not pass. What is given up is no fault of the round.
func (c *Channel) again(work ota.PackageWork, f *ota.Fault, limit int) error {
	work.Attempts++
	if f.Class != ota.Transient || f.Code == ota.CodeNoSpace || work.Attempts >= limit {
		return c.end(work, f)
	}
	return errors.Join(f, c.commit(work))
}

// wait asks whether the package may be installed now: a launcher that is
// replaced is as visible as a restart.
func (c *Channel) wait(ctx context.Context, work ota.PackageWork) error {
	if reason, again := c.May(ctx, work.Type, work.ChangedAt); reason != "" {
		f := ota.NewRefused(ota.CodeNotNow, errors.New(reason))
		f.RetryAfter = again
		return f
	}
	work.Phase, work.Attempts, work.ChangedAt = ota.PhaseInstalling, 0, c.Now()
	return c.commit(work)
}

// install checks the file and hands it to the installer.
func (c *Channel) install(ctx context.Context, work ota.PackageWork) error {
	if work.Attempts > 0 && c.Installed != nil {
		// Interrupted. Perhaps after the installer had done its work.
		if code, err := c.installed(ctx); err == nil && code == work.To.Code {
			return c.end(work, nil)
		}
	}
	file, signed, err := c.check(ctx, work)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if f := ota.FaultOf(err); f != nil {
		if f.Code == ota.CodeFirmwareNotFound { // the staged file is gone: fetch it again
			work.Phase, work.Download = ota.PhaseDownloading, ota.Checkpoint{}
		}
		return c.again(work, f, maxInstalls)
	}
	if work.Attempts >= maxInstalls {
		return c.end(work, ota.NewPermanent(ota.CodeAttempts, fmt.Errorf("cannot install package %q: it was interrupted %d times", c.Name, work.Attempts)))
	}
	work.Attempts++
	if err := c.commit(work); err != nil {
		return err
	}
	c.Log.Info("package is installed", "package", c.Name, "version", work.To.Code, "attempt", work.Attempts)
	err = c.runHook(ctx, c.facts(work, file), file)
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() == -1 { // a signal that is not ours: the box goes down, perhaps
		return ota.NewTransient(ota.CodePackageHook, fmt.Errorf("cannot install package %q: %w", c.Name, err))
	}
	if err != nil {
		return c.end(work, ota.NewPermanent(ota.CodePackageHook, fmt.Errorf("cannot install package %q: %w", c.Name, err)).
			WithHint("see what the installer says; package.install names it"))
	}
	if err := c.proved(ctx, work); err != nil {
		return c.end(work, ota.FaultOf(err))
	}
	return c.end(work, nil, signed)
}

// proved asks the package itself for its version, where it can be asked.
func (c *Channel) proved(ctx context.Context, work ota.PackageWork) error {
	if c.Installed == nil {
		return nil
	}
	code, err := c.Installed(context.WithoutCancel(ctx))
	if err == nil && code != work.To.Code {
		err = fmt.Errorf("it says that it is version %d", code)
	}
	if err != nil {
		return ota.NewPermanent(ota.CodeVersionMismatch, fmt.Errorf("cannot keep package %q version %d: %w", c.Name, work.To.Code, err))
	}
	return nil
}

// facts is what the installer gets on standard input.
func (c *Channel) facts(work ota.PackageWork, file string) []byte {
	data, err := json.Marshal(struct {
		Name        string `json:"name"`
		Kind        string `json:"kind"`
		File        string `json:"file"`
		VersionCode int64  `json:"version_code"`
		VersionName string `json:"version_name"`
		Description string `json:"description"`
		FromCode    int64  `json:"from_code"` // 0: nothing was installed
	}{c.Name, c.Kind, file, work.To.Code, work.To.Name, work.Description, work.From.Code})
	if err != nil {
		panic(err) // plain values always marshal
	}
	return data
}

// report makes the report, if there is to be one.
func (c *Channel) report(kind string, work ota.PackageWork, code int64) []ota.Report {
	if !c.Report {
		return nil
	}
	running := work.From.Code
	if kind == journal.ReportOutcome && code == 0 {
		running = work.To.Code
	}
	return []ota.Report{{Type: kind, AppKey: c.Key, Time: c.Now(), Running: max(oldest, running), Target: work.To.Code, Code: code}}
}

// commit journals the work.
func (c *Channel) commit(work ota.PackageWork, reports ...[]ota.Report) error {
	rec := c.rec()
	rec.Work = &work
	change := journal.ChannelChange{Package: c.Name, PackageRecord: &rec}
	for _, list := range reports {
		change.Reports = append(change.Reports, list...)
	}
	if err := c.Journal.CommitChannel(change); err != nil {
		return err
	}
	c.edit(func(s *State) { s.Record = rec })
	return nil
}

// end journals how it ended, with the history, the event and the reports, and
// removes the files. signed is the signed version that was installed, if any.
func (c *Channel) end(work ota.PackageWork, fault *ota.Fault, signed ...string) error {
	now := c.Now()
	rec := c.rec()
	rec.Work = nil
	outcome := ota.Outcome{ID: work.ID, Kind: ota.KindPackage, Name: c.Name, Result: ota.PhaseConfirmed,
		Offer: ota.Offer{VersionCode: work.To.Code, VersionName: work.To.Name, URL: work.URL, Type: work.Type}, From: work.From,
		By: "poll", Failure: ota.FailureOf(fault), Started: work.StartedAt, Ended: now}
	change := journal.ChannelChange{Package: c.Name, PackageRecord: &rec, Ended: &outcome}
	if fault == nil {
		rec.Installed, rec.Bad = work.To, nil
		rec.Floor = highest(rec.Floor, signed)
		change.Reports = c.report(journal.ReportOutcome, work, 0)
	} else {
		outcome.Result = ota.PhaseFailed
		rec.Bad = &ota.BadVersion{Version: work.To, Failure: *outcome.Failure}
		if fault.Class == ota.Transient || passing[fault.Code] {
			rec.Bad.Until = now.Add(rest)
		}
		kind := journal.ReportOutcome
		if work.Phase == ota.PhaseDownloading {
			kind = reportDownload
		}
		change.Reports = c.report(kind, work, c.Result(outcome.Failure))
		c.Log.Warn("package failed", "package", c.Name, "version", work.To.Code, "code", fault.Code, "cause", fault)
	}
	if c.Tell != nil {
		change.Events = []journal.Event{c.Tell(outcome)}
	}
	if err := c.Journal.CommitChannel(change); err != nil {
		return err
	}
	c.edit(func(s *State) { s.Record = rec })
	c.Log.Info("package ended", "package", c.Name, "version", work.To.Code, "result", outcome.Result)
	c.clean()
	return nil
}

// passing are the codes of permanent faults that somebody may mend on a server
// without publishing a new version.
var passing = map[ota.Code]bool{ota.CodeFirmwareMissing: true, ota.CodeFirmwareHTML: true}

// clean removes what was staged for this package.
func (c *Channel) clean() {
	names, err := c.FS.ReadDir(c.Dir)
	if err != nil {
		return // not made yet
	}
	prefix := "package-" + c.Name
	for _, name := range names {
		if name != prefix && !strings.HasPrefix(name, prefix+".") {
			continue
		}
		if err := durable.Remove(c.FS, c.staged(strings.TrimPrefix(name, prefix))); err != nil {
			c.Log.Warn("cannot remove a staged package", "cause", err)
		}
	}
}
