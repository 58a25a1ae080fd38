package doctor

import (
	"errors"
	"io/fs"
	"path/filepath"
	"strings"

	"otad/agent"
	"otad/ota"
	"otad/ota/durable"
	"otad/ota/journal"
)

func (e *examination) identity() {
	d := e.Config.Device
	running, err := e.Config.RunningVersion()
	if err != nil {
		e.fail("identity", "", "the image must write its versionCode into firmware.version_file", "%v", err)
		return
	}
	e.ok("identity", "", "model %s, device %s, version %d, otad %s", d.Model, d.Key, running.Code, e.Version)
}

func (e *examination) service() {
	if e.Service {
		e.ok("service", "", "it runs")
		return
	}
	e.warn("service", "", "start `otad run`; nothing is checked, confirmed or reported meanwhile", "no service answers at %s", e.Config.Control.Socket)
}

// journal reads what otad remembers.
func (e *examination) journal() {
	path := filepath.Join(e.Config.State.Dir, "journal.db")
	g, err := journal.Peek(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		e.warn("journal", "", "nothing, on a new box: the first start makes it", "%s is not there", path)
	case errors.Is(err, journal.ErrDamaged):
		e.fail("journal", "", "start otad: it keeps the file aside and rebuilds the record from the board", "%v", err)
	case err != nil:
		e.fail("journal", "", "check that state.dir can be read", "%v", err)
	default:
		e.glimpse, e.known = g, true
		e.ok("journal", "", "whole, schema %d, %d outcomes, %d events wait", g.Schema, g.History, g.Outbox)
	}
	if len(g.Kept) > 0 {
		e.warn("journal", "kept aside", "look at the flash if it comes again; remove the files when nobody needs them",
			"it was damaged before: %s", strings.Join(g.Kept, " "))
	}
}

// floor compares its two copies.
func (e *examination) floor() {
	beside, err := agent.ReadFloor(durable.OS, e.Config.State.Dir)
	inJournal := e.glimpse.Box.Floor
	const heals = "the next start of otad makes it good"
	switch {
	case err != nil && e.known && inJournal != "":
		e.warn("floor", "", heals, "%v; the journal says %s", err, inJournal)
	case err != nil:
		e.fail("floor", "", "older versions may be installed until the next update is confirmed", "%v", err)
	case !e.known && beside != "":
		e.warn("floor", "", heals, "%s, in the file beside the journal only", beside)
	case beside != inJournal:
		e.warn("floor", "", heals, "the journal says %q, the file beside it %q: the higher one counts", inJournal, beside)
	case beside == "":
		e.ok("floor", "", "none: nothing was confirmed yet")
	default:
		e.ok("floor", "", "%s", beside)
	}
}

// record tells what the next start would make of journal and board.
func (e *examination) record() {
	if !e.booted || !e.known {
		return
	}
	r := e.glimpse.Update
	next, act := ota.Next(r, ota.Booted{BootID: e.boot.ID, Slot: e.boot.Slot, Trial: e.boot.Trial})
	switch {
	case next.Phase != r.Phase && next.Phase == ota.PhaseTrial && r.Phase == ota.PhaseIdle:
		e.warn("record", "", "start otad: it judges the system like any other", "slot %q runs on trial and the journal knows of no update", e.boot.Slot)
	case next.Phase != r.Phase:
		e.warn("record", "", "start otad: it puts this right", "the journal says %s, the board makes it %s", r.Phase, next.Phase)
	case r.Phase == ota.PhaseTrial && r.Failure != nil:
		e.warn("record", "", "the old system comes back with the next restart", "the system on trial is given up: %s", r.Failure.Text)
	case r.Phase == ota.PhaseIdle || r.Phase == "":
		e.ok("record", "", "no update under way")
	default:
		e.ok("record", "", "update %s is %s; next comes %s", r.ID, r.Phase, act)
	}
}
