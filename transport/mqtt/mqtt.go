// Package mqtt keeps one MQTT 3.1.1 connection alive for ever: messages in,
// messages out, no knowledge of what they mean.
//
// Model. A [Client] owns one goroutine that tries the brokers in order, serves
// the connection that it got, and starts over with backoff when it falls. Each
// connection is a paho client that is used once and keeps nothing: what was
// not acknowledged when a connection falls is reported as an error to whoever
// published it, and never sent again from here. The durable queue is the
// caller's, and an entry leaves it when [Client.Publish] returned nil.
//
// Inwards the session is persistent: the broker keeps QoS 1 messages while the
// box is away. A message is acknowledged after Receive returned, so a crash in
// between means that it comes again: receivers must know an id that they have
// already acted on.
//
// Trust. The broker may be broken into: the size of what it sends is bounded
// before memory is taken for it, the number of waiting messages is bounded, and
// names are checked. What a message asks for is for the receiver to judge.
package mqtt

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"sync/atomic"
	"time"

	"otad/ota"
	"otad/transport"
)

// Bounds and times that are the same for every connection.
const (
	// MaxPayload is the largest payload in bytes that is handed to Receive.
	MaxPayload = 64 << 10

	backlog          = 128     // messages that wait for Receive, when nobody says otherwise,
	backlogBytes     = 8 << 10 // and the payloads of all of them, in bytes for each
	publishWindow    = 32      // publishes that wait for their acknowledgement
	dialTimeout      = 10 * time.Second
	handshakeTimeout = 10 * time.Second // CONNACK; then SUBACK and the birth messages
	writeTimeout     = 5 * time.Second  // one packet into the socket
	pingTimeout      = 10 * time.Second // PINGRESP; less with a short keep-alive
	farewellTimeout  = 5 * time.Second  // the graceful end
)

// Options say where to connect, as whom, and what to do with it. The functions
// are called from one goroutine at a time, except Receive, which has its own;
// each holds its goroutine up until it returns, and none may call Close.
type Options struct {
	// Brokers are tried in order: tcp://host:1883, ssl://host:8883,
	// ws://host/path or wss://host/path. Without credentials: they are below.
	Brokers  []string
	ClientID string // stable and unique in the fleet: the broker's session hangs on it
	Username string
	Password Password
	// TLS is used for ssl and wss: private CA, client certificate, ALPN.
	// Nil means the roots of the system.
	TLS       *tls.Config
	KeepAlive time.Duration // whole seconds; 0 means one minute
	// CleanSession gives up the persistent session: what is sent to the box
	// while it is away is lost.
	CleanSession bool

	// Will is published by the broker when the connection falls, and by Close.
	Will *transport.Message
	// Birth gives the messages to be published first on each connection.
	Birth func() []transport.Message
	// Subscriptions are topic filters, all with QoS 1; with Onlooker, QoS 0.
	Subscriptions []string
	// Onlooker is for those who look at many others: a broker lets only some
	// 20 QoS 1 messages be under way to a client, queues some 1000 more and
	// drops the rest (mosquitto's defaults), and a whole fleet says more at once.
	Onlooker bool
	// Receive gets the messages one after the other, never two at a time. While
	// it runs, at most Backlog messages or 8 KiB for each of them wait; what
	// comes beyond that is acknowledged, dropped and logged. Messages with more
	// than MaxPayload bytes are treated likewise.
	Receive func(transport.Message)
	Backlog int // 0 means 128
	// OnUp is called when a connection is subscribed and its birth messages
	// are out; OnDown when that connection is over. Always in pairs.
	OnUp, OnDown func()

	// ReconnectMin and ReconnectMax bound the wait between attempts, which is
	// random between nothing and a ceiling that doubles from one to the other.
	// 0 means one second and two minutes.
	ReconnectMin, ReconnectMax time.Duration

	Logger *slog.Logger // nil is silent
}

// Client is a connection that is kept alive. Its methods may be called from
// several goroutines.
type Client struct {
	opts    Options
	brokers []*url.URL
	log     *slog.Logger
	drops   *drops
	window  chan struct{}       // one entry for each publish under way
	drained int                 // places of window taken for good; the loop's own
	told    map[*url.URL]string // the last cause that was logged for a broker; the loop's own

	link  atomic.Pointer[link] // the connection that is up, or nil
	leave context.CancelFunc   // ends the loop gracefully
	abort context.CancelFunc   // ends it at once
	done  chan struct{}        // closed when the loop has ended
}

