package download

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strconv"

	"otad/ota"
	"otad/ota/durable"
)

// errMisfit says that an answer does not continue the prefix at hand.
var errMisfit = errors.New("the answer does not continue what is stored")

// Do is called by grab: with HEAD, because the file exists, to learn its size
// and whether it can be resumed; then with GET. The first call opens the
// answer and brings the file to where that answer begins.
func (a *attempt) Do(req *http.Request) (*http.Response, error) {
	if a.answer == nil {
		if err := a.open(req); err != nil {
			return nil, err
		}
	}
	if req.Method != http.MethodHead {
		return a.answer, nil
	}
	size := a.point.TotalBytes
	if size == 0 {
		size = -1
	}
	return &http.Response{
		StatusCode: http.StatusOK, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header:        http.Header{"Accept-Ranges": {"bytes"}},
		ContentLength: size, Body: http.NoBody, Request: req,
	}, nil
}

// open gets an answer to store: the continuation of the prefix at hand, or,
// when the server has no continuation to give, the whole file.
func (a *attempt) open(req *http.Request) error {
	offset := a.point.SyncedBytes
	resp, err := a.ask(req, offset)
	if offset > 0 && errors.Is(err, errMisfit) {
		a.f.opt.Logger.Info("cannot resume the download", "url", a.object, "cause", scrub(err))
		resp, err = a.ask(req, 0)
	}
	if err != nil {
		return err
	}
	begin := a.startOver
	if resp.StatusCode == http.StatusPartialContent {
		begin = a.goOn
	}
	if err := begin(resp); err != nil {
		resp.Body.Close()
		return err
	}
	a.answer = resp
	a.report()
	return nil
}

// ask sends one GET, from offset on, and returns an answer that is either the
// whole file (200) or the continuation from offset (206). errMisfit: ask again
// without a range.
func (a *attempt) ask(from *http.Request, offset int64) (*http.Response, error) {
	req := from.Clone(from.Context())
	req.Method = http.MethodGet
	req.Header.Del("Range")
	req.Header.Set("Accept-Encoding", "identity") // the bytes as they are signed; keeps every transport from unpacking
	if offset > 0 {
		req.Header.Set("Range", "bytes="+strconv.FormatInt(offset, 10)+"-")
		req.Header.Set("If-Range", a.point.Validator)
	}
	a.watch.begin()
	resp, err := a.f.client.Do(req)
	a.watch.end(0)
	a.watch.reset() // the body gets a window of its own
	if err != nil {
		return nil, err
	}
	if err := a.judge(resp, offset); err != nil {
		resp.Body.Close()
		return nil, err
	}
	resp.Body = &body{ReadCloser: resp.Body, watch: a.watch}
	return resp, nil
}

// judge tells whether the header of an answer to a request from offset is one
// that can be stored.
func (a *attempt) judge(resp *http.Response, offset int64) error {
	if fault := a.refusal(resp, offset); fault != nil {
		return fault
	}
	switch resp.StatusCode {
	case http.StatusRequestedRangeNotSatisfiable:
		return fmt.Errorf("%w: no such range", errMisfit)
	case http.StatusPartialContent:
		if err := continues(resp, a.point); err != nil {
			return fmt.Errorf("%w: %w", errMisfit, err)
		}
	}
	return nil
}

// goOn prepares to append resp, a judged continuation, to the prefix.
func (a *attempt) goOn(resp *http.Response) error {
	_, _, total, err := parseContentRange(resp.Header.Get("Content-Range"))
	if err != nil {
		return err
	}
	if err := a.fits(total, a.point.SyncedBytes); err != nil {
		return err
	}
	a.point.TotalBytes = total
	a.setBounds(total)
	resp.Body.(*body).leftBytes = total - a.point.SyncedBytes
	a.f.opt.Logger.Info("download resumes", "url", a.object, "offset", a.point.SyncedBytes, "total", total)
	return nil
}

// startOver prepares to store resp, the whole file, from its first byte. Until
// the answer has been judged good the prefix at hand is kept: a captive portal
// must not cost it.
func (a *attempt) startOver(resp *http.Response) error {
	total := max(resp.ContentLength, 0)
	if err := a.fits(total, 0); err != nil {
		return err
	}
	b := resp.Body.(*body)
	b.leftBytes = a.r.MaxBytes
	b.tooLong = a.tooLarge(a.r.MaxBytes + 1)
	if err := a.peek(resp, b); err != nil {
		return err
	}

	next := Checkpoint{URL: a.r.URL, Validator: strongValidator(resp.Header), TotalBytes: total, Changes: a.point.Changes}
	if old := a.point; old.SyncedBytes > 0 && (old.Validator != next.Validator || (total > 0 && old.TotalBytes > 0 && total != old.TotalBytes)) {
		next.Changes++
		if next.Changes > maxChanges {
			return ota.NewPermanent(ota.CodeFirmwareChanged,
				fmt.Errorf("cannot download %q: the file changed %d times while it was fetched", a.object, next.Changes))
		}
	}
	if a.r.From.SyncedBytes > 0 {
		a.f.opt.Logger.Warn("download starts over", "url", a.object, "lost", a.r.From.SyncedBytes, "changes", next.Changes)
		if err := a.save(next); err != nil { // withdrawn before the prefix goes
			return err
		}
	}
	a.point = next
	a.setBounds(total)
	return a.file.cut(0)
}

// peek looks at how the body begins, without taking it away from grab.
func (a *attempt) peek(resp *http.Response, b *body) error {
	r := bufio.NewReaderSize(b, 512)
	head, err := r.Peek(max(len(a.r.Magic), 64))
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if len(head) == 0 {
		return errors.New("the answer is empty")
	}
	if text := bytes.TrimLeft(bytes.TrimPrefix(head, []byte("\ufeff")), " \t\r\n"); bytes.HasPrefix(text, []byte("<")) {
		return a.html()
	}
	if !bytes.HasPrefix(head, a.r.Magic) {
		return ota.NewTransient(ota.CodeArtifactDamaged,
			fmt.Errorf("cannot download %q: the answer begins with %q where %q was expected", a.object, head[:min(len(head), 16)], a.r.Magic))
	}
	b.peeked = r
	return nil
}

// fits bounds the size before anything is stored. total is 0 while unknown;
// then the bounds are kept while storing.
func (a *attempt) fits(total, offset int64) error {
	if total > a.r.MaxBytes {
		return a.tooLarge(total)
	}
	free, err := durable.FreeBytes(filepath.Dir(a.r.Path))
	if err != nil {
		return err
	}
	size, err := a.file.size()
	if err != nil {
		return err
	}
	free += max(size-offset, 0) // what is about to be cut off
	if need := max(total-offset, 0) + a.f.opt.ReserveBytes; free < need {
		return a.noSpaceFor(total, need, free)
	}
	return nil
}

func (a *attempt) setBounds(total int64) {
	a.distance = max(a.f.opt.CheckpointBytes, total/20)
}
