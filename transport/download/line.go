package download

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"

	"otad/ota"
	"otad/ota/pace"
)

// forgiveBytes of progress forgive the failures before.
const forgiveBytes = 256 << 10

// line is a connection to a file that is not stored, made again when it
// breaks. It is for one goroutine; Close may come from any.
type line struct {
	a      *attempt // the request, its rules for answers, and what is known of the content
	ctx    context.Context
	cancel context.CancelFunc
	again  func(ctx context.Context, failures int, cause *ota.Fault) error

	resp     *http.Response          // under way; nil for none
	cut      context.CancelCauseFunc // of resp
	why      context.Context         // of resp
	failures int                     // in a row
	gained   int64                   // bytes since the last of them
	err      error                   // that ended the reading
}

// newLine makes no request yet.
func (f *Fetcher) newLine(ctx context.Context, r Request, again func(ctx context.Context, failures int, cause *ota.Fault) error) line {
	l := line{again: again, a: &attempt{f: f, r: r, object: redact(r.URL), file: new(staged), pace: pace.Pace{Limit: f.opt.Limit},
		point: Checkpoint{URL: r.URL, Changes: r.From.Changes}}}
	l.ctx, l.cancel = context.WithCancel(ctx)
	return l
}

// Close ends the reading, also one that waits.
func (l *line) Close() error {
	l.cancel()
	return nil
}

// open lets ask get the answer that is read next, under the watch of a
// connection of its own.
func (l *line) open(ask func(why context.Context) (*http.Response, error)) error {
	why, cut := context.WithCancelCause(l.ctx)
	l.a.watch = newWatch(l.a.f.opt.LowSpeedBytes, l.a.f.opt.LowSpeedTime, cut)
	resp, err := ask(why)
	if err != nil {
		l.a.watch.stop()
		if errors.Is(context.Cause(why), errStalled) {
			err = errStalled
		}
		cut(nil)
		return err
	}
	l.resp, l.cut, l.why = resp, cut, why
	return nil
}

// get sends one GET. ranges is what Range says behind the unit, "" for the
// whole; the validator goes along with it, if there is one.
func (l *line) get(ctx context.Context, ranges, validator string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, l.a.r.URL, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("User-Agent", l.a.f.opt.UserAgent)
	req.Header.Set("Accept-Encoding", "identity")
	if ranges != "" {
		req.Header.Set("Range", "bytes="+ranges)
		if validator != "" {
			req.Header.Set("If-Range", validator)
		}
	}
	l.a.watch.begin()
	resp, err := l.a.f.client.Do(req)
	l.a.watch.end(0)
	l.a.watch.reset()
	return resp, err
}

// stalled is err, or that the watch cut the connection.
func (l *line) stalled(err error) error {
	if err != nil && errors.Is(context.Cause(l.why), errStalled) {
		return errStalled
	}
	return err
}

// gain takes note of bytes that were wanted.
func (l *line) gain(n int) {
	if l.gained += int64(n); l.gained >= forgiveBytes {
		l.failures = 0
	}
}

// failed waits for another attempt, or says why there is none. at is for the
// log.
func (l *line) failed(err error, at int64) error {
	if l.ctx.Err() != nil {
		return fmt.Errorf("cannot download %q: %w", l.a.object, context.Cause(l.ctx))
	}
	err = l.a.classed(err)
	fault := ota.FaultOf(err)
	l.failures++
	l.gained = 0
	if fault.Class != ota.Transient || errors.Is(err, errRestart) {
		return err
	}
	l.a.f.opt.Logger.Info("transfer broke", "url", l.a.object, "at", at, "failures", l.failures, "cause", scrub(err))
	if gaveUp := l.again(l.ctx, l.failures, fault); gaveUp != nil {
		if l.ctx.Err() != nil {
			return fmt.Errorf("cannot download %q: %w", l.a.object, context.Cause(l.ctx))
		}
		return err
	}
	return nil
}

// persist is io.Reader for read, which has no patience: when read fails, failed
// waits for another attempt or says why there is none. No byte and no error of
// read: again, please.
func (l *line) persist(p []byte, read func([]byte) (int, error), failed func(error) error) (int, error) {
	for l.err == nil {
		n, err := read(p)
		if n > 0 {
			return n, nil
		}
		switch {
		case err == io.EOF:
			l.hangUp()
			l.err = io.EOF
		case err != nil:
			l.hangUp()
			l.err = failed(err)
		}
	}
	if l.err != io.EOF {
		l.cancel()
	}
	return 0, l.err
}

// hangUp gives the connection back: for the next request, if its answer was
// read to the end.
func (l *line) hangUp() {
	if l.resp == nil {
		return
	}
	l.a.watch.stop()
	l.cut(nil)
	l.resp.Body.Close()
	l.resp = nil
}
