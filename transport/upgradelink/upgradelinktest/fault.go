package upgradelinktest

import (
	"net/http"
	"slices"
	"strings"
)

// Fault is trouble on demand. Exactly one of Stall, Cut and Status is set.
type Fault struct {
	Path  string // a prefix of the paths it strikes, "/v1/app/"; empty: all
	Times int    // how many requests it strikes; 0: until ClearFaults
	// Status answers with this status, Body, ContentType and RetryAfter.
	Status      int
	ContentType string
	Body        string
	RetryAfter  string
	// Stall answers nothing until the client gives up or the server closes.
	Stall bool
	// Cut ends the connection in the middle of an answer.
	Cut bool
}

// Faults that were met in the field.
var (
	Crash       = Fault{Status: http.StatusInternalServerError} // a panic of the server: an empty body
	BreakerOpen = Fault{Status: http.StatusServiceUnavailable}  // its circuit breaker: an empty body
	Portal      = Fault{Status: http.StatusOK, ContentType: "text/html; charset=utf-8",
		Body: "<!DOCTYPE html><html><head><title>Welcome</title></head><body>Please log in to use this network.</body></html>"}
	Stalled = Fault{Stall: true}
	CutOff  = Fault{Cut: true}
)

// Inject makes a fault strike. Of several that fit, the oldest strikes first.
func (s *Server) Inject(f Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = append(s.faults, f)
}

// ClearFaults ends all faults; a request that stalls stays stalled.
func (s *Server) ClearFaults() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = nil
}

func (s *Server) takeFault(path string) (Fault, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range s.faults {
		f := s.faults[i]
		if !strings.HasPrefix(path, f.Path) {
			continue
		}
		if f.Times == 1 {
			s.faults = slices.Delete(s.faults, i, i+1)
		} else if f.Times > 1 {
			s.faults[i].Times--
		}
		return f, true
	}
	return Fault{}, false
}

func (f Fault) serve(c *call) {
	switch {
	case f.Stall:
		c.log(0)
		select {
		case <-c.r.Context().Done():
		case <-c.s.stop:
		}
		panic(http.ErrAbortHandler)
	case f.Cut:
		c.log(0)
		c.w.Header().Set("Content-Length", "1000")
		c.w.Write([]byte(`{"code":200,"msg":"New ver`))
		http.NewResponseController(c.w).Flush()
		panic(http.ErrAbortHandler)
	}
	if f.RetryAfter != "" {
		c.w.Header().Set("Retry-After", f.RetryAfter)
	}
	c.send(f.Status, f.ContentType, []byte(f.Body))
}
