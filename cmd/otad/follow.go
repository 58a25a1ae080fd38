package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"otad/agent/report"
	"otad/cmd/internal/cli"
	"otad/ota"
)

// followUpdate shows the update of s to its end and maps that end to the exit
// code: confirmed is done, armed and on its way to reboot is "reboot needed".
func followUpdate(ctx context.Context, env cli.Env, d door, s report.State, asJSON bool) error {
	id := s.Update.ID
	last := s
	var outcome *ota.Outcome
	bar := &progressLine{w: env.Stderr, live: isTerminal(env.Stderr)}
	err := d.follow(ctx, func(s report.State) bool {
		if s.Last != nil && s.Last.ID == id {
			outcome = s.Last
			return false
		}
		last = s
		bar.show(s)
		return d.daemon() || !mustWait(s)
	})
	bar.end()
	switch {
	case outcome != nil:
		return answerOutcome(env, asJSON, last, *outcome)
	case err != nil && !errors.Is(err, io.EOF):
		return err
	}
	if err := answer(env, asJSON, last, func(w io.Writer) { printState(w, last) }); err != nil {
		return err
	}
	if last.Phase == ota.PhaseArmed || last.Phase == ota.PhaseTrial {
		return cli.Exit(cli.RebootNeeded)
	}
	if d.daemon() {
		return ota.NewTransient(ota.CodeInternal, fmt.Errorf("cannot follow the update: the service ended while it was %s", last.Phase)).
			WithHint("it goes on when the service starts again")
	}
	return ota.NewRefused(ota.CodeNotNow, fmt.Errorf("cannot finish the update now: %s", last.Reason)).
		WithHint("it goes on with `otad run`, or at once with `otad upgrade --yes`")
}

// mustWait tells whether a person in the foreground has nothing more to see:
// the policy wants to wait for a window, the viewer or consent.
func mustWait(s report.State) bool {
	asking := s.Phase == ota.PhaseOffered || s.Phase == ota.PhaseDownloaded || s.Phase == ota.PhaseArmed
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
// or, where there is none, as a line for each phase and each twentieth of the way.
type progressLine struct {
	w     io.Writer
	live  bool
	width int
	said  string
	drawn bool
}

const barCells = 24

func (p *progressLine) show(s report.State) {
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
			s.Percent, sizeText(s.Transfer.DoneBytes), sizeText(s.Transfer.TotalBytes))
		if left := s.Transfer.ETASeconds; left > 0 {
			text += fmt.Sprintf("  %s left", time.Duration(left)*time.Second)
		}
	} else if s.Reason != "" {
		text += printable(s.Reason)
	}
	text = text[:min(len(text), 79)] // the narrowest terminal
	fmt.Fprintf(p.w, "\r%s%s", text, strings.Repeat(" ", max(0, p.width-len(text))))
	p.width, p.drawn = len(text), true
}

func (p *progressLine) plain(s report.State) {
	line := string(s.Phase)
	if s.Stage != "" {
		line += " " + s.Stage
	}
	if s.Transfer != nil && s.Transfer.TotalBytes > 0 {
		line += fmt.Sprintf(" %d%%", s.Percent/5*5)
	} else if s.Reason != "" {
		line += ": " + printable(s.Reason)
	}
	if line != p.said {
		p.said = line
		fmt.Fprintln(p.w, line)
	}
}

func (p *progressLine) end() {
	if p.drawn {
		fmt.Fprintln(p.w)
	}
}

// isTerminal tells whether v is a character device that is no null device.
func isTerminal(v any) bool {
	f, ok := v.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0 && f.Name() != os.DevNull
}
