package downloadtest

import (
	"net"
	"net/http"
	"sync"
	"time"
)

// Host is a file host. The zero value has no files.
type Host struct {
	mu          sync.Mutex
	files       map[string]*File
	awayUntil   time.Time
	silentUntil time.Time
}

// Add registers content under a URL path ("/fw/2.swu"), in place of what was
// there, in good order and with its counters at zero.
func (h *Host) Add(path string, c Content) *File {
	f := &File{host: h, content: c, modified: time.Now().Add(-24 * time.Hour)}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.files == nil {
		h.files = make(map[string]*File)
	}
	h.files[path] = f
	return f
}

// File returns the file under path, nil if there is none.
func (h *Host) File(path string) *File {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.files[path]
}

// Away drops every connection with a request, and resets transfers under way,
// for d.
func (h *Host) Away(d time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.awayUntil = time.Now().Add(d)
}

// Silent sends nothing to anybody for d; connections stay.
func (h *Host) Silent(d time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.silentUntil = time.Now().Add(d)
}

// state tells whether the host is away, and for how long it is silent.
func (h *Host) state() (away bool, silent time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := time.Now()
	return now.Before(h.awayUntil), h.silentUntil.Sub(now)
}

// ServeHTTP serves the registered files.
func (h *Host) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	away, silent := h.state()
	if away {
		drop(w, true)
	}
	pause(r, silent)
	f := h.File(r.URL.Path)
	if f == nil {
		http.NotFound(w, r)
		return
	}
	f.serve(w, r)
}

// drop ends the connection under w and the handler with it.
func drop(w http.ResponseWriter, reset bool) {
	if conn, _, err := http.NewResponseController(w).Hijack(); err == nil {
		if tcp, ok := conn.(*net.TCPConn); ok && reset {
			tcp.SetLinger(0)
		}
		conn.Close()
	}
	panic(http.ErrAbortHandler)
}

// pause waits for d, or until the client has gone.
func pause(r *http.Request, d time.Duration) {
	if d <= 0 {
		return
	}
	select {
	case <-r.Context().Done():
	case <-time.After(d):
	}
}
