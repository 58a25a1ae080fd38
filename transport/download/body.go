package download

import (
	"bufio"
	"context"
	"errors"
	"io"
	"math"
	"time"
)

// body is an answer's body as grab reads it: bounded in size and watched for
// stalls. peeked, if set, holds what was looked at before.
type body struct {
	io.ReadCloser
	watch     *watch
	leftBytes int64 // may still come
	tooLong   error // what to say when more comes; nil for a server that breaks its own range
	peeked    *bufio.Reader
}

func (b *body) Read(p []byte) (int, error) {
	if r := b.peeked; r != nil && r.Buffered() > 0 {
		return r.Read(p[:min(len(p), r.Buffered())])
	}
	b.watch.begin()
	n, err := b.ReadCloser.Read(p)
	b.watch.end(n)
	b.leftBytes -= int64(n)
	if b.leftBytes < 0 {
		if b.tooLong == nil {
			return 0, errors.New("the body is longer than its range")
		}
		return 0, b.tooLong
	}
	return n, err
}

// watch cuts a transfer that is too slow. It counts only time between begin and
// end, that is, time spent waiting for the network: a transfer that our own
// rate limit holds back does not stall.
type watch struct {
	minBytes int64
	window   time.Duration
	timer    *time.Timer

	bytes  int64         // in this window
	waited time.Duration // in this window
	since  time.Time
}

func newWatch(minBytes int64, window time.Duration, cancel context.CancelCauseFunc) *watch {
	w := &watch{minBytes: minBytes, window: window}
	w.timer = time.AfterFunc(math.MaxInt64, func() { cancel(errStalled) })
	return w
}

func (w *watch) begin() {
	w.since = time.Now()
	w.timer.Reset(w.window - w.waited)
}

func (w *watch) end(n int) {
	w.timer.Stop()
	w.bytes += int64(n)
	w.waited = min(w.waited+time.Since(w.since), w.window)
	if w.bytes >= w.minBytes {
		w.reset()
	}
}

// reset starts a new window.
func (w *watch) reset() { w.bytes, w.waited = 0, 0 }

func (w *watch) stop() { w.timer.Stop() }
