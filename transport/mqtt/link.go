package mqtt

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"
	"github.com/eclipse/paho.mqtt.golang/packets"

	"otad/transport"
)

// link is one connection to one broker, from CONNECT to its end. The paho
// client in it is used once and stores nothing, so nothing outlives it.
type link struct {
	client  paho.Client
	conn    net.Conn
	window  chan struct{}     // the client's: one entry for each publish under way
	inbound chan paho.Message // acknowledged when delivered
	queued  atomic.Int64      // bytes of payload in inbound
	drops   *drops

	fallen sync.Once
	down   chan struct{} // closed when the connection is over
	cause  error         // why; to be read after down is closed
}

// refusal is a CONNACK that says no.
type refusal struct{ reason error }

func (r *refusal) Error() string { return "refused by the broker: " + r.reason.Error() }

// connect dials and performs CONNECT. When ctx ends it gives up.
func (c *Client) connect(ctx context.Context, broker *url.URL) (*link, error) {
	o := &c.opts
	l := &link{
		window:  c.window,
		inbound: make(chan paho.Message, o.Backlog),
		drops:   c.drops,
		down:    make(chan struct{}),
	}
	var dialErr error
	release := func() bool { return true }
	po := pahoOptions(o, broker)
	po.SetDefaultPublishHandler(l.enqueue)
	po.SetConnectionLostHandler(func(_ paho.Client, err error) { l.fall(err) })
	po.SetCustomOpenConnectionFn(func(*url.URL, paho.ClientOptions) (net.Conn, error) {
		conn, err := dial(ctx, o.TLS, broker)
		if err != nil {
			dialErr = err
			return nil, err
		}
		release = context.AfterFunc(ctx, func() { conn.Close() })
		l.conn = newGuard(newPulse(conn, o.KeepAlive), len(o.Subscriptions))
		return l.conn, nil
	})
	l.client = paho.NewClient(po)
	token := l.client.Connect().(*paho.ConnectToken)
	<-token.Done() // dial and CONNACK have their own time-outs
	inTime := release()
	switch err, code := token.Error(), token.ReturnCode(); {
	case dialErr != nil:
		return nil, dialErr
	case err == nil && !inTime: // ctx has ended and closed the socket
		l.hangUp()
		return nil, ctx.Err()
	case err == nil:
		return l, nil
	case code != packets.ErrNetworkError:
		return nil, &refusal{err}
	default:
		return nil, fmt.Errorf("no answer to CONNECT: %s", strings.TrimPrefix(withoutPort(err).Error(), "network Error : "))
	}
}

func pahoOptions(o *Options, broker *url.URL) *paho.ClientOptions {
	po := paho.NewClientOptions()
	po.Servers = []*url.URL{broker}
	po.SetProtocolVersion(4)
	po.SetClientID(o.ClientID)
	po.SetCleanSession(o.CleanSession)
	po.SetUsername(o.Username)
	po.SetPassword(o.Password.reveal())
	po.SetKeepAlive(0) // see pulse
	po.SetConnectTimeout(handshakeTimeout)
	po.SetWriteTimeout(writeTimeout)
	po.SetStore(noStore{})
	po.SetAutoReconnect(false) // the loop does it, with jitter and a fresh client
	po.SetAutoAckDisabled(true)
	if w := o.Will; w != nil {
		po.SetBinaryWill(w.Topic, w.Payload, w.QoS, w.Retained)
	}
	return po
}

// fall marks the link as over. Only the first cause counts.
func (l *link) fall(cause error) {
	l.fallen.Do(func() {
		l.cause = fmt.Errorf("connection lost: %w", withoutPort(cause))
		close(l.down)
	})
}

