package agent

import (
	"context"
	"encoding/json"
	"path"

	"otad/agent/report"
	"otad/board/sim"
	"otad/ota"
	"otad/ota/journal"
	"otad/ota/swu"
)

// checkDefault: what the box falls back to is whole and proved itself. Nothing
// is made permanent that is not healthy.
func (b *crashBox) checkDefault(driver *sim.Board) {
	boot, err := driver.Current(context.Background())
	if err != nil {
		if !planned(err) {
			b.violated("the board does not say what runs: %v", err)
		}
		return
	}
	slot := boot.Slot
	if boot.Trial {
		slot = map[string]string{"a": "b", "b": "a"}[boot.Slot]
	}
	code := crashFirmware().identify(b.disk, path.Join(crashBoxDir, "slot-"+slot+".img"))
	switch {
	case code == 0:
		b.violated("slot %q is the permanent choice and holds no whole image", slot)
	case !b.story.starts(code) || !b.story.healthy(code):
		b.violated("slot %q is the permanent choice and version %d is not healthy", slot, code)
	}
}

// checkPromises: the journal does not vouch for what is not on the disk.
func (b *crashBox) checkPromises(j *journal.Journal) {
	s, err := j.Load()
	if err != nil {
		b.violated("the journal does not load: %v", err)
		return
	}
	b.checkFloor(s.Box.Floor)
	if b.lies() {
		return
	}
	r := s.Update
	artifact := crashFirmware().artifacts[r.Offer.VersionCode]
	switch r.Phase {
	case ota.PhaseDownloading:
		if !holds(b.disk, path.Join(crashStaging, r.ID+".swu"), artifact[:r.Download.SyncedBytes]) {
			b.violated("the checkpoint vouches for %d bytes that are not there", r.Download.SyncedBytes)
		}
	case ota.PhaseDownloaded, ota.PhaseInstalling:
		if landed := r.Download.SyncedBytes - crashFirmware().offset; r.Streamed && landed > 0 {
			slot := path.Join(crashBoxDir, "slot-"+r.ToSlot+".img")
			image := crashFirmware().images[r.Offer.VersionCode]
			if !holds(b.disk, slot, image[:min(landed, int64(len(image)))]) {
				b.violated("the checkpoint vouches for %d bytes of the slot that are not there", landed)
			}
		}
		if r.File != "" && !holds(b.disk, r.File, artifact) {
			b.violated("the update is %s and the artifact is not there", r.Phase)
		}
	case ota.PhaseInstalled, ota.PhaseArmed:
		slot := path.Join(crashBoxDir, "slot-"+r.ToSlot+".img")
		if code := r.Offer.VersionCode; code != 0 && !holds(b.disk, slot, crashFirmware().images[code]) {
			b.violated("the update is %s and the slot does not hold the image", r.Phase)
		}
	}
}

// checkFloor takes the journal's floor. The one beside it counts as well, so
// that not even the loss of the journal makes it fall.
func (b *crashBox) checkFloor(floor string) {
	beside, err := ReadFloor(b.disk, crashConfig().State.Dir)
	if err != nil && !b.lies() && !planned(err) {
		b.violated("the floor beside the journal: %v", err)
	}
	floor = higher(floor, beside)
	if b.floor != "" && swu.CompareVersions(floor, b.floor) < 0 {
		b.violated("the floor fell from %q to %q", b.floor, floor)
	}
	b.floor = floor
}

// checkJournal: every update that the operator was told of has one outcome, in
// the history and among the events, or is still under way.
func (b *crashBox) checkJournal(j *journal.Journal, atRest bool) {
	s, err := j.Load()
	history, historyErr := j.History(journal.MaxHistory)
	outbox, outboxErr := j.Pending(journal.MaxOutbox)
	if err != nil || historyErr != nil || outboxErr != nil {
		b.violated("the journal cannot be read: %v %v %v", err, historyErr, outboxErr)
		return
	}
	b.checkFloor(s.Box.Floor)
	ended := map[string]ota.Phase{}
	for _, o := range history {
		if ended[o.ID] != "" {
			b.violated("update %s ended twice in the history", o.ID)
		}
		ended[o.ID] = o.Result
		// What a person goes back to was healthy once.
		now := b.story.says == "" || o.Back
		if code := o.Offer.VersionCode; now && o.Result == ota.PhaseConfirmed && code != 0 && !b.story.healthy(code) {
			b.violated("version %d is said to be confirmed and is not healthy", code)
		}
	}
	told, reported := map[string]int{}, false
	for _, entry := range outbox {
		var e report.Event
		if err := json.Unmarshal(entry.Payload, &e); err != nil {
			b.violated("an event cannot be read: %v", err)
			continue
		}
		switch e.Type {
		case report.EventOutcome:
			told[e.Update]++
			if e.Outcome.Result != ended[e.Update] {
				b.violated("update %s ended as %q and is told as %q", e.Update, ended[e.Update], e.Outcome.Result)
			}
		case report.EventPhase:
			if ended[e.Update] == "" && e.Update != s.Update.ID {
				b.violated("update %s was told of and has no outcome", e.Update)
			}
		case report.EventJournalRecovered:
			reported = true
		}
	}
	for id := range ended {
		if told[id] != 1 {
			b.violated("the outcome of update %s is told %d times", id, told[id])
		}
	}
	if atRest && b.recovered > 0 && !reported {
		b.violated("the journal was recovered and nobody is told")
	}
}

// checkRest: once an update is over, nothing is left of it but its effect.
func (b *crashBox) checkRest(a *Agent) {
	if a.boot.Trial {
		b.violated("it rests in a system on trial")
	}
	if names, err := b.disk.ReadDir(crashStaging); err == nil && len(names) > 0 {
		b.violated("staging is not clean: %v", names)
	}
	for name := range b.files {
		if path.Ext(name) == ".new" {
			b.violated("half a journal is left: %s", namesOf(b.files))
		}
	}
	last := a.box.Last
	if last == nil || last.Offer.VersionCode == 0 || b.byHand {
		return
	}
	want := last.From.Code
	if last.Result == ota.PhaseConfirmed {
		want = last.Offer.VersionCode
	}
	if a.Running.Code != want {
		b.violated("version %d runs after the update to %d %s", a.Running.Code, last.Offer.VersionCode, last.Result)
	}
}
