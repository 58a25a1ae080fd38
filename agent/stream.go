package agent

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"otad/agent/config"
	"otad/board"
	"otad/ota"
	"otad/ota/install"
)

// A streamed update stages nothing: it goes from the network into the idle
// slot. In the record it is `downloaded` without having come in: that is where
// the policy is asked whether it may be installed, so both questions are
// answered before the first byte. Then it is `installing` until the slot is
// read back.

// Streamer brings artifacts in as they are read.
type Streamer interface {
	Stream(ctx context.Context, s Stream) (Incoming, error)
}

// Stream is one reading of an artifact.
type Stream struct {
	URL  string
	From ota.Checkpoint // what is there already need not come again
	// Again is called after each failure that may pass, with how many there were
	// in a row. It waits; its error ends the reading.
	Again func(ctx context.Context, failures int, cause *ota.Fault) error
}

// Incoming is an artifact on its way in.
type Incoming interface {
	install.Source
	// Resumed tells whether the content is still that of Stream.From.
	Resumed() bool
	// TotalBytes of the artifact; 0 while unknown.
	TotalBytes() int64
	// Checkpoint vouches that what lies before offset need not come again; for
	// nothing when that cannot be known of this server.
	Checkpoint(offset int64) ota.Checkpoint
}

// streamTries is how often a connection is made anew in a row before the
// attempt has failed. Then all begins again at the last checkpoint.
const streamTries = 6

// mayStream tells whether an artifact that cannot be staged is streamed.
func (a *Agent) mayStream() bool {
	return a.Streamer != nil && a.Config.Download.Mode != config.ModeStaged
}

// stream fills the idle slot with an artifact as it comes in.
func (a *Agent) stream(ctx context.Context, rec ota.Record) (ota.Event, error) {
	rules, err := a.rules(ctx, rec)
	if err != nil {
		return nil, err
	}
	in, err := a.Streamer.Stream(ctx, Stream{URL: rec.Offer.URL, From: rec.Download, Again: a.streamAgain})
	if err != nil {
		return nil, err
	}
	defer in.Close()
	from := install.Landed{Offset: rec.Download.SyncedBytes, Point: rec.Stream, Image: rec.Image}
	if !in.Resumed() || rec.ToSlot != rules.Target.Name {
		from = install.Landed{}
		if rec.Stream != (ota.StreamPoint{}) {
			// Withdrawn before the slot changes under it.
			if err := a.landed(ctx, in, from); err != nil {
				return nil, err
			}
		}
	}
	event, err := a.fillFrom(ctx, in, rules, rec, from)
	if c := in.Checkpoint(0); err != nil && ctx.Err() == nil && c.Changes > rec.Download.Changes {
		// Other content came: what was written belongs to none.
		if err := a.landed(ctx, in, install.Landed{}); err != nil {
			return nil, err
		}
	}
	if err != nil {
		return nil, err
	}
	return event, nil
}

// fillFrom is fill for what comes in: the slot is touched only after the
// signature was verified and the artifact is allowed.
func (a *Agent) fillFrom(ctx context.Context, in Incoming, rules install.Rules, rec ota.Record, from install.Landed) (ota.Event, error) {
	streaming, err := install.OpenStream(in, rules)
	if err != nil {
		return nil, err
	}
	total, begun := in.TotalBytes(), time.Now()
	return a.put(ctx, streaming.Plan(), rules.Target.Name, func(slot board.Medium) (ota.Image, error) {
		return streaming.Write(ctx, install.StreamTo{
			Slot: slot, From: from, SkipEqual: rec.ToSlot == rules.Target.Name, TotalBytes: total,
			Save:      func(l install.Landed) error { return a.landed(ctx, in, l) },
			MarkEvery: max(int64(a.Config.Download.Checkpoint), total/20),
			Progress: func(stage install.Stage, done, total int64) {
				rate := int64(float64(done-from.Offset) / max(time.Since(begun).Seconds(), 0.001))
				a.stages.at(a.Log, stage, done)
				a.progress(string(stage), done, total, rate)
			},
		})
	})
}

// landed keeps how far the slot is, if the server lets go on from there.
func (a *Agent) landed(ctx context.Context, in Incoming, l install.Landed) error {
	c := in.Checkpoint(l.Offset)
	if c.SyncedBytes == 0 {
		l = install.Landed{}
	}
	return a.record(ctx, ota.Landed{Checkpoint: c, Point: l.Point, Image: l.Image})
}

// streamAgain waits before a connection is made anew.
func (a *Agent) streamAgain(ctx context.Context, failures int, cause *ota.Fault) error {
	if failures >= streamTries {
		return cause
	}
	a.trouble(cause)
	d := a.Config.Download
	wait := ota.Backoff(failures, time.Duration(d.RetryFirst), time.Duration(d.RetryMax), rand.Float64())
	if !sleep(ctx, max(wait, min(cause.RetryAfter, maxRetryAfter))) {
		return fmt.Errorf("cannot go on: %w", ctx.Err())
	}
	a.trouble(nil)
	return nil
}
