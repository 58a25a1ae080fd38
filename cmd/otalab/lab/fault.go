package lab

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"sort"
	"strconv"
	"strings"
	"time"

	"otad/transport/download/downloadtest"
)

// faultPath sets how the host serves the artifact of a version.
const faultPath = "/lab/fault"

// faultKinds are the ways to misbehave that can be asked for by name; N is a
// number of bytes.
var faultKinds = map[string]struct {
	help string
	set  func(f *downloadtest.Faults, n int64)
}{
	"gone":     {"answer 404", func(f *downloadtest.Faults, _ int64) { f.Status = http.StatusNotFound }},
	"busy":     {"answer 503 N times", func(f *downloadtest.Faults, n int64) { f.Busy = int(n) }},
	"html":     {"answer a web page, as captive portals do", func(f *downloadtest.Faults, _ int64) { f.HTML = true }},
	"norange":  {"answer 200 to a continuation", func(f *downloadtest.Faults, _ int64) { f.IgnoreRange = true }},
	"short":    {"lack the last N bytes", func(f *downloadtest.Faults, n int64) { f.ShortBy = n }},
	"flip":     {"invert byte N", func(f *downloadtest.Faults, n int64) { f.Flip = []int64{n} }},
	"slow":     {"send N bytes a second", func(f *downloadtest.Faults, n int64) { f.Rate = n }},
	"cut":      {"end the connection at byte N, once", func(f *downloadtest.Faults, n int64) { f.Cut = &downloadtest.Cut{At: n, Times: 1} }},
	"reset":    {"reset every connection at byte N", func(f *downloadtest.Faults, n int64) { f.Cut = &downloadtest.Cut{At: n, Times: -1, Reset: true} }},
	"silent":   {"stop sending at byte N, for a minute", func(f *downloadtest.Faults, n int64) { f.Silence = &downloadtest.Silence{At: n, For: time.Minute} }},
	"endless":  {"never end", func(f *downloadtest.Faults, _ int64) { f.Endless = true }},
	"redirect": {"redirect in a circle", func(f *downloadtest.Faults, _ int64) { f.RedirectSelf = true }},
	"none":     {"be in good order again", func(f *downloadtest.Faults, _ int64) { *f = downloadtest.Faults{} }},
}

// FaultHelp lists the faults that ParseFaults knows, a line each.
func FaultHelp() string {
	var lines []string
	for name, kind := range faultKinds {
		if strings.Contains(kind.help, " N") {
			name += "=N"
		}
		lines = append(lines, fmt.Sprintf("  %-10s %s\n", name, kind.help))
	}
	sort.Strings(lines)
	return strings.Join(lines, "")
}

// ParseFaults reads faults by name: "gone", "cut=1000000".
func ParseFaults(list []string) (downloadtest.Faults, error) {
	var faults downloadtest.Faults
	for _, text := range list {
		name, value, _ := strings.Cut(text, "=")
		kind, known := faultKinds[name]
		if !known {
			return faults, fmt.Errorf("cannot make fault %q: it is not known", name)
		}
		var n int64
		if strings.Contains(kind.help, " N") {
			var err error
			if n, err = strconv.ParseInt(value, 10, 64); err != nil || n < 0 {
				return faults, fmt.Errorf("cannot make fault %q: want %s=N", text, name)
			}
		}
		kind.set(&faults, n)
	}
	return faults, nil
}

func (s *Server) serveFault(w http.ResponseWriter, r *http.Request) {
	faults, err := ParseFaults(r.URL.Query()["fault"])
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	code := r.URL.Query().Get("code")
	s.mu.Lock()
	file := s.byCode[code]
	s.mu.Unlock()
	if file == nil {
		http.Error(w, fmt.Sprintf("cannot make faults: version %q was not published", code), http.StatusNotFound)
		return
	}
	file.Set(faults)
	fmt.Fprintf(w, "the host serves version %s so: %s\n", code, strings.Join(r.URL.Query()["fault"], " "))
}

// MisbehaveAt makes the host of another process at labURL serve the artifact
// of a version with faults, and returns what it says.
func MisbehaveAt(ctx context.Context, labURL string, code int64, faults []string) (string, error) {
	query := url.Values{"code": {strconv.FormatInt(code, 10)}, "fault": faults}
	text, err := call(ctx, http.MethodPost, labURL+faultPath+"?"+query.Encode(), nil)
	return string(text), err
}
