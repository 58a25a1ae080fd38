// Package upgradelinktest is an UpgradeLink server for tests and for the lab:
// it answers like the open-source server v2.3.1+ (texts, order of members and
// of checks), from a catalog in memory that can be changed while it runs.
//
// It works in the manner of net/http/httptest: [NewServer] listens on a free
// loopback port; [New] makes an http.Handler to be mounted anywhere.
//
// By default it is as strict as the vendor's pages say: a timestamp within
// five minutes, a nonce of at least 16 characters that is never used twice.
// Options.Lenient makes it accept the nonces that the measured server accepts.
// The measured door without any check, a header `test: test`, is not built.
//
// It shares no code with the client on purpose: if both sides computed a
// signature wrongly in the same way, every test would pass.
package upgradelinktest

import (
	"crypto/rand"
	"encoding/hex"
	"maps"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"
)

// The access key of a server whose options name none.
const (
	DemoAccessKey = "demo-access-key"
	DemoSecretKey = "demo-secret-key"
)

// Bounds of what a server remembers; the oldest go first.
const (
	maxRequests     = 1000
	maxReports      = 10000
	maxLoggedBytes  = 8 << 10
	maxRequestBytes = 1 << 20
)

// Options say how a server behaves.
type Options struct {
	// Keys maps access keys to their secret keys; nil is the demo key.
	Keys map[string]string
	// Lenient accepts short and repeated nonces, as the measured server does.
	Lenient bool
	// Now is the server's clock; nil is time.Now.
	Now func() time.Time
}

// Server is the server. All its methods are safe for concurrent use, also
// while it answers.
type Server struct {
	URL string // of a server that NewServer started: "http://127.0.0.1:1234"

	lenient  bool
	http     *http.Server
	stop     chan struct{}
	stopOnce sync.Once

	mu       sync.Mutex
	keys     map[string]string
	now      func() time.Time
	date     func(time.Time) string
	apps     map[appID]*App
	faults   []Fault
	nonces   map[string]time.Time
	requests []Request
	reports  []Report
}

// Request is one request in the server's log.
type Request struct {
	At     time.Time // by the server's clock
	Method string
	Target string // path and query as they came
	Header http.Header
	Body   string // cut after 8 KiB
	Status int    // 0 when it got no whole answer: stalled or cut
	Code   int    // the code inside the JSON answer; -1 when it was no JSON
}

// New makes a server that does not listen.
func New(o Options) *Server {
	if o.Keys == nil {
		o.Keys = map[string]string{DemoAccessKey: DemoSecretKey}
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return &Server{
		lenient: o.Lenient,
		stop:    make(chan struct{}),
		keys:    maps.Clone(o.Keys),
		now:     o.Now,
		date:    httpDate,
		apps:    map[appID]*App{},
		nonces:  map[string]time.Time{},
	}
}

// NewServer makes a server and starts it on a free loopback port. It panics
// when there is none, as httptest does. The caller closes it.
func NewServer(o Options) *Server {
	s := New(o)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic("upgradelinktest: " + err.Error())
	}
	s.URL = "http://" + listener.Addr().String()
	s.http = &http.Server{Handler: s, ReadHeaderTimeout: 10 * time.Second}
	go s.http.Serve(listener)
	return s
}

// Close releases stalled requests and ends a server that listens.
func (s *Server) Close() {
	s.stopOnce.Do(func() { close(s.stop) })
	if s.http != nil {
		s.http.Close()
	}
}

func httpDate(t time.Time) string { return t.UTC().Format(http.TimeFormat) }

// SetClock replaces the server's clock.
func (s *Server) SetClock(now func() time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.now = now
}

// SetDate replaces the text of the Date header, which is made from the
// server's clock; an empty text leaves the header out, nil restores the truth.
func (s *Server) SetDate(date func(now time.Time) string) {
	if date == nil {
		date = httpDate
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.date = date
}

// SetKey adds an access key or changes its secret; an empty secret disables it.
func (s *Server) SetKey(accessKey, secretKey string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if secretKey == "" {
		delete(s.keys, accessKey)
		return
	}
	s.keys[accessKey] = secretKey
}

// Requests returns the latest requests, oldest first.
func (s *Server) Requests() []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.requests)
}

// Reports returns the latest stored reports, oldest first.
func (s *Server) Reports() []Report {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.reports)
}

// appended adds v and drops the oldest beyond limit.
func appended[T any](list []T, v T, limit int) []T {
	if len(list) >= limit {
		list = slices.Delete(list, 0, len(list)-limit+1)
	}
	return append(list, v)
}

// ServeHTTP answers one request: a fault if one is due, the API else.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c := s.newCall(w, r)
	if f, due := s.takeFault(r.URL.Path); due {
		c.readBody()
		f.serve(c)
		return
	}
	s.route(c)
}

// newCall takes the time of the request once: every check uses the same.
func (s *Server) newCall(w http.ResponseWriter, r *http.Request) *call {
	var id [24]byte
	rand.Read(id[:])
	s.mu.Lock()
	now, date := s.now(), s.date
	s.mu.Unlock()
	c := &call{
		s: s, w: w, r: r, now: now, code: -1,
		traceID: hex.EncodeToString(id[:16]), spanID: hex.EncodeToString(id[16:]),
	}
	w.Header()["Date"] = nil // keeps net/http from adding its own
	if text := date(now); text != "" {
		w.Header().Set("Date", text)
	}
	return c
}
