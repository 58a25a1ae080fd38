package mqtttest

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"sync"
	"syscall"
	"time"

	mochi "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/listeners"

	"otad/transport"
)

// startTimeout is how long a broker may take until it listens.
const startTimeout = 10 * time.Second

// Broker is an MQTT broker in this process (mochi). It acknowledges a message
// just before it hands it on or stores it for those who are away. Its methods may be called from
// several goroutines, except Stop, Restart and Close.
type Broker struct {
	config Config
	addr   string
	views  views

	mu     sync.Mutex
	server *mochi.Server
	inner  string // address of mochi's own WebSocket listener
	open   net.Listener
	conns  map[net.Conn]bool
	served sync.WaitGroup
}

// Start starts a broker. The caller closes it.
func Start(config Config) (*Broker, error) {
	b := &Broker{config: config, addr: config.Addr, conns: make(map[net.Conn]bool)}
	if b.addr == "" {
		addr, err := freeAddr()
		if err != nil {
			return nil, fmt.Errorf("cannot start broker: %w", err)
		}
		b.addr = addr
	}
	if err := b.Restart(); err != nil {
		return nil, err
	}
	return b, nil
}

// URL is where clients connect: tcp://, ssl:// or ws://.
func (b *Broker) URL() string { return b.config.scheme() + "://" + b.addr }

// Stop is a crash: the port is closed and all connections are cut. Nothing of
// the state is lost until Restart.
func (b *Broker) Stop() {
	b.mu.Lock()
	if b.open != nil {
		b.open.Close()
		b.open = nil
	}
	b.mu.Unlock()
	b.CutAll()
	b.served.Wait()
}

// Restart stops the broker if it runs, and opens the same port again, with or
// without the old state as Config.Forget says.
func (b *Broker) Restart() error {
	b.Stop()
	if b.server != nil && b.config.Forget {
		b.server.Close()
		b.server = nil
	}
	if b.server == nil {
		if err := b.newServer(); err != nil {
			return fmt.Errorf("cannot start broker: %w", err)
		}
	}
	open, err := listen(b.addr)
	if err != nil {
		return fmt.Errorf("cannot start broker: %w", err)
	}
	b.mu.Lock()
	b.open = open
	b.mu.Unlock()
	b.served.Go(func() { b.accept(open) })
	return nil
}

// Close ends the broker and its views.
func (b *Broker) Close() error {
	b.views.close()
	b.Stop()
	return b.server.Close()
}

// CutAll cuts every connection without a word; clients may come back.
func (b *Broker) CutAll() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for conn := range b.conns {
		cut(conn)
	}
}

// Cut cuts the connection of one client; false says that it has none.
func (b *Broker) Cut(clientID string) bool {
	client, ok := b.server.Clients.Get(clientID)
	if !ok || client.Closed() {
		return false
	}
	client.Stop(net.ErrClosed)
	return true
}

// Publish publishes m as the broker itself.
func (b *Broker) Publish(m transport.Message) error {
	return b.server.Publish(m.Topic, m.Payload, m.Retained, m.QoS)
}

// Observe opens a [View] of the topics that match filters. With Users the
// view comes in as any one of them.
func (b *Broker) Observe(filters ...string) (*View, error) {
	return b.views.open(b.URL(), b.config, filters)
}

func (b *Broker) newServer() error {
	b.server = mochi.New(&mochi.Options{
		InlineClient: true,
		Logger:       slog.New(slog.DiscardHandler),
	})
	err := b.server.AddHook(&users{passwords: b.config.Users}, nil)
	if err != nil {
		return err
	}
	if b.config.WebSocket {
		// mochi opens its WebSocket port itself; it gets one of its own, behind ours.
		if b.inner, err = freeAddr(); err != nil {
			return err
		}
		err = b.server.AddListener(listeners.NewWebsocket(listeners.Config{ID: "ws", Address: b.inner}))
		if err != nil {
			return err
		}
	}
	if err := b.server.Serve(); err != nil {
		return err
	}
	if b.config.WebSocket {
		return waitFor(b.inner, nil)
	}
	return nil
}

// accept serves the connections of one listener until it is closed.
func (b *Broker) accept(open net.Listener) {
	for {
		conn, err := open.Accept()
		if err != nil {
			return
		}
		b.mu.Lock()
		stopped := b.open != open
		if !stopped {
			b.conns[conn] = true
		}
		b.mu.Unlock()
		if stopped {
			cut(conn)
			return
		}
		b.served.Go(func() {
			b.serve(conn)
			b.mu.Lock()
			delete(b.conns, conn)
			b.mu.Unlock()
			conn.Close()
		})
	}
}

// serve returns when conn has ended.
func (b *Broker) serve(conn net.Conn) {
	switch {
	case b.config.Authority != nil:
		config := b.config.Authority.serverTLS(b.config.Mutual)
		b.server.EstablishConnection("tls", tls.Server(conn, config))
	case b.config.WebSocket:
		if inner, err := net.Dial("tcp", b.inner); err == nil {
			splice(conn, inner)
		}
	default:
		b.server.EstablishConnection("tcp", conn)
	}
}

// splice copies both ways until either side ends, and closes both.
func splice(a, b net.Conn) {
	var both sync.WaitGroup
	pump := func(to, from net.Conn) {
		io.Copy(to, from)
		cut(to)
		cut(from)
	}
	both.Go(func() { pump(a, b) })
	both.Go(func() { pump(b, a) })
	both.Wait()
}

// cut closes conn with a reset, as a box that lost its power would not even do.
func cut(conn net.Conn) {
	if tcp, ok := conn.(*net.TCPConn); ok {
		tcp.SetLinger(0)
	}
	conn.Close()
}

// listen opens addr. A port that was just closed may be held for another
// moment by a child process that has been forked and is not yet executed.
func listen(addr string) (net.Listener, error) {
	for deadline := time.Now().Add(time.Second); ; time.Sleep(5 * time.Millisecond) {
		l, err := net.Listen("tcp", addr)
		if !errors.Is(err, syscall.EADDRINUSE) || time.Now().After(deadline) {
			return l, err
		}
	}
}

// waitFor waits until somebody listens on addr, or gives up after startTimeout
// or when ended is closed.
func waitFor(addr string, ended <-chan struct{}) error {
	deadline := time.After(startTimeout)
	for {
		if conn, err := net.Dial("tcp", addr); err == nil {
			return conn.Close()
		}
		select {
		case <-ended:
			return fmt.Errorf("the program for %s has ended", addr)
		case <-deadline:
			return fmt.Errorf("nobody listens on %s after %s", addr, startTimeout)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// freeAddr returns a loopback address that nobody listened on just now. It is
// below the ports that systems give to outgoing connections, so that it is
// still free when a stopped broker comes back.
func freeAddr() (string, error) {
	for {
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", 15_000+rand.N(17_000)))
		switch {
		case err == nil:
			return l.Addr().String(), l.Close()
		case !errors.Is(err, syscall.EADDRINUSE):
			return "", err
		}
	}
}
