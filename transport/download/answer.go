package download

import (
	"errors"
	"fmt"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"

	"otad/ota"
)

const (
	// lastModifiedAge is how much older than the answer a Last-Modified must be
	// to count as strong.
	lastModifiedAge = time.Minute
	maxRetryAfter   = 24 * time.Hour
	maxValidator    = 512 // bytes; it is persisted
)

// refusal classes an answer that is no file at all. offset is what was asked
// for: 206 and 416 make sense only behind a range.
func (a *attempt) refusal(resp *http.Response, offset int64) *ota.Fault {
	switch code := resp.StatusCode; code {
	case http.StatusOK:
	case http.StatusPartialContent, http.StatusRequestedRangeNotSatisfiable:
		if offset == 0 {
			return a.badAnswer(resp, fmt.Errorf("the server answered %d to a request without a range", code))
		}
	case http.StatusForbidden, http.StatusNotFound, http.StatusGone:
		return ota.NewPermanent(ota.CodeFirmwareMissing, fmt.Errorf("cannot download %q: the server answered %s", a.object, status(code))).
			WithHint("check on the server that the file of this offer exists and may be read")
	case http.StatusNetworkAuthenticationRequired:
		return a.html()
	default:
		return a.badAnswer(resp, fmt.Errorf("the server answered %s", status(code)))
	}
	if resp.StatusCode == http.StatusRequestedRangeNotSatisfiable {
		return nil // its body may well be a page
	}
	if kind, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type")); kind == "text/html" || kind == "application/xhtml+xml" {
		return a.html()
	}
	if enc := resp.Header.Get("Content-Encoding"); resp.Uncompressed || (enc != "" && enc != "identity") {
		return a.badAnswer(resp, fmt.Errorf("the answer is encoded (%q), which was not asked for", enc))
	}
	// The end of a body must show: by length, by chunks, by frames. Else a
	// truncated one looks whole.
	if resp.ContentLength < 0 && resp.ProtoMajor < 2 && len(resp.TransferEncoding) == 0 {
		return a.badAnswer(resp, errors.New("the answer has no length"))
	}
	return nil
}

func (a *attempt) badAnswer(resp *http.Response, err error) *ota.Fault {
	fault := ota.NewTransient(ota.CodeDownloadHTTP, fmt.Errorf("cannot download %q: %w", a.object, err))
	fault.RetryAfter = retryAfter(resp.Header, time.Now())
	return fault
}

func status(code int) string {
	return strings.TrimSpace(strconv.Itoa(code) + " " + http.StatusText(code))
}

// continues checks a 206 against the checkpoint that was asked to be continued.
func continues(resp *http.Response, from Checkpoint) error {
	first, last, total, err := parseContentRange(resp.Header.Get("Content-Range"))
	if err != nil {
		return err
	}
	if first != from.SyncedBytes {
		return fmt.Errorf("range begins at %d, asked for %d", first, from.SyncedBytes)
	}
	if from.TotalBytes > 0 && total != from.TotalBytes {
		return fmt.Errorf("file has %d bytes now, had %d", total, from.TotalBytes)
	}
	if n := resp.ContentLength; n >= 0 && n != last-first+1 {
		return fmt.Errorf("range of %d bytes in a body of %d", last-first+1, n)
	}
	// RFC 9110, 15.3.7: a 206 carries the ETag that a 200 would. Last-Modified
	// may be left out of it. A server that ignored If-Range shows here.
	if strings.HasPrefix(from.Validator, `"`) {
		if resp.Header.Get("ETag") != from.Validator {
			return errors.New("ETag differs")
		}
	} else if m := resp.Header.Get("Last-Modified"); m != "" && m != from.Validator {
		return errors.New("Last-Modified differs")
	}
	return nil
}

// parseContentRange reads `bytes first-last/total` (RFC 9110, 14.4). A total
// of `*` is an error: nothing could be checked against it.
func parseContentRange(s string) (first, last, total int64, err error) {
	bad := fmt.Errorf("Content-Range %.64q", s)
	unit, rest, _ := strings.Cut(s, " ")
	span, size, ok := strings.Cut(rest, "/")
	from, to, ok2 := strings.Cut(span, "-")
	if !strings.EqualFold(unit, "bytes") || !ok || !ok2 {
		return 0, 0, 0, bad
	}
	for i, field := range []string{from, to, size} {
		n, err := strconv.ParseUint(field, 10, 63)
		if err != nil {
			return 0, 0, 0, bad
		}
		*[]*int64{&first, &last, &total}[i] = int64(n)
	}
	if first > last || last >= total {
		return 0, 0, 0, bad
	}
	return first, last, total, nil
}

// strongValidator returns what may go into If-Range: a strong ETag, else a
// Last-Modified that is old enough, else "".
func strongValidator(h http.Header) string {
	if tag := h.Get("ETag"); len(tag) >= 2 && len(tag) <= maxValidator && tag[0] == '"' && tag[len(tag)-1] == '"' && printable(tag) {
		return tag
	}
	text := h.Get("Last-Modified")
	modified, err := http.ParseTime(text)
	if err != nil {
		return ""
	}
	date, err := http.ParseTime(h.Get("Date"))
	if err != nil || date.Sub(modified) < lastModifiedAge {
		return ""
	}
	return text
}

// printable guards the way through JSON and back.
func printable(s string) bool {
	return strings.IndexFunc(s, func(r rune) bool { return r < ' ' || r > '~' }) < 0
}

// retryAfter reads Retry-After: seconds, or a date, which counts from the
// server's own Date because a box may not know the time. now stands in for a
// missing Date. Bounded to a day.
func retryAfter(h http.Header, now time.Time) time.Duration {
	text := h.Get("Retry-After")
	if n, err := strconv.ParseUint(text, 10, 32); err == nil {
		return min(time.Duration(n)*time.Second, maxRetryAfter)
	}
	at, err := http.ParseTime(text)
	if err != nil {
		return 0
	}
	if date, err := http.ParseTime(h.Get("Date")); err == nil {
		now = date
	}
	return min(max(at.Sub(now), 0), maxRetryAfter)
}