// Open checks the options, starts connecting in the background and returns at
// once; brokers that cannot be reached are no error. Faults have the code
// [ota.CodeConfig].
func Open(opts Options) (*Client, error) {
	brokers, err := opts.complete()
	if err != nil {
		return nil, ota.NewPermanent(ota.CodeConfig, fmt.Errorf("cannot use MQTT settings: %w", err))
	}
	abortable, abort := context.WithCancel(context.Background())
	ctx, leave := context.WithCancel(abortable)
	c := &Client{
		opts:    opts,
		brokers: brokers,
		log:     opts.Logger,
		drops:   &drops{log: opts.Logger},
		window:  make(chan struct{}, publishWindow),
		told:    make(map[*url.URL]string),
		leave:   leave,
		abort:   abort,
		done:    make(chan struct{}),
	}
	go func() {
		defer close(c.done)
		c.run(ctx, abortable)
		c.drain(context.Background()) // all links are down: a few seconds at most
	}()
	return c, nil
}

// Publish sends m. With QoS 1 it returns nil only after the broker has
// acknowledged m, with QoS 0 when m is written. Without a connection, or when
// the connection falls before that, the error is [transport.ErrOffline] and m
// is not kept; the broker may or may not have got it. The context bounds the
// wait. At most 32 messages are under way, further calls wait for their turn.
func (c *Client) Publish(ctx context.Context, m transport.Message) error {
	if err := checkMessage(m); err != nil {
		return ota.NewRefused(ota.CodeUsage, fmt.Errorf("cannot publish to %q: %w", m.Topic, err))
	}
	l := c.link.Load()
	if l == nil {
		return fmt.Errorf("cannot publish to %q: %w", m.Topic, transport.ErrOffline)
	}
	if err := l.publish(ctx, m); err != nil {
		return fmt.Errorf("cannot publish to %q: %w", m.Topic, err)
	}
	return nil
}

// Connected says whether a message could be published now.
func (c *Client) Connected() bool { return c.link.Load() != nil }

// Close lets Receive and the publishes under way end, publishes the will and
// disconnects. When that does not succeed within five seconds the connection is dropped
// instead, so that the broker publishes the will. It returns when everything
// has ended, or with the context's error when that comes first; the rest then
// ends by itself within seconds. Further calls do the same again.
func (c *Client) Close(ctx context.Context) error {
	c.leave()
	select {
	case <-c.done:
		c.abort()
		return nil
	case <-ctx.Done():
		c.abort()
		return fmt.Errorf("cannot close MQTT connection in time: %w", ctx.Err())
	}
}

// Check tells whether Open would take the options. It connects to nobody.
func (o Options) Check() error {
	if _, err := o.complete(); err != nil {
		return ota.NewPermanent(ota.CodeConfig, fmt.Errorf("cannot use MQTT settings: %w", err))
	}
	return nil
}

// complete fills the defaults in and returns the brokers, parsed.
func (o *Options) complete() ([]*url.URL, error) {
	setDefault(&o.KeepAlive, time.Minute)
	setDefault(&o.ReconnectMin, time.Second)
	setDefault(&o.ReconnectMax, max(2*time.Minute, o.ReconnectMin))
	if o.Backlog == 0 {
		o.Backlog = backlog
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.OnUp == nil {
		o.OnUp = func() {}
	}
	if o.OnDown == nil {
		o.OnDown = func() {}
	}
	if o.Birth == nil {
		o.Birth = func() []transport.Message { return nil }
	}
	if o.TLS == nil {
		o.TLS = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	if err := o.check(); err != nil {
		return nil, err
	}
	if o.Receive == nil { // an old session may still have something
		o.Receive = func(transport.Message) {}
	}
	var brokers []*url.URL
	for _, b := range o.Brokers {
		u, err := parseBroker(b)
		if err != nil {
			return nil, err
		}
		brokers = append(brokers, u)
	}
	return brokers, nil
}

func (o *Options) check() error {
	switch {
	case len(o.Brokers) == 0:
		return errors.New("no broker given")
	case o.KeepAlive < time.Second || o.KeepAlive > 65535*time.Second:
		return fmt.Errorf("keep-alive %s is not between 1 s and 65535 s", o.KeepAlive)
	case o.ReconnectMin < 0 || o.ReconnectMax < o.ReconnectMin:
		return fmt.Errorf("reconnect times %s to %s are not a range", o.ReconnectMin, o.ReconnectMax)
	case o.Backlog < 0:
		return fmt.Errorf("backlog of %d messages makes no sense", o.Backlog)
	case o.Username == "" && o.Password.isSet():
		return errors.New("a password needs a user name")
	case len(o.Subscriptions) > 0 && o.Receive == nil:
		return errors.New("subscriptions need a receiver")
	}
	if err := checkText("client id", o.ClientID); err != nil {
		return err
	}
	for _, f := range o.Subscriptions {
		if err := ValidFilter(f); err != nil {
			return err
		}
	}
	for _, protocol := range o.TLS.NextProtos {
		if protocol == "" || len(protocol) > 255 {
			return fmt.Errorf("ALPN protocol %q does not have 1 to 255 bytes", protocol)
		}
	}
	if o.Will != nil {
		return checkMessage(*o.Will)
	}
	return nil
}

func setDefault(d *time.Duration, value time.Duration) {
	if *d == 0 {
		*d = value
	}
}
