package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"syscall"
	"time"

	"otad/ota"
)

// maxRequest and maxReply bound what goes over the socket.
const (
	maxRequest = 64 << 10
	maxReply   = 1 << 20
)

// Watcher streams what `status` would answer, once now and at each change.
type Watcher interface {
	Verbs
	Watch() (changed <-chan struct{}, stop func())
}

// watchEvery paces a stream of states.
const watchEvery = 100 * time.Millisecond

// Listen makes the local socket, for root only, in place of a dead one. The
// caller holds otad's lock, so a socket that is there has no owner.
func Listen(path string) (net.Listener, error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("cannot open socket: %w", err)
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, ota.NewPermanent(ota.CodeConfig, fmt.Errorf("cannot open socket %q: %w", path, err)).
			WithHint("check [control] socket: its directory must exist, and the path be shorter than 108 bytes")
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(fmt.Errorf("cannot open socket: %w", err), l.Close())
	}
	return l, nil
}

// Serve answers on l until ctx ends:
//
//	POST /v1/do     a Request, answered by a Reply
//	POST /v1/audit  a settled Request, for the audit; answered by a Reply
//	GET  /v1/watch  a line with a Reply of `status` now and at each change
//	GET  /v1/logs   ?limit=N: a line with a Reply of `logs` now and at each new line
func Serve(ctx context.Context, l net.Listener, agent Watcher) error {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/do", func(w http.ResponseWriter, req *http.Request) {
		var r Request
		if err := decode(req.Body, maxRequest, &r); err != nil {
			writeJSON(w, refusal(usage("cannot read request: %w", err)))
			return
		}
		writeJSON(w, Answer(req.Context(), agent, r))
	})
	mux.HandleFunc("GET /v1/logs", func(w http.ResponseWriter, req *http.Request) { streamLogs(w, req, agent) })
	mux.HandleFunc("POST /v1/audit", func(w http.ResponseWriter, req *http.Request) { audit(w, req, agent) })
	mux.HandleFunc("GET /v1/watch", func(w http.ResponseWriter, req *http.Request) { watch(w, req, agent) })
	srv := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second,
		BaseContext: func(net.Listener) context.Context { return ctx }}
	ended := make(chan struct{})
	defer context.AfterFunc(ctx, func() {
		defer close(ended)
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastWords)
		defer cancel()
		if srv.Shutdown(last) != nil { // streams get their last line first
			srv.Close()
		}
	})()
	if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("cannot serve socket: %w", err)
	}
	<-ended
	return nil
}

// lastWords bounds how long Serve waits for answers under way when it ends.
const lastWords = time.Second

func watch(w http.ResponseWriter, req *http.Request, agent Watcher) {
	changed, stop := agent.Watch()
	defer stop()
	pace := time.NewTicker(watchEvery)
	defer pace.Stop()
	flusher := http.NewResponseController(w)
	say := func() bool {
		return writeJSON(w, Answer(context.WithoutCancel(req.Context()), agent, Request{V: Version, Verb: Status})) && flusher.Flush() == nil
	}
	for say() {
		select {
		case <-changed:
		case <-req.Context().Done(): // the client left, or the agent ends: say how
			say()
			return
		}
		select { // several changes in a short time are one
		case <-pace.C:
		case <-req.Context().Done():
			say()
			return
		}
	}
}

func writeJSON(w io.Writer, v any) bool {
	if rw, ok := w.(http.ResponseWriter); ok {
		rw.Header().Set("Content-Type", "application/json")
	}
	return json.NewEncoder(w).Encode(v) == nil
}

// Client is the other end of the socket. It implements Verbs.
type Client struct{ http http.Client }

// ErrNoDaemon says that nobody serves the socket.
var ErrNoDaemon = errors.New("control: no daemon")

// Dial connects to the daemon's socket at path; ErrNoDaemon when there is none.
func Dial(path string) (*Client, error) {
	var d net.Dialer
	conn, err := d.Dial("unix", path)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) {
		return nil, fmt.Errorf("cannot reach the daemon at %q: %w: %w", path, ErrNoDaemon, err)
	}
	if err != nil {
		return nil, ota.NewRefused(ota.CodeUsage, fmt.Errorf("cannot reach the daemon at %q: %w", path, err)).
			WithHint("the socket belongs to root")
	}
	conn.Close()
	return &Client{http: http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return d.DialContext(ctx, "unix", path) },
	}}}, nil
}

// Do sends r and returns the reply's data as json.RawMessage.
func (c *Client) Do(ctx context.Context, r Request) (any, error) {
	r.V = Version
	body, err := json.Marshal(r)
	if err != nil {
		return nil, err
	}
	resp, err := c.send(ctx, http.MethodPost, "/v1/do", bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	var reply Reply
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxReply)).Decode(&reply); err != nil {
		return nil, fmt.Errorf("cannot read the daemon's answer: %w", err)
	}
	if err := reply.Err(); err != nil {
		return nil, err
	}
	return reply.Data, nil
}

// Follow calls each with the data of `status` now and at every change, until
// it returns false, the daemon ends (io.EOF) or ctx does.
func (c *Client) Follow(ctx context.Context, each func(json.RawMessage) bool) error {
	resp, err := c.send(ctx, http.MethodGet, "/v1/watch", nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	lines := json.NewDecoder(resp.Body)
	for {
		var reply Reply
		if err := lines.Decode(&reply); err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return io.EOF // however the connection ended, the daemon is gone
		}
		if err := reply.Err(); err != nil {
			return err
		}
		if !each(reply.Data) {
			return nil
		}
	}
}

func (c *Client) send(ctx context.Context, method, path string, body io.Reader) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://otad"+path, body)
	if err != nil {
		return nil, err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, ota.NewTransient(ota.CodeInternal, fmt.Errorf("cannot ask the daemon: %w", err))
	}
	return resp, nil
}
