package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"
	"unicode"

	"otad/ota"
	"otad/ota/durable"
	"otad/ota/policy"
)

var (
	errTooMany = errors.New("cannot follow command: too many come in a short time")
	errReplace = errors.New("cannot follow command: a later one took its place while it waited")
)

// waiting is a command for a group until the box's turn comes.
type waiting struct {
	At      time.Time `json:"at"`
	Command Command   `json:"command"`
}

// idleWait is how long Run sleeps when nothing waits; wake ends it.
const idleWait = 24 * time.Hour

// turn is when c is to be followed: at once, unless it makes a whole group ask
// the server. Then each box has its own share of the spread, another one for
// each command, so that no box is always the last; an expiry that comes before
// the end makes the spread shorter.
func (d *Desk) turn(topic string, c Command) time.Time {
	now := d.Now()
	if topic == d.Own || !spread[c.Verb] {
		return now
	}
	window := d.Spread
	if c.Expires != nil {
		window = min(window, c.Expires.Sub(now))
	}
	return now.Add(share(d.Device, c.ID, window))
}

// share is a part of window that device and id decide: from nothing to all.
func share(device, id string, window time.Duration) time.Duration {
	return policy.Share(window, device, id)
}

// wait keeps c until at, in the place of another one of its verb.
func (d *Desk) wait(c Command, at time.Time) {
	i := slices.IndexFunc(d.waiting, func(w waiting) bool { return w.Command.Verb == c.Verb })
	switch {
	case i < 0:
		d.waiting = append(d.waiting, waiting{At: at, Command: c})
	case d.waiting[i].Command.ID == c.ID:
		return // the broker brings it again
	default:
		old := d.waiting[i].Command
		d.waiting[i] = waiting{At: at, Command: c}
		d.answer(old, refusal(ota.NewRefused(ota.CodeCancelled, errReplace)))
	}
	d.keep()
	select {
	case d.wake <- struct{}{}:
	default:
	}
}

// dropWaiting answers all commands that wait for their turn: by was a cancel.
func (d *Desk) dropWaiting(by string) int {
	dropped := d.waiting
	if len(dropped) == 0 {
		return 0
	}
	d.waiting = nil
	d.keep()
	for _, w := range dropped {
		d.answer(w.Command, refusal(ota.NewRefused(ota.CodeCancelled,
			fmt.Errorf("cannot follow %q: the command %q cancelled it while it waited", w.Command.Verb, by))))
	}
	return len(dropped)
}

// followDue follows what is due and returns how long nothing will be.
func (d *Desk) followDue(ctx context.Context) time.Duration {
	d.mu.Lock()
	defer d.mu.Unlock()
	for {
		if len(d.waiting) == 0 {
			return idleWait
		}
		slices.SortFunc(d.waiting, func(a, b waiting) int { return a.At.Compare(b.At) })
		next := &d.waiting[0]
		wait := next.At.Sub(d.Now())
		if wait > d.Spread { // the clock was set back, or the spread is shorter now
			wait, next.At = d.Spread, d.Now().Add(d.Spread)
		}
		if wait > 0 || ctx.Err() != nil {
			return wait
		}
		d.follow(ctx, next.Command)
		d.waiting = d.waiting[1:]
		d.keep()
	}
}

// keep writes what waits. A command that cannot be kept still has its turn,
// unless the box is restarted before.
func (d *Desk) keep() {
	if d.File == "" {
		return
	}
	data, err := json.Marshal(d.waiting)
	if err == nil {
		err = durable.WriteFile(durable.OS, d.File, data, 0o600)
	}
	if err != nil {
		d.Log.Warn("commands that wait are kept in memory only", "cause", err)
	}
}

func readWaiting(fsys durable.FS, name string) ([]waiting, error) {
	data, err := durable.ReadFile(fsys, name, int64(len(spread)*2*maxCommand))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var list []waiting
	if err := json.Unmarshal(data, &list); err != nil {
		return nil, fmt.Errorf("cannot read %q: %w", name, err)
	}
	return list, nil
}

// printable takes out of a sender's text what could steer a terminal.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return -1
	}, s)
}
