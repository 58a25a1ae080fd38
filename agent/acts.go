package agent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"time"

	"otad/agent/config"
	"otad/agent/report"
	"otad/board"
	"otad/ota"
	"otad/ota/durable"
	"otad/ota/install"
	"otad/ota/journal"
	"otad/ota/pace"
	"otad/ota/policy"
	"otad/ota/swu"
)

// perform does an act: quick ones at once, long ones in the worker.
func (a *Agent) perform(ctx context.Context, act ota.Act) {
	if a.Hold && act != ota.ActSettle {
		return
	}
	switch act {
	case ota.ActAskDownload:
		a.ask(ctx, policy.Download)
	case ota.ActAskInstall:
		a.ask(ctx, policy.Install)
	case ota.ActAskReboot:
		a.ask(ctx, policy.Reboot)
	case ota.ActSettle:
		a.settle(ctx)
	case ota.ActDownload:
		a.try(ctx, a.unlessMetered(a.download))
	case ota.ActInstall:
		a.try(ctx, a.install)
	case ota.ActArm:
		a.try(ctx, a.arm)
	case ota.ActCheckHealth:
		a.try(ctx, a.checkHealth)
	case ota.ActConfirm:
		a.try(ctx, a.confirm)
	case ota.ActReject:
		a.try(ctx, a.reject)
	case ota.ActReboot:
		a.reboot(ctx)
	case ota.ActEnterRescue:
		a.enterRescue(ctx)
	}
}

// try runs an act in the worker, after a wait when it failed before. A nil
// event means that it was interrupted.
func (a *Agent) try(ctx context.Context, act func(context.Context, ota.Record) (ota.Event, error)) {
	rec := a.rec
	wait := a.backoff()
	if wait > 0 {
		at := a.Clock.Now().Add(wait)
		a.explain(policy.Verdict{Reason: "trying again after a fault", At: at})
	}
	a.start(ctx, func(ctx context.Context) workResult {
		if !sleep(ctx, wait) {
			return workResult{}
		}
		a.explain(policy.Verdict{})
		event, err := act(ctx, rec)
		if err != nil && ctx.Err() == nil {
			f := ota.FaultOf(err)
			a.trouble(f)
			a.Log.Warn("act failed", "update", rec.ID, "phase", rec.Phase, "class", f.Class, "code", f.Code, "cause", err)
			event = ota.Failed{Fault: f}
		}
		return workResult{event: event}
	})
}

// backoff is the wait before the act of the record is tried again.
func (a *Agent) backoff() time.Duration {
	if a.rec.Attempts == 0 {
		return 0
	}
	d := a.Config.Download
	wait := ota.Backoff(a.rec.Attempts, time.Duration(d.RetryFirst), time.Duration(d.RetryMax), rand.Float64())
	return max(wait, a.retryAfter)
}

