package fleet

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"net/http"
	"time"
)

// page is the whole web page: styles and script are in it, so that it works
// from one file without a network.
//
//go:embed page.html
var page []byte

// webEvery paces what a browser is sent; webAlive is how often a silent
// connection is shown to be alive.
const (
	webEvery = 250 * time.Millisecond
	webAlive = 15 * time.Second
)

// Handler serves the fleet to browsers, for reading only:
//
//	GET /         the page
//	GET /events   server-sent events: `boxes` with a JSON list of Rows, all of
//	              them first and then those that changed
func (f *Fleet) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		h := w.Header()
		h.Set("Content-Type", "text/html; charset=utf-8")
		// Whatever a box calls itself, nothing but this file runs.
		h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; img-src data:")
		h.Set("X-Content-Type-Options", "nosniff")
		w.Write(page) // an error means that the browser is gone
	})
	mux.HandleFunc("GET /events", f.stream)
	return mux
}

func (f *Fleet) stream(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-store")
	flush := http.NewResponseController(w)
	pace := time.NewTicker(webEvery)
	defer pace.Stop()
	alive := time.NewTicker(webAlive)
	defer alive.Stop()
	for rev, first := uint64(0), true; ; first = false {
		rows, now, changed := f.Since(rev)
		rev = now
		if first || len(rows) > 0 {
			data, err := json.Marshal(rows)
			if err != nil {
				panic(err) // rows are plain values
			}
			fmt.Fprintf(w, "event: boxes\ndata: %s\n\n", data)
		} else {
			fmt.Fprint(w, ": alive\n\n")
		}
		if flush.Flush() != nil {
			return
		}
		select {
		case <-changed:
		case <-alive.C:
		case <-r.Context().Done():
			return
		}
		select { // many changes in a short time are one message
		case <-pace.C:
		case <-r.Context().Done():
			return
		}
	}
}
