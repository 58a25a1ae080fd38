package upgradelinktest

import (
	"compress/gzip"
	"encoding/json"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// call is one request on its way through the server.
type call struct {
	s       *Server
	w       http.ResponseWriter
	r       *http.Request
	now     time.Time
	traceID string
	spanID  string
	body    []byte
	code    int
}

// readBody takes the whole body, decompressed as the server does it.
func (c *call) readBody() {
	var body io.Reader = c.r.Body
	if strings.Contains(c.r.Header.Get("Content-Encoding"), "gzip") {
		z, err := gzip.NewReader(c.r.Body)
		if err != nil {
			return
		}
		body = z
	}
	c.body, _ = io.ReadAll(io.LimitReader(body, maxRequestBytes+1))
}

// log keeps the request. It comes before the answer goes out, so that whoever
// has the answer finds the request in the log.
func (c *call) log(status int) {
	body := c.body[:min(len(c.body), maxLoggedBytes)]
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	c.s.requests = appended(c.s.requests, Request{
		At: c.now, Method: c.r.Method, Target: c.r.RequestURI, Header: c.r.Header.Clone(),
		Body: string(body), Status: status, Code: c.code,
	}, maxRequests)
}

// send answers with a body of any kind.
func (c *call) send(status int, contentType string, body []byte) {
	h := c.w.Header()
	h["Content-Type"] = nil // keeps net/http from guessing one
	if contentType != "" {
		h.Set("Content-Type", contentType)
	}
	if len(body) > 0 { // net/http knows when to write a zero
		h.Set("Content-Length", strconv.Itoa(len(body)))
	}
	c.log(status)
	c.w.WriteHeader(status)
	c.w.Write(body)
}

func (c *call) traced() {
	c.w.Header().Set("Traceparent", "00-"+c.traceID+"-"+c.spanID+"-00")
}

// failure is an error answer of the API.
type failure struct {
	code      int
	msg, docs string
}

// fail answers with an error. The status is the head of the code.
func (c *call) fail(f *failure) { c.failTraced(f, c.traceID) }

func (c *call) failTraced(f *failure, traceID string) {
	c.code = f.code
	c.sendJSON(f.code/1000, object{
		{"code", f.code}, {"msg", f.msg}, {"docs", f.docs}, {"traceId", traceID},
	})
}

// succeed answers with code 0 or 200.
func (c *call) succeed(code int, msg, docs string, data any) {
	c.code = code
	c.sendJSON(http.StatusOK, object{
		{"code", code}, {"msg", msg}, {"traceId", c.traceID}, {"docs", docs}, {"data", data},
	})
}

func (c *call) sendJSON(status int, o object) {
	body, err := json.Marshal(o)
	if err != nil {
		panic("upgradelinktest: " + err.Error())
	}
	c.send(status, "application/json; charset=utf-8", body)
}

// object is a JSON object that keeps the order of its members.
type object []struct {
	name  string
	value any
}

// MarshalJSON writes the members in their order.
func (o object) MarshalJSON() ([]byte, error) {
	out := []byte{'{'}
	for i, m := range o {
		if i > 0 {
			out = append(out, ',')
		}
		name, err := json.Marshal(m.name)
		if err != nil {
			return nil, err
		}
		value, err := json.Marshal(m.value)
		if err != nil {
			return nil, err
		}
		out = append(append(append(out, name...), ':'), value...)
	}
	return append(out, '}'), nil
}
