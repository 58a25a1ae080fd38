package sim

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"

	"otad/board"
)

var (
	_ board.Watcher  = (*Board)(nil)
	_ board.Ready    = (*Board)(nil)
	_ board.Link     = (*Board)(nil)
	_ board.Prompter = (*Board)(nil)
	_ board.Display  = (*Board)(nil)
	_ board.Reasoner = (*Board)(nil)
)

// What the viewer sees and does is not of the box that must survive: these
// files are not written through the file system of the slots.
const (
	screenDir  = "screen"
	answerPoll = 50 * time.Millisecond
)

// Usage implements [board.Watcher]: the content of the file `busy`; the file
// `standby`, if it is there; how long it takes, in the file `timer`.
func (b *Board) Usage(ctx context.Context) (board.Usage, error) {
	busy, err := b.Busy(ctx)
	if err != nil {
		return board.Usage{}, err
	}
	u := board.Usage{Busy: busy, Standby: b.box.isThere("standby")}
	timer, err := b.box.readSmall("timer")
	if err == nil && timer != "" {
		u.TimerIn, err = time.ParseDuration(timer)
	}
	return u, err
}

// Ready implements [board.Ready]: the content of the file `not-ready`.
func (b *Board) Ready(context.Context) (string, error) { return b.box.readSmall("not-ready") }

// Metered implements [board.Link]: the file `metered`, if it is there.
func (b *Board) Metered(context.Context) (bool, error) { return b.box.isThere("metered"), nil }

// Reason implements [board.Reasoner].
func (b *Board) Reason() (string, error) {
	reason, err := b.box.readSmall("reboot-reason")
	if reason == powerReason {
		reason = ""
	}
	return reason, err
}

// Prompt implements [board.Prompter] for a box with a directory `screen`: it
// puts q there in `prompt`, and takes the answer from `answer`, a line that
// says accept, now, decline or defer 2h.
func (b *Board) Prompt(ctx context.Context, q board.Question) (board.Answer, error) {
	if !b.box.isThere(screenDir) {
		return board.Answer{}, nil
	}
	shown, answer := b.box.path(screenDir+"/prompt"), b.box.path(screenDir+"/answer")
	if err := writeJSON(shown, q); err != nil {
		return board.Answer{}, err
	}
	defer os.Remove(shown)
	for {
		data, err := os.ReadFile(answer)
		if err == nil && strings.HasSuffix(string(data), "\n") {
			return parseAnswer(string(data)), os.Remove(answer)
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return board.Answer{}, err
		}
		select {
		case <-ctx.Done():
			return board.Answer{}, ctx.Err()
		case <-time.After(answerPoll):
		}
	}
}

func parseAnswer(text string) board.Answer {
	choice, length, _ := strings.Cut(strings.TrimSpace(text), " ")
	d, _ := time.ParseDuration(length) // 0 for none
	return board.Answer{Choice: choice, For: d}
}

// Display implements [board.Display] for a box with a directory `screen`: it
// writes `display` there.
func (b *Board) Display(_ context.Context, s board.Screen) error {
	if !b.box.isThere(screenDir) {
		return nil
	}
	return writeJSON(b.box.path(screenDir+"/display"), s)
}

func writeJSON(path string, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	if err := os.WriteFile(path+".new", append(data, '\n'), 0o644); err != nil {
		return fmt.Errorf("cannot show it: %w", err)
	}
	return os.Rename(path+".new", path)
}

func (b *box) isThere(name string) bool {
	_, err := os.Stat(b.path(name))
	return err == nil
}
