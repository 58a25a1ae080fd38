// Package agent is the loop of otad: it asks the server, performs the acts
// that [ota.Next] orders, journals before it acts, and answers the verbs.
//
// Model: one goroutine (Run) owns the record; everything that takes time runs
// in one worker goroutine and comes back as an event. A phase is committed to
// the journal, together with the event that tells of it, before the act that
// belongs to it begins; every act can be done again. So the way out of every
// crash is the same: load the record, look at the board, go on.
//
// The board is the truth about which slot runs; the journal is the truth about
// why. Reporting decides nothing.
package agent

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"otad/agent/config"
	"otad/agent/report"
	"otad/board"
	"otad/ota"
	"otad/ota/durable"
	"otad/ota/install"
	"otad/ota/journal"
	"otad/ota/swu"
)

// Server is the catalogue of offers.
type Server interface {
	// Offer asks what there is for this box: newer than running, or exactly
	// the version appoint if that is not 0. A fault with the code "nothing"
	// when there is nothing for it.
	Offer(ctx context.Context, running ota.Version, appoint int64) (ota.Offer, error)
	// Offset is the server's clock minus the box's, false while unknown.
	Offset() (time.Duration, bool)
}

// Fetch is one attempt to bring a file in.
type Fetch struct {
	URL      string
	Path     string                        // where the whole file ends up
	From     ota.Checkpoint                // resume from here
	Save     func(ota.Checkpoint) error    // called after the prefix is durable
	Progress func(done, total, rate int64) // bytes, bytes, bytes a second
}

// Fetcher brings artifacts in.
type Fetcher interface {
	Fetch(ctx context.Context, f Fetch) error
	// FreeBytes is how much the staging directory can still take.
	FreeBytes(dir string) (int64, error)
}

// Journal keeps what must not be forgotten; *journal.Journal is the real one.
type Journal interface {
	Load() (journal.State, error)
	// Commit is durable, as a whole or not at all, when it returns nil.
	Commit(c journal.Change) error
	History(n int) ([]ota.Outcome, error)
	CommandSeen(id string) (bool, error)
	Deeds(n int) ([]ota.Deed, error)
}

// Parts is what an agent is made of.
type Parts struct {
	Config  *config.Config
	Journal Journal
	// Recovered tells of a damaged journal that was replaced; nil when it was whole.
	Recovered *journal.Recovery
	Board     board.Board
	FS        durable.FS // of the staging directory
	Server    Server
	Fetcher   Fetcher
	Streamer  Streamer // nil: everything is staged
	Piecer    Piecer   // nil: deltas are refused
	// Trust reads whom to believe: it changes when an artifact brings an anchor.
	Trust func() (*swu.Trust, error)
	// Around is what artifacts may touch beyond the idle slot.
	Around  install.Around
	Running ota.Version // of the system that runs
	Clock   *Clock
	Log     *slog.Logger
	Logs    *Logs  // what Log said last; nil when nothing is kept
	Version string // of otad
	// Channels run on the same rounds as the checks for firmware. They may be set
	// after New, until Run.
	Channels Channels
	// OpenWatchdog starts the watchdog, which Run feeds within its time; nil for none.
	OpenWatchdog func() (w Watchdog, timeout time.Duration, err error)
	// Poll makes the agent ask the server by itself, as the service does.
	Poll bool
	// Hold makes it decide and journal but perform no act that touches the
	// network or the board, for verbs that only look or answer.
	Hold bool
}

// ErrRebooting is what Run returns after it asked for a restart of the box.
var ErrRebooting = errors.New("agent: the box restarts")

