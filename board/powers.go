package board

import (
	"context"
	"time"
)

// Usage is what the viewer and the box are about to notice of a restart.
type Usage struct {
	// Busy is why the box must not be disturbed now: "watching", "recording",
	// "casting"; "" when it is not in use.
	Busy string
	// Standby: nobody would notice even a restart.
	Standby bool
	// TimerIn is how long it takes until the box begins something by itself, as
	// a recording; 0 when nothing is planned.
	TimerIn time.Duration
}

// Watcher is [Busy] for a box that knows more.
type Watcher interface {
	Usage(ctx context.Context) (Usage, error)
}

// UsageOf asks b in the way that it can answer; a board that cannot say is not
// in use.
func UsageOf(ctx context.Context, b any) (Usage, error) {
	switch b := b.(type) {
	case Watcher:
		return b.Usage(ctx)
	case Busy:
		reason, err := b.Busy(ctx)
		return Usage{Busy: reason}, err
	}
	return Usage{}, nil
}

// Ready is the optional power to know of battery, temperature and the like.
type Ready interface {
	// Ready returns why the box must be neither written nor restarted now
	// ("battery at 9 %"), "" when it may.
	Ready(ctx context.Context) (reason string, err error)
}

// Link is the optional power to know what a byte costs.
type Link interface {
	// Metered tells whether the link to the server is one that is paid for by
	// volume, as a mobile one.
	Metered(ctx context.Context) (bool, error)
}

// Prompter is the optional power to talk to the viewer, on the screen.
type Prompter interface {
	// Prompt shows q until it is answered or ctx ends. An empty answer: it was
	// shown, and nobody answered, or will answer through `otad consent`.
	Prompt(ctx context.Context, q Question) (Answer, error)
}

// Question is what the viewer is told or asked.
type Question struct {
	Update  string
	Version string
	Text    string // what the operator has to say
	// Notice: nothing is asked, the box restarts after Within. Else it is asked
	// whether to update, and an answer is waited for as long as Within.
	Notice   bool
	Within   time.Duration
	MayDefer bool // "later" is an answer
	MayStop  bool // "no" is an answer
}

// Answer is what the viewer said.
type Answer struct {
	Choice string // one of the choices below, or ""
	For    time.Duration
}

// The choices.
const (
	ChoiceAccept  = "accept" // when it suits: in a window, while nobody watches
	ChoiceNow     = "now"
	ChoiceDecline = "decline"
	ChoiceDefer   = "defer" // for Answer.For
)

// Display is the optional power to show a few characters on the front panel.
type Display interface {
	// Display shows s until the next call.
	Display(ctx context.Context, s Screen) error
}

// Screen is what a front panel shows of an update.
type Screen struct {
	Phase   string // as in docs/mqtt.md; "idle" when there is nothing to show
	Stage   string // verify, compare, write, read-back while installing
	Percent int    // of the phase
	Text    string // why it waits, "" when it does not
}

// Reasoner is the optional power to remember why the box was restarted.
type Reasoner interface {
	// Reason is what the system that ran before gave to Reboot, when that led
	// to this boot; "" when it asked for no restart.
	Reason() (string, error)
}
