package agent

import (
	"context"
	"time"

	"otad/agent/report"
	"otad/board"
	"otad/ota"
)

// Bounds of what the front panel costs: each change may be a process.
const (
	displayEvery = 2 * time.Second
	displayTime  = 10 * time.Second // for one change
)

// displayLoop keeps the front panel at what goes on until ctx ends.
func (a *Agent) displayLoop(ctx context.Context, panel board.Display) {
	changed, stop := a.Watch()
	defer stop()
	shown := board.Screen{Phase: string(ota.PhaseIdle)} // what a panel shows of no update is not ours
	for {
		select {
		case <-ctx.Done():
			return
		case <-changed:
		}
		screen := screenOf(a.State())
		if screen == shown {
			continue
		}
		bounded, cancel := context.WithTimeout(ctx, displayTime)
		err := panel.Display(bounded, screen)
		cancel()
		if err != nil && ctx.Err() == nil {
			a.Log.Warn("cannot show it on the front panel", "cause", err)
		}
		shown = screen
		if !sleep(ctx, displayEvery) {
			return
		}
	}
}

func screenOf(s report.State) board.Screen {
	return board.Screen{Phase: string(s.Phase), Stage: s.Stage, Percent: s.Percent, Text: s.Reason}
}