// sleep waits d and tells whether ctx let it.
func sleep(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// staged is where the artifact of an update is kept.
func (a *Agent) staged(rec ota.Record) string {
	return filepath.Join(a.Config.Download.Dir, rec.ID+".swu")
}

func (a *Agent) download(ctx context.Context, rec ota.Record) (ota.Event, error) {
	if rec.Offer.File != "" {
		return ota.Fetched{File: rec.Offer.File}, nil
	}
	if a.mayStream() && a.Config.Download.Mode == config.ModeStreamed {
		return ota.Unstaged{}, nil
	}
	path := a.staged(rec)
	if err := durable.MkdirAll(a.FS, a.Config.Download.Dir, 0o755); err != nil {
		return nil, ota.NewTransient(ota.CodeBoard, err)
	}
	err := a.Fetcher.Fetch(ctx, Fetch{
		URL: rec.Offer.URL, Path: path, From: rec.Download,
		Save: func(c ota.Checkpoint) error { return a.record(ctx, ota.Progressed{Checkpoint: c}) },
		Progress: func(done, total, rate int64) {
			a.progress("", done, total, rate)
		},
	})
	if f := ota.FaultOf(err); f != nil && f.Code == ota.CodeNoSpace && a.mayStream() {
		a.Log.Info("no room to stage the artifact, it will be streamed", "update", rec.ID, "need", f.NeedBytes)
		a.clean(rec)
		return ota.Unstaged{}, nil
	}
	if err != nil {
		return nil, err
	}
	return ota.Fetched{File: path}, nil
}

// install verifies the staged artifact, then fills the idle slot.
func (a *Agent) install(ctx context.Context, rec ota.Record) (ota.Event, error) {
	if rec.Streamed {
		return a.unlessMetered(a.stream)(ctx, rec)
	}
	f, err := a.FS.OpenFile(rec.File, os.O_RDONLY, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, ota.NewPermanent(ota.CodeFirmwareNotFound, fmt.Errorf("cannot open artifact: %w", err))
	}
	if err != nil {
		return nil, ota.NewTransient(ota.CodeInternal, fmt.Errorf("cannot open artifact: %w", err))
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("cannot examine artifact: %w", err)
	}
	rules, err := a.rules(ctx, rec)
	if err != nil {
		return nil, err
	}
	target := rules.Target
	plan, err := install.Open(ctx, durable.Passing(f), info.Size(), rules, a.installProgress)
	if err != nil {
		return nil, err
	}
	put := func(ctx context.Context, rec ota.Record) (ota.Event, error) {
		return a.put(ctx, plan, target.Name, func(slot board.Medium) (ota.Image, error) {
			// The slot was the target before: an interrupted install goes on.
			return plan.Write(ctx, slot, rec.ToSlot == target.Name, a.installProgress)
		})
	}
	if plan.Fetches() {
		put = a.unlessMetered(put)
	}
	return put(ctx, rec)
}

// put lets write bring a verified artifact to where it goes.
func (a *Agent) put(ctx context.Context, plan *install.Plan, slot string, write func(board.Medium) (ota.Image, error)) (ota.Event, error) {
	switch {
	case !plan.FillsSlot():
		if _, err := write(nil); err != nil {
			return nil, err
		}
		return ota.Applied{BootID: a.boot.ID, Stay: !plan.Reboot}, nil
	case slot == a.boot.Slot:
		return ota.Detoured{Rescue: a.Config.Board.Rescue, BootID: a.boot.ID}, nil
	}
	image, err := a.fill(ctx, slot, write)
	if err != nil {
		return nil, err
	}
	return ota.Written{Image: image, Stay: !plan.Reboot}, nil
}

// rules are what an artifact is held to.
func (a *Agent) rules(ctx context.Context, rec ota.Record) (install.Rules, error) {
	target, copyName, err := a.target(ctx)
	if err != nil {
		return install.Rules{}, err
	}
	trust, err := a.Trust()
	if err != nil {
		return install.Rules{}, err
	}
	around, err := a.around(ctx, target.Name)
	if err != nil {
		return install.Rules{}, err
	}
	around.Delta = a.delta(ctx, rec, target.Name)
	return install.Rules{
		Trust: trust, Around: around, UpdateTypes: a.Config.Install.UpdateTypes,
		Selection: swu.Selection{Board: a.Config.Device.Model, Revision: a.Config.Device.Revision, Set: a.Config.Board.Set, Mode: copyName},
		At:        a.Clock.Now(), Floor: a.box.Floor, BelowOK: rec.Below, Target: target,
	}, nil
}

// target finds the idle slot and its name in software sets: copy1, copy2 …. With
// a rescue system it is the other slot, even if that runs.
func (a *Agent) target(ctx context.Context) (install.Target, string, error) {
	slots, err := a.Board.Slots(ctx)
	if err != nil {
		return install.Target{}, "", boardFault(err)
	}
	var target install.Target
	copyName := ""
	for i, s := range slots {
		idle := s.Name != a.boot.Slot
		if rescue := a.Config.Board.Rescue; rescue != "" {
			idle = s.Name != rescue
		}
		if idle && target.Name == "" {
			target.Name, target.Device, target.SizeBytes = s.Name, s.Device, s.SizeBytes
			copyName = fmt.Sprintf("copy%d", i+1)
			continue
		}
		names, err := a.forbidden(ctx, s)
		if err != nil {
			return target, "", err
		}
		target.Forbidden = append(target.Forbidden, names...)
	}
	if target.Name == "" {
		return target, "", boardFault(fmt.Errorf("cannot choose a slot: the board has no idle one"))
	}
	return target, copyName, nil
}

// fill is the dangerous part: mark the slot unbootable, write, sync, read back.
func (a *Agent) fill(ctx context.Context, name string, write func(board.Medium) (ota.Image, error)) (ota.Image, error) {
	if err := a.targeted(ctx, name); err != nil {
		return ota.Image{}, err
	}
	if err := a.Board.MarkUnbootable(ctx, name); err != nil {
		return ota.Image{}, boardFault(err)
	}
	slot, err := a.Board.OpenSlot(ctx, name)
	if err != nil {
		return ota.Image{}, boardFault(err)
	}
	defer slot.Close()
	defer func() { a.stages.end(a.Log) }()
	var image ota.Image
	err = pace.Background(func() (err error) {
		if image, err = write(a.paced(ctx, slot)); err != nil {
			return err
		}
		return install.ReadBack(ctx, slot, image, a.installProgress)
	})
	return image, err
}

func (a *Agent) installProgress(stage install.Stage, done, total int64) {
	a.stages.at(a.Log, stage, done)
	a.progress(string(stage), done, total, 0)
}

func (a *Agent) arm(ctx context.Context, rec ota.Record) (ota.Event, error) {
	if rec.Back {
		if err := a.stillThere(ctx, rec); err != nil {
			return nil, err
		}
	}
	if err := a.Board.Arm(ctx, rec.ToSlot); err != nil {
		return nil, boardFault(err)
	}
	return ota.Armed{BootID: a.boot.ID}, nil
}

func (a *Agent) confirm(ctx context.Context, _ ota.Record) (ota.Event, error) {
	if err := a.Board.Confirm(ctx); err != nil {
		return nil, boardFault(err)
	}
	// The anchors and the vars that the artifact brought count from now on.
	if err := a.Around.Promote(); err != nil {
		return nil, ota.NewTransient(ota.CodeBoard, err)
	}
	return ota.Confirmed{}, nil
}

func (a *Agent) reject(ctx context.Context, _ ota.Record) (ota.Event, error) {
	if err := a.Board.Reject(ctx); err != nil {
		return nil, boardFault(err)
	}
	return ota.Rejected{}, nil
}

// reboot asks for the restart; one that cannot be asked for is asked for again.
func (a *Agent) reboot(ctx context.Context) {
	reason := "otad: update " + a.rec.ID
	if a.rec.Failure != nil {
		reason = "otad: rollback of " + a.rec.ID
	}
	if err := a.restart(ctx, reason); err != nil {
		a.Log.Error("cannot restart the box", "cause", err)
		a.trouble(ota.FaultOf(err))
		a.later()
	}
}

// restart asks the board for a restart and ends the loop.
func (a *Agent) restart(ctx context.Context, reason string) error {
	if err := a.Board.Reboot(ctx, reason); err != nil {
		return boardFault(err)
	}
	a.Log.Info("restart", "reason", reason)
	a.explain(policy.Verdict{Reason: "restarting"})
	a.rebooting = true
	return nil
}

// settle writes the end of an update: the history, the floor, the memory of
// a bad offer, and the event, in one commit with the idle record.
func (a *Agent) settle(ctx context.Context) {
	rec := a.rec
	if rec.Phase != ota.PhaseConfirmed && rec.ToSlot != "" && rec.ToSlot != a.boot.Slot {
		// It is half written, or armed by an act whose success got lost, or armed
		// still though the bootloader passed it over. What is the permanent choice
		// by now is none of these.
		err := a.Board.MarkUnbootable(ctx, rec.ToSlot)
		if err != nil && !errors.Is(err, board.ErrNoFallback) {
			a.Log.Error("cannot mark the slot unbootable", "slot", rec.ToSlot, "cause", err)
			a.later()
			return
		}
	}
	leaves := a.leavesRescue(rec)
	if leaves {
		if err := a.Board.Arm(ctx, rec.FromSlot); err != nil {
			a.Log.Error("cannot go back to the main system", "cause", err)
			a.later()
			return
		}
	}
	now := a.Clock.Now()
	outcome := report.OutcomeOf(rec, now)
	box := a.box
	box.Last = &outcome
	switch rec.Phase {
	case ota.PhaseConfirmed:
		// The clock was good enough to judge the signer's certificate by.
		box.LastGood = now
		if rec.Applied {
			// The version of the system is what it was: the server goes on offering it.
			box = box.Remember(ota.BadOffer{Key: rec.Offer.Key(), Code: ota.CodeNothing, Text: "what it brings is in place already"})
			break
		}
		box = box.Confirmed(rec, a.Running)
		box.Floor = a.raiseFloor(box.Floor, rec.Image.Version)
	default:
		if rec.Back {
			box = box.Drop(rec.ToSlot) // there is no second try: it is marked by now
			break
		}
		bad := badOffer(rec, now)
		if a.inRescue() && bad.NeedBytes == 0 {
			bad.Until = now.Add(coolDown) // there is no other system to stay with
		}
		box = box.Remember(bad)
	}
	next, _ := ota.Next(rec, ota.Settled{})
	event := a.event(report.Event{Type: report.EventOutcome, Update: rec.ID, Outcome: &outcome, Failure: rec.Failure, Slot: rec.ToSlot})
	event.Outcome = true
	err := a.commit(next, &journal.Change{Box: &box, Ended: &outcome, Events: []journal.Event{event}, Reports: a.reports(rec)})
	if err != nil {
		a.Log.Error("cannot write the history", "cause", err)
		a.later()
		return
	}
	a.planProof()
	a.Log.Info("update ended", "update", rec.ID, "result", rec.Phase, "version", rec.Offer.VersionCode)
	a.clean(rec)
	if rec.Phase != ota.PhaseConfirmed {
		if err := a.Around.Discard(); err != nil {
			a.Log.Warn("cannot discard the anchors and vars of the failed update", "cause", err)
		}
	}
	a.trouble(nil)
	a.explain(policy.Verdict{})
	a.planCheck()
	a.explainRescue()
	if leaves {
		if err := a.restart(ctx, "otad: back to the main system"); err != nil {
			a.Log.Error("cannot restart the box", "cause", err)
		}
		return
	}
	if a.boot.Trial && rec.BootID != a.boot.ID {
		// The system that runs was not what this update was about: it is judged now.
		a.feed(ctx, a.bootEvent())
	}
}

// badOffer is how a failed update is remembered: what may be better tomorrow
// is tried again tomorrow, all else waits for another offer or a person.
func badOffer(rec ota.Record, now time.Time) ota.BadOffer {
	bad := ota.BadOffer{Key: rec.Offer.Key(), Code: ota.CodeInternal}
	if rec.Failure == nil {
		return bad
	}
	bad.Code, bad.Text, bad.NeedBytes = rec.Failure.Code, rec.Failure.Text, rec.Failure.NeedBytes
	if bad.NeedBytes > 0 {
		return bad // until there is room
	}
	if bad.Code == ota.CodeDeclined {
		bad.VersionCode = rec.Offer.VersionCode
	}
	if bad.Code == ota.CodeNoAnswer {
		bad.Until = now // it is not bad: it may be asked about again
		return bad
	}
	if rec.Failure.Class == ota.Transient || coolsDown[rec.Failure.Code] {
		bad.Until = now.Add(coolDown)
	}
	return bad
}

// coolDown is how long an offer rests that failed for a reason that passes.
const coolDown = 24 * time.Hour

var coolsDown = map[ota.Code]bool{
	ota.CodeFirmwareMissing: true, ota.CodeFirmwareHTML: true,
	ota.CodeArtifactDamaged: true, ota.CodeArtifactHash: true, // it may have rotted here
}

// clean removes the staged file, but never a file that a person handed in.
func (a *Agent) clean(rec ota.Record) {
	if rec.ID == "" || rec.Offer.File != "" {
		return
	}
	for _, path := range []string{a.staged(rec), a.staged(rec) + ".part"} {
		if err := durable.Remove(a.FS, path); err != nil {
			a.Log.Warn("cannot remove the staged artifact", "cause", err)
		}
	}
}

// sweep removes staged artifacts that belong to no update under way.
func (a *Agent) sweep() {
	names, err := a.FS.ReadDir(a.Config.Download.Dir)
	if err != nil {
		return // not made yet
	}
	for _, name := range names {
		ours := a.rec.ID != "" && strings.HasPrefix(name, a.rec.ID+".swu")
		if ours || !strings.Contains(name, ".swu") {
			continue
		}
		if err := durable.Remove(a.FS, filepath.Join(a.Config.Download.Dir, name)); err != nil {
			a.Log.Warn("cannot remove a stale artifact", "cause", err)
		}
	}
}

// boardFault classes what the board answered.
func boardFault(err error) error {
	code := ota.CodeBoard
	if errors.Is(err, board.ErrEnvironment) {
		code = ota.CodeBootEnvironment
	}
	return ota.NewTransient(code, err)
}
