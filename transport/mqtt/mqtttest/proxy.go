package mqtttest

import (
	"fmt"
	"io"
	"net"
	"sync"
)

// Proxy is a bad network before a broker: a TCP forwarder that can cut its
// connections and let them stall.
type Proxy struct {
	target string
	open   net.Listener
	served sync.WaitGroup

	mu    sync.Mutex
	conns map[net.Conn]bool
	flow  chan struct{} // closed while bytes may pass
}

// StartProxy forwards a free loopback port to target ("host:port"). The caller
// closes it.
func StartProxy(target string) (*Proxy, error) {
	open, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("cannot start proxy: %w", err)
	}
	p := &Proxy{target: target, open: open, conns: make(map[net.Conn]bool), flow: make(chan struct{})}
	close(p.flow)
	p.served.Go(p.accept)
	return p, nil
}

// Addr is where clients connect: "127.0.0.1:port".
func (p *Proxy) Addr() string { return p.open.Addr().String() }

// Cut cuts all connections with a reset; new ones are forwarded again.
func (p *Proxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for conn := range p.conns {
		cut(conn)
	}
}

// Stall holds all bytes back, both ways, with the connections open; Flow lets
// them pass again.
func (p *Proxy) Stall() {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.flow:
		p.flow = make(chan struct{})
	default:
	}
}

// Flow ends a Stall.
func (p *Proxy) Flow() {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.flow:
	default:
		close(p.flow)
	}
}

// Close cuts everything and ends the proxy.
func (p *Proxy) Close() {
	p.open.Close()
	p.Flow()
	p.Cut()
	p.served.Wait()
}

func (p *Proxy) accept() {
	for {
		conn, err := p.open.Accept()
		if err != nil {
			return
		}
		target, err := net.Dial("tcp", p.target)
		if err != nil {
			cut(conn)
			continue
		}
		p.mu.Lock()
		p.conns[conn], p.conns[target] = true, true
		p.mu.Unlock()
		p.served.Go(func() {
			var both sync.WaitGroup
			both.Go(func() { p.pump(conn, target) })
			both.Go(func() { p.pump(target, conn) })
			both.Wait()
			p.mu.Lock()
			delete(p.conns, conn)
			delete(p.conns, target)
			p.mu.Unlock()
		})
	}
}

// pump copies from one side to the other while bytes may flow, and closes both
// when either ends.
func (p *Proxy) pump(to, from net.Conn) {
	io.Copy(&valve{p, to}, from)
	cut(to)
	cut(from)
}

// valve is a writer that waits while the proxy is stalled.
type valve struct {
	proxy *Proxy
	net.Conn
}

func (v *valve) Write(b []byte) (int, error) {
	v.proxy.mu.Lock()
	flow := v.proxy.flow
	v.proxy.mu.Unlock()
	<-flow
	return v.Conn.Write(b)
}
