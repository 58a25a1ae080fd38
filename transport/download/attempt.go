package download

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"time"

	"github.com/cavaliergopher/grab/v3"

	"otad/ota"
	"otad/ota/durable"
	"otad/ota/pace"
)

// attempt is one call of Fetch. To grab it is the HTTP client (Do, in
// source.go) and the rate limiter (WaitN).
type attempt struct {
	f      *Fetcher
	r      Request
	object string // r.URL as it may be shown
	file   *staged
	pace   pace.Pace
	watch  *watch

	// point is what the file holds of which content. SyncedBytes is the offset
	// to resume from before the answer came, then the last saved checkpoint.
	point    Checkpoint
	distance int64 // of checkpoints

	answer   *http.Response // the open answer, nil before Do
	transfer *grab.Response // for its speed, nil before the copy
	reported time.Time
}

var (
	_ grab.HTTPClient  = (*attempt)(nil)
	_ grab.RateLimiter = (*attempt)(nil)
)

// newAttempt opens the file and keeps of it what the checkpoint vouches for.
func (f *Fetcher) newAttempt(r Request, cancel context.CancelCauseFunc) (*attempt, error) {
	a := &attempt{
		f: f, r: r, object: redact(r.URL), point: Checkpoint{URL: r.URL},
		file:  new(staged),
		pace:  pace.Pace{Limit: f.opt.Limit},
		watch: newWatch(f.opt.LowSpeedBytes, f.opt.LowSpeedTime, cancel),
	}
	file, err := openStaged(r.Path)
	if err != nil {
		return nil, a.classed(err)
	}
	a.file = file
	if err := a.trust(r.From); err != nil {
		a.close()
		return nil, a.classed(err)
	}
	return a, nil
}

// trust makes from the point to go on from, if the file can bear it out, and
// cuts off what is behind. Else the file is left alone until the server has
// given something better.
func (a *attempt) trust(from Checkpoint) error {
	if from.URL != a.r.URL {
		return nil
	}
	a.point.Changes = from.Changes
	size, err := a.file.size()
	if err != nil {
		return err
	}
	if from.SyncedBytes <= 0 || from.SyncedBytes > size || (from.Validator == "" && !from.Complete()) {
		return nil
	}
	if from.TotalBytes > a.r.MaxBytes {
		return a.tooLarge(from.TotalBytes)
	}
	if err := a.file.cut(from.SyncedBytes); err != nil {
		return err
	}
	a.point = from
	return nil
}

// close gives back what the attempt holds.
func (a *attempt) close() {
	a.watch.stop()
	if a.answer != nil {
		a.answer.Body.Close() // grab leaves it open if it stopped between HEAD and GET
	}
	a.file.close()
}

// WaitN is called by grab after it stored n bytes and before it reads on. It
// paces write-back, makes checkpoints, tells progress and limits the rate.
func (a *attempt) WaitN(ctx context.Context, n int) error {
	windowDone, err := a.file.grew(int64(n))
	if err != nil {
		return err
	}
	due := a.point.Validator != "" && a.file.storedBytes-a.point.SyncedBytes >= a.distance
	if windowDone || due {
		if err := a.reserveIsFree(); err != nil {
			return err
		}
	}
	if due {
		if err := a.checkpoint(); err != nil {
			return err
		}
	}
	if time.Since(a.reported) >= progressEvery {
		a.report()
	}
	return a.pace.Wait(ctx, int64(n))
}

// reserveIsFree looks again while storing: the size may have been unknown, or
// somebody else may fill the disk.
func (a *attempt) reserveIsFree() error {
	free, err := durable.FreeBytes(filepath.Dir(a.r.Path))
	if err != nil {
		return err
	}
	if free < a.f.opt.ReserveBytes {
		return a.noSpace(free)
	}
	return nil
}

// checkpoint makes all stored bytes durable and then says so.
func (a *attempt) checkpoint() error {
	if err := a.file.sync(); err != nil {
		return err
	}
	a.point.SyncedBytes = a.file.storedBytes
	return a.save(a.point)
}

func (a *attempt) save(point Checkpoint) error {
	if err := a.r.Save(point); err != nil {
		return fmt.Errorf("cannot save the checkpoint of %q: %w", a.object, &saveError{err})
	}
	return nil
}

func (a *attempt) report() {
	a.reported = time.Now()
	p := Progress{DoneBytes: a.file.storedBytes, TotalBytes: a.point.TotalBytes}
	if a.transfer != nil {
		p.BytesPerSecond = int64(a.transfer.BytesPerSecond())
		if p.BytesPerSecond == 0 { // grab's gauge needs two seconds
			if s := a.transfer.Duration().Seconds(); s > 0 {
				p.BytesPerSecond = int64(float64(p.DoneBytes-a.file.startBytes) / s)
			}
		}
	}
	a.r.Progress(p)
}

// finish turns the end of the transfer into the result of Fetch.
func (a *attempt) finish(ctx context.Context, err error) (int64, error) {
	if err == nil && a.point.Complete() { // durable and saved before, or by the last buffer
		a.report()
		return a.point.TotalBytes, nil
	}
	if err == nil && a.point.TotalBytes > 0 && a.file.storedBytes != a.point.TotalBytes {
		err = io.ErrUnexpectedEOF // a range shorter than asked for, or a body without a length
	}
	if err == nil {
		a.point.TotalBytes = a.file.storedBytes
		err = a.checkpoint()
	}
	if err == nil {
		a.report()
		return a.file.storedBytes, nil
	}
	if ctx.Err() != nil {
		err = fmt.Errorf("cannot download %q: %w", a.object, context.Cause(ctx))
	} else {
		err = a.classed(err)
	}
	a.keep(err)
	return 0, err
}

// keep saves what was stored before the transfer failed with failure.
func (a *attempt) keep(failure error) {
	unsaved := a.file.storedBytes - a.point.SyncedBytes
	if a.answer == nil || a.point.Validator == "" || unsaved <= 0 || ota.FaultOf(failure).Class != ota.Transient {
		return
	}
	if err := a.checkpoint(); err != nil {
		// The last checkpoint stays true; the failure itself is returned.
		a.f.opt.Logger.Warn("cannot keep the end of the download", "url", a.object, "err", scrub(err))
	}
}
