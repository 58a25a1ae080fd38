package report

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"otad/ota"
	"otad/ota/journal"
	"otad/transport"
)

// Bounds of what is sent.
const (
	progressEvery = 500 * time.Millisecond
	publishWait   = 20 * time.Second // for one acknowledgement
	batch         = 16               // events read from the outbox at a time
)

// Broker takes messages. Publish returns nil only when a message of QoS 1 is
// with the broker; transport.ErrOffline while there is no connection.
type Broker interface {
	Publish(ctx context.Context, m transport.Message) error
	Connected() bool
}

// Outbox keeps events until they are delivered.
type Outbox interface {
	Pending(n int) ([]journal.Entry, error)
	Delivered(seqs ...uint64) error
}

// Source is the agent: what to tell, and a channel that gets a value when it
// may have changed.
type Source interface {
	// Ready is closed when State knows the box: before that it says neither which
	// slot runs nor whether it is on trial.
	Ready() <-chan struct{}
	State() State
	Watch() (changed <-chan struct{}, stop func())
}

// Publisher brings state, progress and events to the broker.
type Publisher struct {
	Broker Broker
	Outbox Outbox
	Source Source
	Topics Topics
	Log    *slog.Logger
	// Up gets a value when the connection came up; the owner fills it.
	Up <-chan struct{}

	sent    State // last state that the broker has
	sentAny bool
	moved   Progress
	movedAt time.Time
}

// Run publishes until ctx ends.
func (p *Publisher) Run(ctx context.Context) {
	changed, stop := p.Source.Watch()
	defer stop()
	select {
	case <-ctx.Done():
		return
	case <-p.Source.Ready(): // the retained state is the first that many see of a box
	}
	retry := time.NewTimer(0)
	defer retry.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-p.Up:
			p.sentAny = false // the broker may have lost what it had, or hold the last will
		case <-changed:
		case <-retry.C:
		}
		if again := p.publish(ctx); again > 0 {
			retry.Reset(again)
		}
	}
}

// publish sends what is due and returns when to look again, 0 for when
// something happens.
func (p *Publisher) publish(ctx context.Context) time.Duration {
	if !p.Broker.Connected() {
		return 0
	}
	again := p.progress(ctx)
	for _, step := range []func(context.Context) error{p.state, p.events} {
		if err := step(ctx); err != nil {
			p.Log.Debug("report waits", "cause", err)
			return time.Second
		}
	}
	return again
}

// state publishes the retained state if anything but progress is new.
func (p *Publisher) state(ctx context.Context) error {
	s := p.Source.State()
	if p.sentAny && sameButProgress(s, p.sent) {
		return nil
	}
	if err := p.send(ctx, p.Topics.State(), 1, true, s); err != nil {
		return err
	}
	p.sent, p.sentAny = s, true
	return nil
}

// sameButProgress compares what a reader of the retained state cares about.
func sameButProgress(a, b State) bool {
	strip := func(s State) string {
		s.Time, s.Percent, s.Transfer = time.Time{}, 0, nil
		data, _ := json.Marshal(s) // State always marshals
		return string(data)
	}
	return strip(a) == strip(b)
}

// progress publishes how far it is, at most twice a second and at each change
// of phase. It may be lost.
func (p *Publisher) progress(ctx context.Context) time.Duration {
	s := p.Source.State()
	if s.Update == nil {
		return 0
	}
	now := Progress{V: Version, Update: s.Update.ID, Phase: s.Phase, Stage: s.Stage, Percent: s.Percent, Transfer: s.Transfer}
	newPhase := now.Phase != p.moved.Phase || now.Stage != p.moved.Stage || now.Update != p.moved.Update
	if !newPhase && sameProgress(now, p.moved) {
		return 0
	}
	if wait := progressEvery - time.Since(p.movedAt); !newPhase && wait > 0 {
		return wait
	}
	p.moved, p.movedAt = now, time.Now()
	if err := p.send(ctx, p.Topics.Progress(), 0, false, now); err != nil {
		p.Log.Debug("progress lost", "cause", err)
	}
	return 0
}

func sameProgress(a, b Progress) bool {
	return a.Percent == b.Percent && (a.Transfer == nil) == (b.Transfer == nil) &&
		(a.Transfer == nil || *a.Transfer == *b.Transfer)
}

// events empties the outbox; entries leave it when the broker has them. They
// leave in batches, for the sake of the flash: after a power cut in between
// some arrive again, with the same id.
func (p *Publisher) events(ctx context.Context) error {
	for {
		entries, err := p.Outbox.Pending(batch)
		if err != nil || len(entries) == 0 {
			return err
		}
		var delivered []uint64
		for _, e := range entries {
			if err = p.event(ctx, e); err != nil {
				break
			}
			delivered = append(delivered, e.Seq)
		}
		if err := errors.Join(err, p.Outbox.Delivered(delivered...)); err != nil {
			return err
		}
	}
}

func (p *Publisher) event(ctx context.Context, e journal.Entry) error {
	var event Event
	if err := json.Unmarshal(e.Payload, &event); err != nil {
		p.Log.Error("event dropped: cannot read it", "seq", e.Seq, "cause", err)
		return nil
	}
	event.Seq = e.Seq
	return p.send(ctx, p.Topics.Event(), 1, false, event)
}

func (p *Publisher) send(ctx context.Context, topic string, qos byte, retained bool, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("cannot encode message for %q: %w", topic, err)
	}
	ctx, cancel := context.WithTimeout(ctx, publishWait)
	defer cancel()
	return p.Broker.Publish(ctx, transport.Message{Topic: topic, Payload: data, QoS: qos, Retained: retained})
}

// Percent is done of total as a whole number from 0 to 100.
func Percent(done, total int64) int {
	if total <= 0 {
		return 0
	}
	return int(min(100, max(0, float64(done)/float64(total)*100)))
}

// TransferOf is done of total at rate, with what is left in time.
func TransferOf(done, total, rate int64) *Transfer {
	t := &Transfer{DoneBytes: done, TotalBytes: total, BytesPerSecond: rate}
	if rate > 0 && total > done {
		t.ETASeconds = (total - done + rate - 1) / rate
	}
	return t
}

// OutcomeOf is how the update of r ended at the given time, in its persisted form.
func OutcomeOf(r ota.Record, ended time.Time) ota.Outcome {
	return ota.Outcome{ID: r.ID, Result: r.Phase, Offer: r.Offer, From: r.From, Slot: r.ToSlot,
		By: r.By, Back: r.Back, Failure: r.Failure, Started: r.StartedAt, Ended: ended}
}
