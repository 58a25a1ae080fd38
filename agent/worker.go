package agent

import (
	"context"
	"time"

	"otad/ota"
)

// worker is the one thing that takes time and runs beside the loop.
type worker struct {
	cancel context.CancelFunc
	done   chan struct{}
	round  bool // it is a round of the channels
	since  time.Time
	waits  time.Duration // before it begins
}

// workResult is what a worker found: an event for the record, a check, or a
// round of the channels.
type workResult struct {
	from  *worker
	event ota.Event
	check *checked
	round *rounded
}

// start runs job beside the loop. There is never more than one.
func (a *Agent) start(ctx context.Context, job func(ctx context.Context) workResult) {
	a.stopWork()
	ctx, cancel := context.WithCancel(ctx)
	w := &worker{cancel: cancel, done: make(chan struct{}), since: time.Now(), waits: a.backoff()}
	a.work = w
	go func() {
		defer close(w.done)
		result := job(ctx)
		result.from = w
		select {
		case a.events <- result:
		case <-ctx.Done():
		}
	}()
}

// stopWork ends the worker, if any, and waits for it.
func (a *Agent) stopWork() {
	if a.work == nil {
		return
	}
	a.work.cancel()
	<-a.work.done
	if a.work.round {
		a.planRound(roundAgain)
	}
	a.work = nil
	a.answerWaiting(checked{err: errInterrupted})
}

// maxRetryAfter bounds what a server may ask for.
const maxRetryAfter = time.Hour

// finished takes a worker's result. One that was stopped meanwhile is void.
func (a *Agent) finished(ctx context.Context, r workResult) {
	if r.from != a.work {
		return
	}
	a.work.cancel()
	a.work = nil
	if r.check != nil {
		a.checkDone(ctx, *r.check)
		return
	}
	if r.round != nil {
		a.roundDone(ctx, *r.round)
		return
	}
	a.retryAfter = 0
	if failed, is := r.event.(ota.Failed); is {
		a.retryAfter = min(failed.Fault.RetryAfter, maxRetryAfter)
	} else {
		a.trouble(nil)
	}
	a.progress("", 0, 0, 0)
	a.feed(ctx, r.event)
}
