package hooks

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"otad/board"
)

// Powers are the optional hooks that a board of another driver can have, too:
// whatever starts a box, somebody must know what the viewer does.
type Powers struct {
	dir     string
	timeout time.Duration
	log     *slog.Logger
}

var (
	_ board.Busy     = (*Powers)(nil)
	_ board.Watcher  = (*Powers)(nil)
	_ board.Health   = (*Powers)(nil)
	_ board.Ready    = (*Powers)(nil)
	_ board.Link     = (*Powers)(nil)
	_ board.Prompter = (*Powers)(nil)
	_ board.Display  = (*Powers)(nil)
)

// OpenPowers checks the optional hooks in o.Dir; of o only Timeout and Log
// count beside it.
func OpenPowers(o Options) (*Powers, error) {
	p := newPowers(o)
	if err := p.check(); err != nil {
		return nil, fmt.Errorf("cannot use the hooks in %q: %w", o.Dir, err)
	}
	return &p, nil
}

func newPowers(o Options) Powers {
	p := Powers{dir: o.Dir, timeout: o.Timeout, log: o.Log}
	if p.timeout == 0 {
		p.timeout = 30 * time.Second
	}
	if p.log == nil {
		p.log = slog.Default()
	}
	return p
}

func (b *Powers) check() error {
	if !filepath.IsAbs(b.dir) {
		return errors.New("not an absolute path")
	}
	var errs []error
	for _, act := range powers {
		errs = append(errs, b.checkHook(act, false))
	}
	return errors.Join(errs...)
}

// Usage implements [board.Watcher]; without the hook `busy` the box is never in
// use.
func (b *Powers) Usage(ctx context.Context) (board.Usage, error) {
	var answer struct {
		Reason       string `json:"reason"`
		Standby      bool   `json:"standby"`
		TimerSeconds int64  `json:"timer_seconds"`
	}
	if _, err := b.askOptional(ctx, request{Act: actBusy}, &answer); err != nil {
		return board.Usage{}, fmt.Errorf("cannot tell whether the box is in use: %w", err)
	}
	const year = 365 * 24 * 3600 // beyond that it is no plan
	return board.Usage{Busy: answer.Reason, Standby: answer.Standby,
		TimerIn: time.Duration(min(max(0, answer.TimerSeconds), year)) * time.Second}, nil
}

// Busy implements [board.Busy].
func (b *Powers) Busy(ctx context.Context) (string, error) {
	u, err := b.Usage(ctx)
	return u.Busy, err
}

// Health implements [board.Health]; without the hook the board has no opinion.
func (b *Powers) Health(ctx context.Context) error {
	_, err := b.askOptional(ctx, request{Act: actHealth}, nil)
	return err
}

// Ready implements [board.Ready]; without the hook the box always is.
func (b *Powers) Ready(ctx context.Context) (string, error) {
	var answer struct {
		Reason string `json:"reason"`
	}
	_, err := b.askOptional(ctx, request{Act: actReady}, &answer)
	return answer.Reason, err
}

// Metered implements [board.Link]; without the hook the link is not.
func (b *Powers) Metered(ctx context.Context) (bool, error) {
	var answer struct {
		Metered bool `json:"metered"`
	}
	_, err := b.askOptional(ctx, request{Act: actMetered}, &answer)
	return answer.Metered, err
}

// question is what the hook `prompt` reads.
type question struct {
	Update        string `json:"update"`
	Version       string `json:"version"`
	Text          string `json:"text"`
	Notice        bool   `json:"notice"`
	WithinSeconds int64  `json:"within_seconds"`
	MayDefer      bool   `json:"may_defer"`
	MayStop       bool   `json:"may_stop"`
}

// Prompt implements [board.Prompter]; without the hook nobody is asked. The
// hook is killed when ctx ends.
func (b *Powers) Prompt(ctx context.Context, q board.Question) (board.Answer, error) {
	var answer struct {
		Choice string `json:"choice"`
		For    string `json:"for"` // as in "2h", with "defer"
	}
	asked := question{q.Update, q.Version, q.Text, q.Notice, int64(q.Within.Seconds()), q.MayDefer, q.MayStop}
	if there, err := b.askOptional(ctx, request{Act: actPrompt, question: &asked}, &answer); err != nil || !there {
		return board.Answer{}, err
	}
	a := board.Answer{Choice: answer.Choice}
	if answer.For == "" {
		return a, nil
	}
	var err error
	if a.For, err = time.ParseDuration(answer.For); err != nil {
		return board.Answer{}, fmt.Errorf("hook %q: for %q is no duration", actPrompt, answer.For)
	}
	return a, nil
}

// screen is what the hook `display` reads.
type screen struct {
	Phase   string `json:"phase"`
	Stage   string `json:"stage"`
	Percent int    `json:"percent"`
	Wait    string `json:"wait"` // why it does not go on, "" when it does
}

// Display implements [board.Display]; without the hook there is no panel.
func (b *Powers) Display(ctx context.Context, s board.Screen) error {
	_, err := b.askOptional(ctx, request{Act: actDisplay, screen: &screen{s.Phase, s.Stage, s.Percent, s.Text}}, nil)
	return err
}

// askOptional asks a hook that need not be there.
func (b *Powers) askOptional(ctx context.Context, r request, answer any) (there bool, err error) {
	if !b.has(r.Act) {
		return false, nil
	}
	return true, b.ask(ctx, r, answer)
}

// has tells whether an optional hook is there. One that cannot be examined is:
// running it will say why.
func (b *Powers) has(act string) bool {
	_, err := os.Stat(filepath.Join(b.dir, act))
	return !errors.Is(err, fs.ErrNotExist)
}
