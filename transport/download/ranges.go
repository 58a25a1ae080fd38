package download

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"otad/ota"
)

const (
	// mostRanges are asked for in one request: its line stays below 2 KiB, and
	// servers that bound them allow more.
	mostRanges = 64
	// partBytes is what a range of its own costs in an answer of many; gaps that
	// are smaller are rather fetched.
	partBytes = 128
	// requestBytes is what a request of its own costs, in time put as bytes.
	requestBytes = 8 << 10
)

// way is how a server lets itself be asked. A server that shows that it does
// not know one is asked in the next way from then on.
type way int

const (
	wayMany  way = iota // many ranges in a request
	wayOne              // one
	wayWhole            // none: what is not wanted is read, too
)

// Spans is a file of which some pieces are wanted.
type Spans struct {
	URL string
	// TotalBytes is the size of the file. Another size is another file.
	TotalBytes int64
	// Wanted are the pieces, in the order of the file. The list is used up.
	Wanted []ota.Span
	// MaxRanges are asked for in one request; 0, or more than are good: 64.
	MaxRanges int
	// Magic is how the file begins.
	Magic []byte
	// WholeBytes bounds the size of a file that is fetched whole because its
	// server has no ranges.
	WholeBytes int64
	// Fetched hears how many bytes came, after each reading; may be nil.
	Fetched func(n int)
}

// Ranges reads pieces of a file, one behind the other, in one pass over the
// file. Each of them is judged by who reads it: the content has hashes of its
// own. So no validator is needed, and copies of the file on several servers
// may take turns.
type Ranges struct {
	line
	spans  Spans
	wanted []ota.Span // what is yet to come; the first one may have been begun
	way    way
	parts  *byteRanges // of the answer; nil when it is one part
	part   ota.Span    // of it: what is yet to come
	asked  ota.Span    // from the first byte to the last, of the answer under way
	useful bool        // the answer brought something
}

// Ranges prepares to read; the first request is made by the first Read. again is
// that of [Fetcher.Stream], and so are the faults, besides
// CodeFirmwareNoRanges, and CodeArtifactHash for a file of another size.
func (f *Fetcher) Ranges(ctx context.Context, s Spans, again func(ctx context.Context, failures int, cause *ota.Fault) error) (*Ranges, error) {
	if u, err := url.Parse(s.URL); err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
		return nil, ota.NewPermanent(ota.CodeOfferBad, fmt.Errorf("cannot download %q: not an absolute http or https URL", redact(s.URL)))
	}
	if s.MaxRanges <= 0 || s.MaxRanges > mostRanges {
		s.MaxRanges = mostRanges
	}
	if s.Fetched == nil {
		s.Fetched = func(int) {}
	}
	r := &Ranges{line: f.newLine(ctx, Request{URL: s.URL, Magic: s.Magic, MaxBytes: s.TotalBytes}, again), spans: s, wanted: s.Wanted}
	return r, nil
}

// Read implements io.Reader: the wanted pieces, one behind the other.
func (r *Ranges) Read(p []byte) (int, error) { return r.persist(p, r.read, r.failed) }

// failed asks in the next way when this one does not fit, else it is that of a
// line.
func (r *Ranges) failed(err error) error {
	if r.way == wayMany && errors.Is(err, errMisfit) {
		r.down(err)
		return nil
	}
	return r.line.failed(r.misfit(err), r.at())
}

// at is the next byte that is wanted.
func (r *Ranges) at() int64 {
	if len(r.wanted) == 0 {
		return r.spans.TotalBytes
	}
	return r.wanted[0].Offset
}

// read is Read without patience. No byte and no error: again, please.
func (r *Ranges) read(p []byte) (int, error) {
	switch {
	case len(r.wanted) == 0:
		return 0, io.EOF
	case r.resp == nil:
		return 0, r.connect()
	case r.part.Length == 0:
		return 0, r.nextPart()
	}
	if r.part.End() <= r.at() { // nothing more of it is wanted
		return 0, r.skip(r.part.Length)
	}
	if gap := r.at() - r.part.Offset; gap > 0 {
		return 0, r.skip(gap)
	}
	want := &r.wanted[0]
	n, err := r.take(p[:min(int64(len(p)), want.Length, r.part.Length)])
	want.Offset, want.Length = want.Offset+int64(n), want.Length-int64(n)
	if want.Length == 0 {
		r.wanted = r.wanted[1:]
	}
	r.useful = r.useful || n > 0
	r.gain(n)
	if n > 0 {
		err = nil // it will come again
	}
	return n, err
}