// publish waits for a place in the window and sends m.
func (l *link) publish(ctx context.Context, m transport.Message) error {
	select {
	case l.window <- struct{}{}:
	case <-l.down:
		return l.lost()
	case <-ctx.Done():
		return ctx.Err()
	}
	sent := make(chan error, 1)
	go func() {
		// The place is held until paho has let go of the message, even if the
		// caller has gone: that bounds what a silent broker can make us keep.
		defer func() { <-l.window }()
		sent <- l.send(context.Background(), m)
	}()
	select {
	case err := <-sent:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// send hands m to paho and waits until it is written (QoS 0) or acknowledged
// (QoS 1), until the link is down, or until ctx ends.
func (l *link) send(ctx context.Context, m transport.Message) error {
	token := l.client.Publish(m.Topic, m.QoS, m.Retained, m.Payload)
	select {
	case <-token.Done():
	case <-ctx.Done():
		return ctx.Err()
	case <-l.down:
		select {
		case <-token.Done(): // the acknowledgement came just before
		default:
			return l.lost()
		}
	}
	if err := token.Error(); err != nil {
		return fmt.Errorf("%w: %w", transport.ErrOffline, err)
	}
	return nil
}

func (l *link) lost() error {
	return fmt.Errorf("%w: %w", transport.ErrOffline, l.cause)
}

// subscribe asks for filters and returns those that were denied.
func (l *link) subscribe(ctx context.Context, filters []string, qos byte) (denied []string, err error) {
	if len(filters) == 0 {
		return nil, nil
	}
	wanted := make(map[string]byte)
	for _, f := range filters {
		wanted[f] = qos
	}
	token := l.client.SubscribeMultiple(wanted, nil).(*paho.SubscribeToken)
	select {
	case <-token.Done():
	case <-l.down:
		return nil, l.cause
	case <-ctx.Done():
		return nil, fmt.Errorf("no answer to SUBSCRIBE: %w", ctx.Err())
	}
	if err := token.Error(); err != nil {
		return nil, fmt.Errorf("cannot subscribe: %w", err)
	}
	for filter, code := range token.Result() {
		if code > 2 {
			denied = append(denied, filter)
		}
	}
	return denied, nil
}

// enqueue is called by paho's reader and must not block: PINGRESP comes the
// same way. What finds no room is acknowledged all the same, because in
// MQTT 3.1.1 a message without acknowledgement is not sent again on this
// connection and holds a place in the broker's window for ever.
func (l *link) enqueue(_ paho.Client, m paho.Message) {
	size := int64(len(m.Payload()))
	if size > MaxPayload || ValidTopic(m.Topic()) != nil {
		l.drops.note("too large or malformed")
		m.Ack()
		return
	}
	if l.queued.Add(size) <= int64(cap(l.inbound))*backlogBytes {
		select {
		case l.inbound <- m:
			return
		default:
		}
	}
	l.queued.Add(-size)
	l.drops.note("more than can be received")
	m.Ack()
}

// deliver hands the messages to receive, in order, until the link is down or
// ctx ends. What then still waits was not acknowledged: the broker sends it
// again.
func (l *link) deliver(ctx context.Context, receive func(transport.Message)) {
	for {
		select {
		case <-l.down:
			return
		case <-ctx.Done():
			return
		case m := <-l.inbound:
			receive(transport.Message{
				Topic: m.Topic(), Payload: m.Payload(), QoS: m.Qos(), Retained: m.Retained(),
			})
			l.queued.Add(-int64(len(m.Payload())))
			m.Ack()
		}
	}
}

// hangUp ends the connection, with DISCONNECT if it is still there, and waits
// for paho's goroutines. It may be called again.
func (l *link) hangUp() {
	l.client.Disconnect(uint(writeTimeout / time.Millisecond))
	l.cut()
	l.fall(net.ErrClosed)
}

// cut closes the socket as a crash would.
func (l *link) cut() { l.conn.Close() }

// noStore is paho's memory for messages without acknowledgement: it forgets.
// With a real one they would be sent again behind the caller's back.
type noStore struct{}

func (noStore) Open()                             {}
func (noStore) Put(string, packets.ControlPacket) {}
func (noStore) Get(string) packets.ControlPacket  { return nil }
func (noStore) All() []string                     { return nil }
func (noStore) Del(string)                        {}
func (noStore) Close()                            {}
func (noStore) Reset()                            {}
