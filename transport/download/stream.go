package download

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"otad/ota"
)

const (
	// pieceBytes is how much a request asks for at most while the reader is on
	// its way to where it will go on: it reads heads there and skips the rest.
	pieceBytes = 64 << 10
	// skipBytes are rather read than skipped by another request.
	skipBytes = 256 << 10
)

// Stream is a file that is read from front to back and not stored. A
// connection that is cut is made again, and the reading goes on at the next
// byte, if the server still has the same content by a strong validator. Use it
// from one goroutine; Close may come from any.
type Stream struct {
	line
	begun    bool  // an answer was accepted
	resumed  bool  // the content is that of the checkpoint
	at       int64 // the next byte to hand out
	pieces   int64 // requests that begin before this offset ask for a piece
	next     int64 // the byte that the body gives next
	end      int64 // behind its last one; 0 while unknown
	reported time.Time
}

// Stream begins to read r.URL; Path and Save are not used. With the From of an
// earlier Stream ([Stream.Checkpoint]), it is found out whether the server still
// has that content; if not, the reading is one of the new content, and
// [Stream.Resumed] is false. again is called after each failure that may pass,
// with how many there were in a row; it waits, and its error ends the reading.
//
// Faults are those of [Fetcher.Fetch] without those of the disk.
func (f *Fetcher) Stream(ctx context.Context, r Request, again func(ctx context.Context, failures int, cause *ota.Fault) error) (*Stream, error) {
	if r.MaxBytes <= 0 {
		r.MaxBytes = 4 << 30
	}
	if r.Progress == nil {
		r.Progress = func(Progress) {}
	}
	if u, err := url.Parse(r.URL); err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
		return nil, ota.NewPermanent(ota.CodeOfferBad, fmt.Errorf("cannot download %q: not an absolute http or https URL", redact(r.URL)))
	}
	s := &Stream{line: f.newLine(ctx, r, again)}
	if from := r.From; from.URL == r.URL && from.SyncedBytes > 0 && from.Validator != "" {
		s.a.point, s.pieces = from, from.SyncedBytes
	}
	for {
		err := s.connect()
		if err == nil {
			return s, nil
		}
		if err := s.failed(err); err != nil {
			s.Close()
			return nil, err
		}
	}
}

// Resumed tells whether the content is that of the request's checkpoint.
func (s *Stream) Resumed() bool { return s.resumed }

// TotalBytes of the file, 0 while unknown.
func (s *Stream) TotalBytes() int64 { return s.a.point.TotalBytes }

// Checkpoint vouches that all before an offset need not come again. Without a
// strong validator it vouches for nothing. What it says of the content may be
// known only after Read or SkipTo failed: then Changes has grown.
func (s *Stream) Checkpoint(offset int64) Checkpoint {
	c := s.a.point
	c.SyncedBytes = offset
	if c.Validator == "" {
		c.SyncedBytes = 0
	}
	return c
}

// SkipTo moves on to an offset that lies ahead.
func (s *Stream) SkipTo(offset int64) error {
	if total := s.a.point.TotalBytes; offset < s.at || total > 0 && offset > total {
		return io.ErrUnexpectedEOF
	}
	far := s.a.point.Validator != "" && offset-s.at > skipBytes
	if far || s.resp == nil {
		s.hangUp()
		s.at = offset
		return nil
	}
	_, err := io.CopyN(io.Discard, s, offset-s.at)
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return err
}

// Read implements io.Reader. It returns an io.EOF only at the end of the file.
func (s *Stream) Read(p []byte) (int, error) { return s.persist(p, s.read, s.failed) }

// read is Read without patience. No byte and no error: again, please.
func (s *Stream) read(p []byte) (int, error) {
	total := s.a.point.TotalBytes
	if total > 0 && s.at == total {
		return 0, io.EOF
	}
	if s.resp == nil {
		return 0, s.connect()
	}
	if gap := s.at - s.next; gap > 0 { // the server sends more than it was asked for
		p = p[:min(gap, int64(len(p)))]
	}
	n, err := s.resp.Body.Read(p)
	s.next += int64(n)
	if s.next <= s.at { // not what is wanted, yet
		n = 0
	} else {
		s.at = s.next
	}
	if n > 0 {
		s.gain(n)
		return n, s.paced(n)
	}
	switch {
	case err == io.EOF && s.end == 0: // a body of unknown length ends where it ends
		s.a.point.TotalBytes = s.at
		return 0, io.EOF
	case err == io.EOF && s.next >= s.end:
		s.hangUp() // the piece is read
		return 0, nil
	case err == io.EOF:
		return 0, io.ErrUnexpectedEOF
	}
	return 0, s.stalled(err)
}

