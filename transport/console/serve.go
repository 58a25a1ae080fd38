package console

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"sync"
	"time"

	"otad/ota"
)

const (
	// reopenFirst and reopenMax bound the wait before a port that was lost is
	// opened again; a session of longLived counts as a good one.
	reopenFirst = time.Second
	reopenMax   = 30 * time.Second
	longLived   = 10 * time.Second
	// lastWords bounds how long a port that blocks may hold up the end.
	lastWords = time.Second
)

// Serve serves the console until ctx ends. A port that is not there or goes
// away is waited for.
func Serve(ctx context.Context, o Options) error {
	g := &guard{login: o.Login}
	lost := 0
	for ctx.Err() == nil {
		began := time.Now()
		err := serveOnce(ctx, &o, g)
		if ctx.Err() != nil {
			break
		}
		if time.Since(began) > longLived {
			lost = 0
		}
		if lost++; lost == 1 { // once, not at every try
			o.Log.Warn("console port lost, waiting for it", "port", o.Port, "cause", err)
		}
		t := time.NewTimer(ota.Backoff(lost, reopenFirst, reopenMax, rand.Float64()))
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
		}
	}
	return ctx.Err()
}

// serveOnce opens the port and serves it until it fails or ctx ends.
func serveOnce(ctx context.Context, o *Options, g *guard) error {
	port, err := o.Open()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	s := newSession(ctx, o, g, &printer{w: port, failed: cancel})
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		s.run(port)
	}()
	select {
	case <-ended:
	case <-ctx.Done():
	}
	cancel(io.EOF)
	port.Close() // wakes the reader; what it lost is lost
	select {
	case <-ended:
	case <-time.After(lastWords): // a write that blocks for ever
	}
	return context.Cause(ctx)
}

// printer is the way out: to a person with carriage returns, or raw. Each write
// goes out whole, so frames and text do not tear each other.
type printer struct {
	mu     sync.Mutex
	w      io.Writer
	failed func(error)
}

// Write writes text to a person.
func (p *printer) Write(text []byte) (int, error) {
	if err := p.raw(bytes.ReplaceAll(text, []byte("\n"), []byte("\r\n"))); err != nil {
		return 0, err
	}
	return len(text), nil
}

func (p *printer) raw(data []byte) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(data) > 0 {
		n, err := p.w.Write(data)
		if err == nil && n == 0 {
			err = io.ErrShortWrite
		}
		if err != nil {
			p.failed(err)
			return err
		}
		data = data[n:]
	}
	return nil
}

// unprinted is a printer's raw side as a writer.
type unprinted struct{ *printer }

func (u unprinted) Write(data []byte) (int, error) {
	if err := u.raw(data); err != nil {
		return 0, err
	}
	return len(data), nil
}

var errPortClosed = errors.New("the port closed")
