package agent

import (
	"otad/agent/report"
	"otad/board"
	"otad/ota/journal"
)

// tellBoot reports, once a boot, that the box was started and why. That it
// cannot be journalled now changes nothing: it is told at the next start.
func (a *Agent) tellBoot() {
	if b, ok := a.Board.(board.Reasoner); ok {
		reason, err := b.Reason()
		if err != nil {
			a.Log.Warn("cannot tell why the box was restarted", "cause", err)
		}
		a.bootReason = reason
	}
	if !a.Poll || a.box.BootID == a.boot.ID {
		return
	}
	box := a.box
	box.BootID = a.boot.ID
	event := a.event(report.Event{Type: report.EventBoot, Slot: a.boot.Slot, Text: a.bootReason})
	if err := a.Journal.Commit(journal.Change{Box: &box, Events: []journal.Event{event}}); err != nil {
		a.Log.Warn("cannot journal that the box was started", "cause", err)
		return
	}
	a.box = box
}