// paced keeps to the rate and tells the progress.
func (s *Stream) paced(n int) error {
	if now := time.Now(); now.Sub(s.reported) >= progressEvery {
		s.reported = now
		s.a.r.Progress(Progress{DoneBytes: s.at, TotalBytes: s.a.point.TotalBytes})
	}
	return s.a.pace.Wait(s.ctx, int64(n))
}

// failed waits for another attempt, or says why there is none.
func (s *Stream) failed(err error) error {
	if s.begun && s.a.point.Validator == "" && s.at > 0 && s.ctx.Err() == nil {
		return s.a.classed(err) // nothing would show that the rest belongs to it
	}
	return s.line.failed(err, s.at)
}

// errRestart: what was read belongs to other content than what would follow.
var errRestart = errors.New("the file changed while it was fetched")

// connect asks for what comes next and takes the answer.
func (s *Stream) connect() error {
	return s.open(func(why context.Context) (*http.Response, error) {
		resp, err := s.answer(why, s.at)
		if errors.Is(err, errMisfit) {
			s.a.f.opt.Logger.Info("cannot go on by range", "url", s.a.object, "at", s.at, "cause", scrub(err))
			resp, err = s.answer(why, -1)
		}
		s.begun = s.begun || err == nil
		return resp, err
	})
}

// answer asks, and takes what comes.
func (s *Stream) answer(ctx context.Context, offset int64) (*http.Response, error) {
	resp, err := s.ask(ctx, offset)
	if err != nil {
		return nil, err
	}
	if err := s.take(resp); err != nil {
		resp.Body.Close()
		return nil, err
	}
	return resp, nil
}

// ask sends one GET and judges the head of the answer. A negative offset asks
// for the whole, whatever is known.
func (s *Stream) ask(ctx context.Context, offset int64) (*http.Response, error) {
	ranges := ""
	if offset > 0 || offset == 0 && s.pieces > 0 {
		last := ""
		if offset < s.pieces {
			last = strconv.FormatInt(offset+pieceBytes-1, 10)
		}
		ranges = strconv.FormatInt(offset, 10) + "-" + last
	}
	resp, err := s.get(ctx, ranges, s.a.point.Validator)
	if err != nil {
		return nil, err
	}
	asked := int64(0)
	if ranges != "" {
		asked = 1 // 206 and 416 make sense
	}
	if fault := s.a.refusal(resp, asked); fault != nil {
		resp.Body.Close()
		return nil, fault
	}
	return resp, nil
}

// take makes an answer the one that is read, if it belongs to what was read
// before.
func (s *Stream) take(resp *http.Response) error {
	b := &body{ReadCloser: resp.Body, watch: s.a.watch}
	resp.Body = b
	if resp.StatusCode == http.StatusRequestedRangeNotSatisfiable {
		return fmt.Errorf("%w: no such range", errMisfit)
	}
	if resp.StatusCode == http.StatusPartialContent {
		expected := s.a.point
		expected.SyncedBytes = s.at
		if err := continues(resp, expected); err != nil {
			return fmt.Errorf("%w: %w", errMisfit, err)
		}
		_, last, _, _ := parseContentRange(resp.Header.Get("Content-Range")) // was read just now
		s.next, s.end, b.leftBytes = s.at, last+1, last+1-s.at
		s.resumed = s.resumed || !s.begun
		return nil
	}
	total := max(resp.ContentLength, 0)
	if total > s.a.r.MaxBytes {
		return s.a.tooLarge(total)
	}
	b.leftBytes, b.tooLong = s.a.r.MaxBytes, s.a.tooLarge(s.a.r.MaxBytes+1)
	if err := s.a.peek(resp, b); err != nil {
		return err
	}
	s.next, s.end = 0, total
	old := s.a.point
	now := Checkpoint{URL: s.a.r.URL, Validator: strongValidator(resp.Header), TotalBytes: total, Changes: old.Changes}
	known := old.Validator != ""
	if same := known && old.Validator == now.Validator && old.TotalBytes == total; same {
		s.resumed = s.resumed || !s.begun // a server without ranges
		return nil
	}
	if known {
		if now.Changes++; now.Changes > maxChanges {
			return ota.NewPermanent(ota.CodeFirmwareChanged,
				fmt.Errorf("cannot download %q: the file changed %d times while it was fetched", s.a.object, now.Changes))
		}
		s.a.f.opt.Logger.Warn("download starts over", "url", s.a.object, "lost", s.at, "changes", now.Changes)
	}
	s.a.point, s.pieces = now, 0
	if s.at > 0 {
		return ota.NewTransient(ota.CodeDownloadNetwork, fmt.Errorf("cannot download %q: %w", s.a.object, errRestart))
	}
	return nil
}
