package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"otad/agent/control"
	boxreport "otad/agent/report"
	"otad/cmd/internal/cli"
	"otad/ota"
	"otad/transport/console"
)

const (
	// askEvery paces the looks at an update.
	askEvery = 500 * time.Millisecond
	// rebootPatience is how long a box may be away while it restarts.
	rebootPatience = 10 * time.Minute
)

// follow shows the update that data, a state, tells of to its end, through the
// restart of the box, and returns its outcome as an error.
func (d *serialDesk) follow(ctx context.Context, data json.RawMessage) error {
	var s boxreport.State
	if err := json.Unmarshal(data, &s); err != nil {
		return fmt.Errorf("cannot read the answer: %w", err)
	}
	var id string
	switch {
	case s.Update != nil:
		id = s.Update.ID
	case s.Last != nil: // it ended before it could be looked at
		id = s.Last.ID
	}
	bar := newProgress(d.env.Stderr)
	defer bar.end()
	for heard := time.Now(); s.Last == nil || s.Last.ID != id; {
		bar.state(s)
		select {
		case <-time.After(askEvery):
		case <-ctx.Done():
			return ctx.Err()
		}
		var now boxreport.State
		err := d.box.Do(ctx, console.Request{Verb: control.Status}, &now)
		switch {
		case err == nil:
			heard, s = time.Now(), now
		case errors.Is(err, console.ErrSilent) && time.Since(heard) < rebootPatience:
			bar.show("restarting", s.Percent, "the box does not answer")
		default:
			return err
		}
	}
	bar.end()
	return d.outcome(*s.Last)
}

func (d *serialDesk) outcome(o ota.Outcome) error {
	if d.json {
		if err := writeJSON(d.env.Stdout, o); err != nil {
			return err
		}
	} else {
		fmt.Fprintf(d.env.Stdout, "update %s to version %d %s: %s\n", o.ID, o.Offer.VersionCode, cli.Printable(o.Offer.VersionName), o.Result)
	}
	if o.Failure == nil {
		return nil
	}
	return ota.NewPermanent(o.Failure.Code, errors.New(cli.Printable(o.Failure.Text))).WithHint(cli.Printable(o.Failure.Hint))
}

// progress shows how far something is: a bar on a terminal that can, else a
// line for each twentieth of the way.
type progress struct {
	w     io.Writer
	live  bool
	said  string
	width int
}

const barCells = 24

func newProgress(stderr io.Writer) *progress {
	f, ok := stderr.(*os.File)
	return &progress{w: stderr, live: ok && cli.IsTerminal(f) && os.Getenv("TERM") != "dumb"}
}

func (p *progress) state(s boxreport.State) {
	what := string(s.Phase)
	if s.Stage != "" {
		what = s.Stage
	}
	detail := cli.Printable(s.Reason)
	if s.Transfer != nil && s.Transfer.TotalBytes > 0 {
		detail = fmt.Sprintf("%s of %s", cli.SizeText(s.Transfer.DoneBytes), cli.SizeText(s.Transfer.TotalBytes))
	}
	p.show(what, s.Percent, detail)
}

func (p *progress) show(what string, percent int, detail string) {
	percent = max(0, min(percent, 100))
	if !p.live {
		if line := fmt.Sprintf("%s %d%%", what, percent/5*5); line != p.said {
			p.said = line
			fmt.Fprintln(p.w, line)
		}
		return
	}
	cells := percent * barCells / 100
	line := fmt.Sprintf("%-12s[%s%s] %3d%%  %s", what, strings.Repeat("#", cells), strings.Repeat(".", barCells-cells), percent, detail)
	line = line[:min(len(line), 79)]
	fmt.Fprintf(p.w, "\r%s%s", line, strings.Repeat(" ", max(0, p.width-len(line))))
	p.width = len(line)
}

func (p *progress) end() {
	if p.width > 0 {
		fmt.Fprintln(p.w)
		p.width = 0
	}
}
