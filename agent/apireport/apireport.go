// Package apireport brings the reports of the journal to the server's
// statistics (app/report).
//
// Model: a queue in the journal, so that what happened is told also when the
// server is gone for a week; one goroutine that sends, one report at a time.
// Reporting never decides: nothing waits for it.
//
// A server as its makers ship it answers 500 to every report of a download or
// an upgrade, and after about eight of them its circuit breaker answers 503 to
// everybody for a while, also to who asks for updates. So after a failure the
// next attempt waits for minutes, then for hours, by a count that outlives a
// restart; the report that failed least goes first, so that one which never gets
// through holds up no other; and a report of progress is dropped after a few
// attempts. What the server understood and refused is dropped at once.
//
// A report whose answer got lost is sent again, and counted twice: the server
// cannot tell.
package apireport

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"slices"
	"time"

	"otad/ota"
	"otad/ota/journal"
)

// Pace of the reports.
const (
	settle      = 15 * time.Second // after a start, and after something new
	between     = time.Second      // two reports that are taken
	firstWait   = 5 * time.Minute  // after a failure; it doubles
	longestWait = 6 * time.Hour
	maxAttempts = 5 // of a report of progress
	look        = 10 * time.Minute
)

// Queue keeps the reports; *journal.Journal is the real one.
type Queue interface {
	Reports() (journal.Reports, error)
	// ReportDone removes a report; ReportFailed counts an attempt.
	ReportDone(seq uint64) error
	ReportFailed(seq uint64, limit int) error
}

// Server takes reports. Its faults have a class.
type Server interface {
	Report(ctx context.Context, r ota.Report) error
}

// Sender sends.
type Sender struct {
	Queue  Queue
	Server Server
	Log    *slog.Logger
	// Changed gets a value when something may have happened; nil for never. The
	// queue is looked at now and then in any case.
	Changed <-chan struct{}

	idle bool // the queue was empty when it was last looked at
}

// Run sends until ctx ends.
func (s *Sender) Run(ctx context.Context) {
	timer := time.NewTimer(s.first())
	defer timer.Stop()
	for {
		changed := s.Changed
		if !s.idle {
			changed = nil // a wait after a failure is not cut short by news
		}
		select {
		case <-ctx.Done():
			return
		case <-changed:
			s.idle = false
			timer.Reset(settle)
		case <-timer.C:
			timer.Reset(s.step(ctx))
		}
	}
}

// first is the wait after a start: a box that starts again and again is no
// reason to ask more often.
func (s *Sender) first() time.Duration {
	q, err := s.Queue.Reports()
	if err != nil || q.Failures == 0 {
		return settle
	}
	return wait(q.Failures)
}

func wait(failures int) time.Duration {
	return max(settle, ota.Backoff(failures, firstWait, longestWait, rand.Float64()))
}

// step sends one report, if there is one, and returns when to go on.
func (s *Sender) step(ctx context.Context) time.Duration {
	q, err := s.Queue.Reports()
	if err != nil {
		s.Log.Warn("cannot read the reports", "cause", err)
		return look
	}
	if s.idle = len(q.Queue) == 0; s.idle {
		return look
	}
	e := slices.MinFunc(q.Queue, func(a, b journal.ReportEntry) int { return a.Attempts - b.Attempts }) // of equals the oldest
	f := ota.FaultOf(s.Server.Report(ctx, e.Report))
	switch {
	case ctx.Err() != nil:
		return look
	case f == nil:
		return s.written(s.Queue.ReportDone(e.Seq), between)
	case final[f.Code]:
		s.Log.Warn("the server refused a report", "type", e.Report.Type, "app", e.Report.AppKey, "code", f.Code, "cause", f)
		return s.written(s.Queue.ReportDone(e.Seq), between)
	}
	again := max(wait(q.Failures+1), f.RetryAfter)
	s.Log.Info("a report waits", "type", e.Report.Type, "app", e.Report.AppKey, "attempt", e.Attempts+1, "again", again.Round(time.Second), "code", f.Code)
	return s.written(s.Queue.ReportFailed(e.Seq, maxAttempts), again)
}

// written is the wait after a change of the queue; a report that could not be
// removed must not be sent again every second.
func (s *Sender) written(err error, next time.Duration) time.Duration {
	if err != nil {
		s.Log.Warn("cannot write the reports", "cause", err)
		return max(next, look)
	}
	return next
}

// final are the codes of answers that stay the same when asked again. A wrong
// key or secret is not among them: that is mended at one of the two ends.
var final = map[ota.Code]bool{ota.CodeServerRefused: true, ota.CodeAppUnknown: true, ota.CodeNotSupported: true, ota.CodeUsage: true}

// ResultOf is the result code of the server's statistics for the way in which
// an update ended: 0 for success, 1 for failure, and the details that the
// vendor's own clients tell apart.
func ResultOf(f *ota.Failure) int64 {
	if f == nil {
		return 0
	}
	if code, is := results[f.Code]; is {
		return code
	}
	return 1
}

// The vendor's numbers: 1001 HTTP, 1002 no space, 1003 files, 1004 check sum.
var results = map[ota.Code]int64{
	ota.CodeDownloadHTTP: 1001, ota.CodeDownloadNetwork: 1001, ota.CodeDownloadStalled: 1001,
	ota.CodeFirmwareMissing: 1001, ota.CodeFirmwareHTML: 1001, ota.CodeFirmwareChanged: 1001,
	ota.CodeNoSpace: 1002, ota.CodeFirmwareTooLarge: 1002, ota.CodeImageTooLarge: 1002,
	ota.CodeFirmwareNotFound: 1003, ota.CodeBoard: 1003, ota.CodeReadback: 1003, ota.CodeJournal: 1003,
	ota.CodeArtifactHash: 1004, ota.CodeArtifactDamaged: 1004,
}
