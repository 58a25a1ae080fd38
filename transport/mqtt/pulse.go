package mqtt

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// pulse keeps a connection alive (MQTT 3.1.1, 3.1.2.10) in place of paho, which
// looks every five seconds whether a ping is due: a box with nothing to do is
// woken when one is due, and else not. paho is told of no keep-alive; pulse
// writes it into CONNECT, sends PINGREQ between two packets, and ends the
// connection if nothing comes back. It takes each Write for one whole packet,
// which is how paho writes. Writes get a deadline.
type pulse struct {
	net.Conn
	keepAlive, patience time.Duration // until a ping is due; until its answer is

	begun          time.Time
	sent, received atomic.Int64 // nanoseconds after begun
	waiting        atomic.Bool  // for the answer to a ping
	silent         atomic.Bool  // it never came

	timer   *time.Timer // runs from CONNECT on
	writing sync.Mutex
	greeted bool // CONNECT was written
}

var (
	errSilent = errors.New("no answer to a ping")
	pingreq   = []byte{0xc0, 0}
)

func newPulse(conn net.Conn, keepAlive time.Duration) *pulse {
	p := &pulse{Conn: conn, keepAlive: keepAlive, patience: min(keepAlive, pingTimeout), begun: time.Now()}
	p.timer = time.AfterFunc(keepAlive, p.beat)
	p.timer.Stop()
	return p
}

// Read implements [io.Reader] for one reader at a time.
func (p *pulse) Read(b []byte) (int, error) {
	n, err := p.Conn.Read(b)
	if n > 0 {
		p.received.Store(int64(time.Since(p.begun)))
		if p.waiting.CompareAndSwap(true, false) {
			p.timer.Reset(p.keepAlive)
		}
	}
	if err != nil && p.silent.Load() {
		err = errSilent
	}
	return n, err
}

// Write sends one packet.
func (p *pulse) Write(packet []byte) (int, error) {
	p.writing.Lock()
	defer p.writing.Unlock()
	if !p.greeted {
		p.greeted = true
		packet = announce(packet, p.keepAlive)
		p.received.Store(int64(time.Since(p.begun)))
		p.timer.Reset(p.keepAlive)
	}
	if err := p.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
		return 0, err
	}
	n, err := p.Conn.Write(packet)
	if err == nil {
		p.sent.Store(int64(time.Since(p.begun)))
		err = p.SetWriteDeadline(time.Time{}) // TLS answers key updates while it reads
	}
	return n, err
}

// beat is called when a ping, or the answer to one, may be due.
func (p *pulse) beat() {
	if p.waiting.CompareAndSwap(true, false) {
		p.silent.Store(true)
		p.Conn.Close()
		return
	}
	last := time.Duration(min(p.sent.Load(), p.received.Load()))
	if left := p.keepAlive - (time.Since(p.begun) - last); left > 0 {
		p.timer.Reset(left)
		return
	}
	p.waiting.Store(true)
	p.timer.Reset(p.patience)
	if _, err := p.Write(pingreq); err != nil {
		p.Conn.Close()
	}
}

// Close implements [net.Conn].
func (p *pulse) Close() error {
	p.timer.Stop() // should it go off now, it finds the connection closed
	return p.Conn.Close()
}

// announce returns the packet CONNECT with a keep-alive (MQTT 3.1.1, 3.1.2): it
// follows the name of the protocol, its level and the flags.
func announce(connect []byte, keepAlive time.Duration) []byte {
	body := bytes.NewReader(connect[1:])
	if _, err := readLength(body); err != nil {
		return connect // not from paho
	}
	at := len(connect) - body.Len() + len("\x00\x04MQTT") + 2
	connect = bytes.Clone(connect)
	binary.BigEndian.PutUint16(connect[at:], uint16(keepAlive/time.Second))
	return connect
}