// Agent is the loop. Make it with New.
type Agent struct {
	Parts
	calls  chan call       // what others want done by the loop
	events chan workResult // what the worker found
	ready  chan struct{}   // closed when the board was asked for the first time

	// Owned by the loop.
	rec        ota.Record
	box        ota.Box
	boot       board.Boot
	booted     bool // the board answered
	work       *worker
	held       ota.Event     // could not be journalled yet
	failures   int           // attempts in a row that could not journal or ask the board
	wake       alarm         // when to look again: a held event, a question to the policy
	retryAfter time.Duration // what the server asked for with its last refusal
	nextCheck  alarm
	nextRound  alarm         // of the channels
	roundFail  int           // rounds in a row in which something failed
	reported   string        // the boot that the server's statistics were told of
	settings   config.Config // as they are in the file
	checkFail  int           // checks in a row without an answer
	waiting    []chan<- checked
	rebooting  bool
	dog        dog
	bootReason string    // why the box was restarted
	dialog     *dialog   // what is on the screen
	started    time.Time // monotonic: when the clock was first looked at
	wallSeen   time.Time // the clock, when it was looked at last
	monoSeen   time.Time
	proof      alarm // when the probation of the system that runs ends

	audit auditor

	stages stages // owned by the worker

	// What others see; guarded by mu.
	mu       sync.Mutex
	state    report.State
	fetched  int64 // of a delta, by the attempt under way
	watchers map[chan struct{}]struct{}
}

// New makes an agent from its journal. It touches nothing yet.
func New(p Parts) (*Agent, error) {
	s, err := p.Journal.Load()
	if err != nil {
		return nil, err
	}
	a := &Agent{
		Parts: p, rec: s.Update, box: s.Box, reported: s.ReportedBoot, settings: *p.Config,
		calls: make(chan call), events: make(chan workResult), ready: make(chan struct{}),
		watchers: make(map[chan struct{}]struct{}),
	}
	a.Clock.seen(a.box.LastGood)
	a.show()
	return a, nil
}

// Run works until ctx ends or the box is asked to restart (ErrRebooting).
// What was under way goes on at the next Run from the journal.
func (a *Agent) Run(ctx context.Context) error {
	a.openDog()
	defer a.leaveDog()
	defer a.stopWork()
	defer a.endDialog()
	a.sweep()
	a.loadFloor()
	if a.Recovered != nil {
		a.Log.Warn("journal was damaged and is rebuilt", "kept", a.Recovered.Kept, "cause", a.Recovered.Cause)
		a.tellRecovery()
	}
	a.nextCheck = a.Clock.alarmIn(a.spread(min(a.checkEvery(), firstCheckWithin)))
	a.tune()
	if a.Channels.pending() {
		a.planRound(0)
	}
	a.lookAtBoard(ctx)
	a.show()
	close(a.ready)
	if panel, ok := a.Board.(board.Display); ok && a.Poll {
		ctx, end := context.WithCancel(ctx)
		var showing sync.WaitGroup
		showing.Go(func() { a.displayLoop(ctx, panel) })
		defer func() { end(); showing.Wait() }()
	}
	timer := time.NewTimer(0)
	defer timer.Stop()
	for !a.rebooting {
		a.feedDog()
		timer.Reset(a.untilNext())
		select {
		case <-ctx.Done():
			return ctx.Err()
		case c := <-a.calls:
			err := c.do(ctx)
			a.show()
			c.result <- err
		case result := <-a.events:
			a.finished(ctx, result)
		case <-timer.C:
			a.tick(ctx)
		}
		a.show()
	}
	return ErrRebooting
}

// firstCheckWithin bounds the wait for the first check after a start.
const firstCheckWithin = 5 * time.Minute

// polls tells whether the agent waits for the time of its next check.
func (a *Agent) polls() bool {
	return a.Poll && a.booted && a.work == nil && a.rec.Phase == ota.PhaseIdle
}

// untilNext is how long nothing happens by itself; at most an hour, in case a
// clock is set meanwhile.
func (a *Agent) untilNext() time.Duration {
	next := time.Hour
	if a.dog.every > 0 {
		next = time.Until(a.dog.next) // whatever else the loop does meanwhile
	}
	if a.wake.set() {
		next = min(next, a.Clock.left(a.wake))
	}
	if a.proof.set() {
		next = min(next, a.Clock.left(a.proof))
	}
	if a.polls() {
		next = min(next, a.Clock.left(a.nextCheck))
	}
	if left, planned := a.roundIn(); planned {
		next = min(next, left)
	}
	return next
}

// tick does what is due.
func (a *Agent) tick(ctx context.Context) {
	a.endProbation()
	if a.wake.set() && a.Clock.left(a.wake) == 0 {
		a.wake = alarm{}
		switch {
		case !a.booted:
			a.lookAtBoard(ctx)
		case a.held != nil:
			a.feed(ctx, a.held)
		case a.work == nil:
			a.perform(ctx, ota.Resume(a.rec))
		}
	}
	if a.polls() && a.Clock.left(a.nextCheck) == 0 {
		a.check(ctx, 0)
	}
	if left, planned := a.roundIn(); planned && left == 0 {
		a.round(ctx)
	}
}