// skip reads what is not wanted.
func (r *Ranges) skip(n int64) error {
	if r.part.End() <= r.at() && r.parts == nil {
		r.hangUp() // all that follows is as useless
		return nil
	}
	_, err := io.CopyN(io.Discard, readerFunc(r.take), n)
	return err
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// take reads from the part.
func (r *Ranges) take(p []byte) (int, error) {
	var from io.Reader = r.resp.Body
	if r.parts != nil {
		from = r.parts.r
	}
	n, err := from.Read(p)
	r.part.Offset, r.part.Length = r.part.Offset+int64(n), r.part.Length-int64(n)
	r.spans.Fetched(n)
	if n > 0 {
		if err := r.a.pace.Wait(r.ctx, int64(n)); err != nil {
			return n, err
		}
	}
	if err == io.EOF && r.part.Length > 0 {
		err = io.ErrUnexpectedEOF
	} else if err == io.EOF {
		err = nil
	}
	return n, r.stalled(err)
}

// nextPart goes on in the answer, or to the next request when it is over.
func (r *Ranges) nextPart() error {
	if r.parts == nil {
		return r.over()
	}
	first, last, total, err := r.parts.next()
	switch {
	case err == io.EOF:
		return r.over()
	case err != nil:
		return r.stalled(err)
	case total != r.spans.TotalBytes:
		return r.otherFile(total)
	case first > r.at():
		return fmt.Errorf("%w: byte %d was passed over", errMisfit, r.at())
	}
	r.part = ota.Span{Offset: first, Length: last - first + 1}
	return nil
}

// over ends an answer. One that brought less than was asked for is of a server
// that does not take many ranges.
func (r *Ranges) over() error {
	useful, left := r.useful, r.at() < r.asked.End()
	r.hangUp()
	switch {
	case !useful:
		return fmt.Errorf("%w: nothing of it was asked for", errMisfit)
	case left && r.parts == nil && r.way == wayMany:
		r.down(errors.New("one range came of many"))
	}
	return nil
}

// misfit classes what cannot be helped by asking in another way.
func (r *Ranges) misfit(err error) error {
	if errors.Is(err, errMisfit) {
		return ota.NewTransient(ota.CodeDownloadHTTP, fmt.Errorf("cannot download %q: not the ranges that were asked for came: %w", r.a.object, err))
	}
	return err
}

// down asks in the next way from now on.
func (r *Ranges) down(cause error) {
	r.way++
	r.a.f.opt.Logger.Info("cannot ask for so many ranges", "url", r.a.object, "cause", scrub(cause))
}

func (r *Ranges) otherFile(size int64) error {
	return ota.NewPermanent(ota.CodeArtifactHash,
		fmt.Errorf("cannot use %q: it has %d bytes, the signed header describes a file of %d", r.a.object, size, r.spans.TotalBytes)).
		WithHint("upload the file that was packed together with the artifact; never replace a published one")
}

// batch is what the next request asks for.
func (r *Ranges) batch() []ota.Span {
	gap, most := int64(partBytes), r.spans.MaxRanges
	if r.way == wayOne {
		gap, most = requestBytes, 1
	}
	if dear(r.wanted, gap) {
		from := r.at()
		return []ota.Span{{Offset: from, Length: r.wanted[len(r.wanted)-1].End() - from}}
	}
	return joined(r.wanted, gap, most)
}

// joined are the first spans, at most so many, those that are close together as
// one.
func joined(wanted []ota.Span, gap int64, most int) (list []ota.Span) {
	for _, w := range wanted {
		if n := len(list); n > 0 && w.Offset-list[n-1].End() <= gap {
			list[n-1].Length = w.End() - list[n-1].Offset
			continue
		}
		if len(list) == most {
			break
		}
		list = append(list, w)
	}
	return list
}

// dear tells whether the pieces, each of which costs, are as dear as all that is
// from the first to the last.
func dear(wanted []ota.Span, each int64) bool {
	sum := int64(0)
	for _, w := range wanted {
		sum += w.Length + each
	}
	return sum >= wanted[len(wanted)-1].End()-wanted[0].Offset+each
}

// connect asks for what comes next and takes the answer.
func (r *Ranges) connect() error {
	r.parts, r.part, r.useful = nil, ota.Span{}, false
	batch := r.batch()
	r.asked = ota.Span{Offset: batch[0].Offset, Length: batch[len(batch)-1].End() - batch[0].Offset}
	var text strings.Builder
	most := int64(lineBytes)
	for i, s := range batch {
		if i > 0 {
			text.WriteByte(',')
		}
		fmt.Fprintf(&text, "%d-%d", s.Offset, s.End()-1)
		most += s.Length + lineBytes/4
	}
	ranges := text.String()
	if r.way == wayWhole {
		ranges = ""
	}
	return r.open(func(why context.Context) (*http.Response, error) {
		resp, err := r.get(why, ranges, "")
		if err != nil {
			return nil, err
		}
		if err := r.judge(resp, len(batch), most); err != nil {
			resp.Body.Close()
			return nil, err
		}
		return resp, nil
	})
}

// judge takes an answer to so many ranges, of most bytes with all that is around
// them.
func (r *Ranges) judge(resp *http.Response, ranges int, most int64) error {
	code := resp.StatusCode
	if ranges > 1 && code >= 400 && code < 500 && code != http.StatusNotFound && code != http.StatusGone && code != http.StatusTooManyRequests {
		return fmt.Errorf("%w: the server answered %s to %d ranges", errMisfit, status(code), ranges)
	}
	if fault := r.a.refusal(resp, 1); fault != nil {
		return fault
	}
	b := &body{ReadCloser: resp.Body, watch: r.a.watch}
	resp.Body = b
	switch code {
	case http.StatusRequestedRangeNotSatisfiable:
		return r.otherFile(lengthOf416(resp))
	case http.StatusOK:
		return r.judgeWhole(resp, b)
	}
	if parts, several := newByteRanges(resp); several {
		r.parts, b.leftBytes, b.tooLong = parts, most, fmt.Errorf("%w: more came than was asked for", errMisfit)
		return nil
	}
	first, last, total, err := parseContentRange(resp.Header.Get("Content-Range"))
	switch n := resp.ContentLength; {
	case err != nil:
		return fmt.Errorf("%w: %w", errMisfit, err)
	case total != r.spans.TotalBytes:
		return r.otherFile(total)
	case n >= 0 && n != last-first+1, first > r.at(), last < r.at(), r.at()-first > skipBytes:
		return fmt.Errorf("%w: Content-Range %.64q", errMisfit, resp.Header.Get("Content-Range"))
	}
	r.part = ota.Span{Offset: first, Length: last - first + 1}
	b.leftBytes = r.part.Length
	return nil
}

// judgeWhole takes a 200. Its server may know single ranges.
func (r *Ranges) judgeWhole(resp *http.Response, b *body) error {
	b.leftBytes = r.spans.TotalBytes
	if err := r.a.peek(resp, b); err != nil {
		return err
	}
	if n := resp.ContentLength; n >= 0 && n != r.spans.TotalBytes {
		return r.otherFile(n)
	}
	switch {
	case r.way == wayMany:
		return fmt.Errorf("%w: the whole came", errMisfit)
	case r.spans.TotalBytes > r.spans.WholeBytes:
		return ota.NewPermanent(ota.CodeFirmwareNoRanges,
			fmt.Errorf("cannot download %q: its server has no ranges, and the whole of %d bytes is more than the %d that are allowed",
				r.a.object, r.spans.TotalBytes, r.spans.WholeBytes)).
			WithHint("let the server answer requests with Range, or raise download.delta_whole")
	case r.way == wayOne:
		r.down(errors.New("the whole came"))
	}
	r.part = ota.Span{Length: r.spans.TotalBytes}
	return nil
}

// lengthOf416 is the size of the file as a refusal of the range tells it, 0 when
// it does not.
func lengthOf416(resp *http.Response) (size int64) {
	_, _ = fmt.Sscanf(resp.Header.Get("Content-Range"), "bytes */%d", &size)
	return size
}
