package downloadtest

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"time"
)

// Line is how a [Proxy]'s line misbehaves; the zero value is a good one.
type Line struct {
	Rate   int64         // bytes a second, of each answer; 0 for no bound
	Busy   int           // so many requests are answered with 503 and Retry-After: 1
	After  int64         // an incident happens after so many bytes of an answer's body,
	Times  int           // so often: the connection is closed,
	Reset  bool          // or reset,
	Away   time.Duration // and all that come after it are reset for so long;
	Silent time.Duration // or instead nothing is sent for so long, and then it goes on
}

// Passed is an answer that a proxy handed on.
type Passed struct {
	Range     string // that was asked for
	BodyBytes int64  // that the client's kernel acknowledged, where the answer was cut
}

// Proxy stands between a client and an HTTP server on loopback. It counts what
// it hands on and breaks the line when it is told to. The client sees what it
// would see of a server: the proxy adds nothing.
type Proxy struct {
	listener net.Listener
	target   string

	mu        sync.Mutex
	line      Line
	awayUntil time.Time
	passed    []Passed
	conns     sync.WaitGroup
	closed    chan struct{}
}

// NewProxy starts a proxy before target, "127.0.0.1:80". The caller closes it.
func NewProxy(target string, line Line) (*Proxy, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("cannot start proxy: %w", err)
	}
	p := &Proxy{listener: listener, target: target, line: line, closed: make(chan struct{})}
	p.conns.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return // closed
			}
			p.conns.Go(func() { p.serve(conn.(*net.TCPConn)) })
		}
	})
	return p, nil
}

// URL is where the proxy listens.
func (p *Proxy) URL() string { return "http://" + p.listener.Addr().String() }

// Passed lists the answers so far, without those that were 503.
func (p *Proxy) Passed() []Passed {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]Passed(nil), p.passed...)
}

// Close cuts all connections.
func (p *Proxy) Close() error {
	close(p.closed)
	err := p.listener.Close()
	p.conns.Wait()
	return err
}

func (p *Proxy) serve(client *net.TCPConn) {
	defer client.Close()
	gone := make(chan struct{})
	defer close(gone)
	go func() { // who waits for a request hears of Close
		select {
		case <-p.closed:
			client.Close()
		case <-gone:
		}
	}()
	for requests := bufio.NewReader(client); ; {
		req, err := http.ReadRequest(requests)
		if err != nil {
			return
		}
		p.mu.Lock()
		away := time.Now().Before(p.awayUntil)
		p.mu.Unlock()
		if away {
			client.SetLinger(0)
			return
		}
		if err := p.answer(client, req); err != nil {
			return
		}
	}
}

// answer hands one answer on; after an error the connection is of no use.
func (p *Proxy) answer(client *net.TCPConn, req *http.Request) error {
	if p.takeBusy() {
		_, err := io.WriteString(client, "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nRetry-After: 1\r\n\r\n")
		return err
	}
	server, err := net.Dial("tcp", p.target)
	if err != nil {
		return err
	}
	defer server.Close()
	if err := req.Write(server); err != nil {
		return err
	}
	resp, err := http.ReadResponse(bufio.NewReader(server), req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	fmt.Fprintf(client, "HTTP/1.1 %s\r\n", resp.Status)
	if err := resp.Header.Write(client); err != nil {
		return err
	}
	if _, err := io.WriteString(client, "\r\n"); err != nil {
		return err
	}
	at := p.begin(req.Header.Get("Range"))
	return p.copyBody(client, resp.Body, at)
}

func (p *Proxy) takeBusy() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.line.Busy > 0 {
		p.line.Busy--
		return true
	}
	return false
}

func (p *Proxy) begin(asked string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.passed = append(p.passed, Passed{Range: asked})
	return len(p.passed) - 1
}

// incident takes the incident that is due after done bytes, if one is; left is
// how many bytes may still pass before it.
func (p *Proxy) incident(done int64) (due bool, left int64, line Line) {
	p.mu.Lock()
	defer p.mu.Unlock()
	line = p.line
	if line.Times <= 0 {
		return false, 1 << 62, line
	}
	if left = line.After - done; left > 0 {
		return false, left, line
	}
	p.line.Times--
	if line.Silent == 0 && line.Away > 0 {
		p.awayUntil = time.Now().Add(line.Away)
	}
	return true, 0, line
}

func (p *Proxy) copyBody(client *net.TCPConn, body io.Reader, at int) error {
	buf := make([]byte, 64<<10)
	began, done := time.Now(), int64(0)
	for {
		due, left, line := p.incident(done)
		switch {
		case due && line.Silent > 0:
			p.sleep(line.Silent)
			continue
		case due:
			drain(client)
			if line.Reset {
				client.SetLinger(0)
			}
			return io.ErrClosedPipe
		}
		n, err := body.Read(buf[:min(int64(len(buf)), left)])
		m, writeErr := client.Write(buf[:n])
		done += int64(m)
		p.mu.Lock()
		p.passed[at].BodyBytes += int64(m)
		p.mu.Unlock()
		if writeErr != nil {
			return writeErr
		}
		if err != nil {
			if err == io.EOF {
				return nil
			}
			return err
		}
		if line.Rate > 0 {
			p.sleep(time.Until(began.Add(time.Duration(float64(done) / float64(line.Rate) * float64(time.Second)))))
		}
	}
}

func (p *Proxy) sleep(d time.Duration) {
	if d <= 0 {
		return
	}
	select {
	case <-time.After(d):
	case <-p.closed:
	}
}