// lookAtBoard starts the life of the loop: which slot runs, and what follows.
func (a *Agent) lookAtBoard(ctx context.Context) {
	boot, err := a.Board.Current(ctx)
	if err == nil {
		boot, err = a.settleInRescue(ctx, boot)
	}
	if err != nil {
		a.Log.Error("cannot ask the board which slot runs", "cause", err)
		a.trouble(ota.FaultOf(boardFault(err)))
		a.later()
		return
	}
	a.trouble(nil)
	a.boot, a.booted, a.failures = boot, true, 0
	a.Log.Info("started", "version", a.Running.Code, "slot", boot.Slot, "trial", boot.Trial,
		"phase", a.rec.Phase, "update", a.rec.ID)
	a.tellStart()
	a.tellBoot()
	a.feed(ctx, a.bootEvent())
	a.countBoot(ctx)
	a.explainRescue()
}

func (a *Agent) bootEvent() ota.Event {
	return ota.Booted{BootID: a.boot.ID, Slot: a.boot.Slot, Version: a.Running, Trial: a.boot.Trial}
}

// later sets the loop to try again what it could not do.
func (a *Agent) later() {
	a.failures++
	wait := ota.Backoff(a.failures, time.Second, time.Minute, rand.Float64())
	a.wake = a.Clock.alarmIn(wait)
}

// feed lets ota.Next decide what an event means, journals it and acts. An
// event that cannot be journalled is held and fed again: nothing is done that
// is not on record.
func (a *Agent) feed(ctx context.Context, e ota.Event) {
	before := a.rec
	next, act := ota.Next(a.rec, e)
	if err := a.commit(next, nil); err != nil {
		a.Log.Error("cannot go on", "phase", a.rec.Phase, "cause", err)
		a.held = e
		a.later()
		return
	}
	a.held, a.failures, a.wake = nil, 0, alarm{}
	if _, confirmed := e.(ota.Confirmed); confirmed {
		a.boot.Trial = false
	}
	a.logChange(before, next)
	a.clearScreen()
	a.perform(ctx, act)
}

// commit journals the record, if it changed, with the event that tells of a
// new phase.
func (a *Agent) commit(next ota.Record, more *journal.Change) error {
	change := journal.Change{}
	if more != nil {
		change = *more
	}
	if next == a.rec && more == nil {
		return nil
	}
	if next.Phase != a.rec.Phase {
		next.ChangedAt = a.Clock.Now()
		if next.Phase != ota.PhaseIdle { // the outcome told of the end
			change.Events = append(change.Events, a.event(a.phaseEvent(next)))
		}
		if next.Phase == ota.PhaseDownloaded {
			change.Reports = append(change.Reports, a.reports(next)...)
		}
	}
	change.Update = &next
	if err := a.Journal.Commit(change); err != nil {
		return err
	}
	a.rec = next
	if change.Box != nil {
		a.box = *change.Box
	}
	return nil
}

// call is something to be done by the loop, which owns the record.
type call struct {
	do     func(ctx context.Context) error // ctx is the loop's
	result chan error                      // buffered
}

// inLoop lets the loop run do and waits for it.
func (a *Agent) inLoop(ctx context.Context, do func(ctx context.Context) error) error {
	c := call{do: do, result: make(chan error, 1)}
	select {
	case a.calls <- c:
		return <-c.result
	case <-ctx.Done():
		return ctx.Err()
	}
}

// record journals, from the worker, an event that asks for no act.
func (a *Agent) record(ctx context.Context, e ota.Event) error {
	return a.inLoop(ctx, func(context.Context) error {
		next, _ := ota.Next(a.rec, e)
		return a.commit(next, nil)
	})
}

func (a *Agent) logChange(before, next ota.Record) {
	if next.Phase == before.Phase {
		return
	}
	args := []any{"update", next.ID, "phase", next.Phase}
	if next.ID == "" {
		args = []any{"update", before.ID, "phase", next.Phase}
	}
	if next.Failure != nil {
		args = append(args, "code", next.Failure.Code, "cause", next.Failure.Text)
	}
	a.Log.Info("phase", args...)
}
