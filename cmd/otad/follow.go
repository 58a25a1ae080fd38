package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"otad/agent/report"
	"otad/cmd/internal/cli"
	"otad/ota"
)

// followUpdate shows the update of s to its end and maps that end to the exit
// code: confirmed is done, armed and on its way to reboot is "reboot needed".
func followUpdate(ctx context.Context, env cli.Env, bar *progressLine, d door, s report.State, asJSON bool) error {
	id := s.Update.ID
	last := s
	var outcome *ota.Outcome
	ctx, giveUp := context.WithCancelCause(ctx)
	defer giveUp(nil)
	worry := worry{giveUp: func() { giveUp(errPatience) }}
	err := d.follow(ctx, func(s report.State) bool {
		if s.Last != nil && s.Last.ID == id {
			outcome = s.Last
			return false
		}
		last = s
		bar.show(s)
		if d.daemon() {
			return true
		}
		worry.look(s)
		return !mustWait(s)
	})
	worry.stop()
	bar.end()
	switch {
	case outcome != nil:
		return answerOutcome(env, asJSON, last, *outcome)
	case context.Cause(ctx) == errPatience && last.Trouble != nil:
		return ota.NewTransient(last.Trouble.Code, errors.New(last.Trouble.Text)).
			WithHint("the update is kept: `otad upgrade` or the service goes on with it")
	case err != nil && !errors.Is(err, io.EOF):
		return err
	}
	if err := answer(env, asJSON, last, func(w io.Writer) { printState(w, last) }); err != nil {
		return err
	}
	toRescue := last.Phase == ota.PhaseInstalling && last.Reason != "" && last.Trouble == nil
	if last.Phase == ota.PhaseArmed || last.Phase == ota.PhaseTrial || toRescue {
		return cli.Exit(cli.RebootNeeded)
	}
	if d.daemon() {
		return ota.NewTransient(ota.CodeInternal, fmt.Errorf("cannot follow the update: the service ended while it was %s", last.Phase)).
			WithHint("it goes on when the service starts again")
	}
	return ota.NewRefused(ota.CodeNotNow, fmt.Errorf("cannot finish the update now: %s", last.Reason)).
		WithHint("it goes on with `otad run`, or at once with `otad upgrade --yes`")
}

// patience is how long a person in the foreground is kept waiting by the same
// trouble without progress: as long as some waits between attempts, so that an
// outage of half a minute ends in an attempt that works. The service tries for
// much longer.
const patience = 2 * time.Minute

var errPatience = errors.New("the same trouble for too long")

// worry gives up when trouble lasts.
type worry struct {
	giveUp func()
	timer  *time.Timer // while there is trouble
	done   int64       // bytes when it began
}

func (w *worry) look(s report.State) {
	var done int64
	if s.Transfer != nil {
		done = s.Transfer.DoneBytes
	}
	switch {
	case s.Trouble == nil, done > w.done:
		w.stop()
	case w.timer == nil:
		w.timer = time.AfterFunc(patience, w.giveUp)
	}
	w.done = max(w.done, done)
}

func (w *worry) stop() {
	if w.timer != nil {
		w.timer.Stop()
		w.timer = nil
	}
}

// mustWait tells whether a person in the foreground has nothing more to see:
// the policy wants to wait for a window, the viewer or consent.
func mustWait(s report.State) bool {
	asking := s.Phase == ota.PhaseOffered || s.Phase == ota.PhaseDownloaded || s.Phase == ota.PhaseArmed ||
		s.Phase == ota.PhaseInstalling // which a rescue system must do
	return asking && s.Reason != "" && s.Trouble == nil && s.Reason != "restarting"
}

// answerOutcome prints how the update ended and turns it into an error.
func answerOutcome(env cli.Env, asJSON bool, s report.State, o ota.Outcome) error {
	if err := answer(env, asJSON, o, func(w io.Writer) { printOutcome(w, o) }); err != nil {
		return err
	}
	if o.Failure == nil {
		return nil
	}
	return ota.NewPermanent(o.Failure.Code, errors.New(o.Failure.Text)).WithHint(o.Failure.Hint)
}

// progressLine shows an update on one line of a terminal that redraws itself,
// or, where there is none, as a line for each phase and each twentieth of the
// way. What else is to be said goes through it, too, and begins a line.
type progressLine struct {
	w     io.Writer
	live  bool
	mu    sync.Mutex
	width int
	said  string
	drawn bool
}

const barCells = 24

// Write says something else than progress.
func (p *progressLine) Write(text []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.newLine()
	return p.w.Write(text)
}

func (p *progressLine) show(s report.State) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.live {
		p.plain(s)
		return
	}
	text := fmt.Sprintf("%-12s", s.Phase)
	if s.Stage != "" {
		text = fmt.Sprintf("%-12s", s.Stage)
	}
	if s.Transfer != nil && s.Transfer.TotalBytes > 0 {
		cells := s.Percent * barCells / 100
		text += fmt.Sprintf("[%s%s] %3d%%  %s of %s", strings.Repeat("#", cells), strings.Repeat(".", barCells-cells),
			s.Percent, cli.SizeText(s.Transfer.DoneBytes), cli.SizeText(s.Transfer.TotalBytes))
		if left := s.Transfer.ETASeconds; left > 0 {
			text += fmt.Sprintf("  %s left", time.Duration(left)*time.Second)
		}
	} else if why := whyNot(s); why != "" {
		text += why
	}
	line := []rune(text)
	line = line[:min(len(line), 79)] // the narrowest terminal
	fmt.Fprintf(p.w, "\r%s%s", string(line), strings.Repeat(" ", max(0, p.width-len(line))))
	p.width, p.drawn = len(line), true
}

// whyNot is what keeps an update, in one line.
func whyNot(s report.State) string {
	if s.Trouble != nil && s.Reason != "" {
		return cli.Printable(s.Reason + ": " + s.Trouble.Text)
	}
	return cli.Printable(s.Reason)
}

func (p *progressLine) plain(s report.State) {
	line := string(s.Phase)
	if s.Stage != "" {
		line += " " + s.Stage
	}
	if s.Transfer != nil && s.Transfer.TotalBytes > 0 {
		line += fmt.Sprintf(" %d%%", s.Percent/5*5)
	} else if why := whyNot(s); why != "" {
		line += ": " + why
	}
	if line != p.said {
		p.said = line
		fmt.Fprintln(p.w, line)
	}
}

func (p *progressLine) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.newLine()
}

func (p *progressLine) newLine() {
	if p.drawn {
		fmt.Fprintln(p.w)
		p.width, p.drawn = 0, false
	}
}
