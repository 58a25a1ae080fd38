package downloadtest

import (
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

const offsetsKept = 1024

// page is what a captive portal shows.
const page = "<!DOCTYPE html>\n<html><body>Please sign in.</body></html>\n"

// File is one file of a Host.
type File struct {
	host *Host

	mu       sync.Mutex
	content  Content
	modified time.Time
	faults   Faults
	stats    Stats
}

// Set makes the file misbehave from now on; Faults{} puts it in order.
func (f *File) Set(faults Faults) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.faults = faults
}

// Replace puts other content in place; transfers under way keep the old one.
func (f *File) Replace(c Content) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.content, f.modified = c, f.modified.Add(time.Hour)
}

// Stats returns a copy of the counters.
func (f *File) Stats() Stats {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := f.stats
	s.Offsets = append([]int64(nil), s.Offsets...)
	return s
}

func (f *File) end() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.stats.Active--
}

// begin counts a request and takes what it is answered with.
func (f *File) begin() (Content, time.Time, Faults) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.stats.Requests++
	f.stats.Active++
	faults := f.faults
	if f.faults.Busy > 0 {
		f.faults.Busy--
	}
	return f.content, f.modified, faults
}

func (f *File) serve(w http.ResponseWriter, r *http.Request) {
	content, modified, faults := f.begin()
	defer f.end()
	h := w.Header()
	if faults.RetryAfter > 0 {
		h.Set("Retry-After", strconv.FormatInt(int64(faults.RetryAfter/time.Second), 10))
	}
	switch {
	case faults.Status != 0:
		http.Error(w, "as told", faults.Status)
		return
	case faults.Busy > 0:
		http.Error(w, "busy", http.StatusServiceUnavailable)
		return
	}
	h.Del("Retry-After")
	switch {
	case faults.HTML:
		h.Set("Content-Type", "text/html; charset=utf-8")
		io.WriteString(w, page)
		return
	case faults.Redirect != "":
		http.Redirect(w, r, faults.Redirect, http.StatusFound)
		return
	case faults.RedirectSelf:
		http.Redirect(w, r, r.URL.String(), http.StatusFound)
		return
	}

	h.Set("Content-Type", "application/octet-stream")
	modified = validators(h, content, modified, faults)
	if faults.NoRanges || faults.IgnoreRange {
		r.Header.Del("Range")
	}
	if faults.IgnoreIfRange {
		r.Header.Del("If-Range")
	}
	if faults.WrongContentRange {
		shiftRange(r.Header)
	}
	body := &flow{f: f, w: w, r: r, content: content, size: content.SizeBytes - faults.ShortBy}
	defer body.count()
	var out http.ResponseWriter = w
	if faults.NoRanges {
		out = hide{out, "Accept-Ranges"}
	}
	several := severalOf(r, body.size)
	if faults.Many == WholeOfMany && several != nil {
		r.Header.Del("Range")
		several = nil
	}
	switch {
	case several != nil:
		body.serveSeveral(several, faults.Many)
	case faults.Endless:
		body.size = 1 << 62
		io.Copy(w, body) // until the client has had enough
	case faults.NoLength && r.Header.Get("Range") == "":
		http.NewResponseController(w).Flush() // makes even a short body a chunked one
		io.Copy(w, body)
	default:
		http.ServeContent(out, r, "", modified, body)
	}
}

// validators sets ETag, and returns the time for Last-Modified, zero for none.
func validators(h http.Header, c Content, modified time.Time, faults Faults) time.Time {
	switch {
	case faults.NoValidators:
		return time.Time{}
	case faults.WeakETag:
		h.Set("ETag", "W/"+c.ETag)
		return time.Time{}
	case faults.FreshLastModified:
		return time.Now()
	}
	h.Set("ETag", c.ETag)
	return modified
}

// shiftRange makes `bytes=N-` into `bytes=N+1-`.
func shiftRange(h http.Header) {
	from, ok := strings.CutPrefix(h.Get("Range"), "bytes=")
	if n, err := strconv.ParseInt(strings.TrimSuffix(from, "-"), 10, 64); ok && err == nil {
		h.Set("Range", fmt.Sprintf("bytes=%d-", n+1))
	}
}

// hide leaves a header out of the answer that http.ServeContent would set.
type hide struct {
	http.ResponseWriter
	name string
}

func (w hide) WriteHeader(status int) {
	w.Header().Del(w.name)
	w.ResponseWriter.WriteHeader(status)
}
