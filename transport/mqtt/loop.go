package mqtt

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"net/url"
	"time"

	"otad/transport"
)

// run connects, serves and reconnects until ctx ends, then leaves gracefully;
// when abortable ends it drops everything.
func (c *Client) run(ctx, abortable context.Context) {
	turn := 0     // index of the broker to try
	failures := 0 // attempts in a row that gave no lasting connection
	for {
		broker := c.brokers[turn]
		lived, err := c.serve(ctx, abortable, broker)
		if ctx.Err() != nil {
			return
		}
		// A connection lasted when it outlived the longest wait. With a lower
		// mark two clients that throw each other out, for sharing a client id,
		// would reset each other's backoff.
		if lived > c.opts.ReconnectMax {
			turn, failures = 0, 0
		} else {
			turn = (turn + 1) % len(c.brokers)
			failures++
		}
		var delay time.Duration
		if lived > 0 || turn == 0 { // otherwise the next broker has its turn at once
			delay = c.delay(failures/len(c.brokers), errors.As(err, new(*refusal)))
		}
		c.tell(broker, lived, err, delay)
		select {
		case <-time.After(delay):
		case <-ctx.Done():
			return
		}
	}
}

// tell logs why there is no connection: a cause that stays the same once, and
// after that for those who debug.
func (c *Client) tell(broker *url.URL, lived time.Duration, err error, delay time.Duration) {
	if lived > 0 {
		clear(c.told)
	}
	level := slog.LevelWarn
	if c.told[broker] == err.Error() {
		level = slog.LevelDebug
	}
	c.told[broker] = err.Error()
	c.log.Log(context.Background(), level, "no MQTT connection",
		"broker", broker.String(), "cause", err, "wait", delay.Round(time.Millisecond))
}

// delay is the wait after the given number of failed rounds: random below a
// ceiling that doubles each time. A broker that refused us will hardly change
// its mind: then the wait is in the upper half of the longest one.
func (c *Client) delay(rounds int, refused bool) time.Duration {
	longest := c.opts.ReconnectMax
	if refused {
		return longest/2 + rand.N(longest/2+1)
	}
	ceiling := longest
	if shift := max(rounds-1, 0); shift < 32 && c.opts.ReconnectMin < longest>>shift {
		ceiling = c.opts.ReconnectMin << shift
	}
	return rand.N(ceiling + 1)
}

// serve makes one connection to broker and stays with it until it falls or ctx
// ends. It returns how long the connection was up, 0 if it never was, and why
// it is over.
func (c *Client) serve(ctx, abortable context.Context, broker *url.URL) (lived time.Duration, err error) {
	l, err := c.connect(ctx, broker)
	if err != nil {
		return 0, err
	}
	defer l.hangUp()
	if err := c.greet(ctx, l); err != nil {
		return 0, err
	}

	up := time.Now()
	c.link.Store(l)
	c.log.Info("MQTT connection is up", "broker", broker.String())
	c.opts.OnUp()
	delivered := make(chan struct{})
	go func() {
		defer close(delivered)
		l.deliver(ctx, c.opts.Receive)
	}()
	select {
	case <-l.down:
	case <-ctx.Done():
	}
	c.link.Store(nil)
	if ctx.Err() != nil {
		c.farewell(abortable, l, delivered)
	}
	l.hangUp()
	<-delivered // the next connection must not deliver beside this one
	c.opts.OnDown()
	return time.Since(up), l.cause
}

// greet subscribes and publishes the birth messages. Subscribing is repeated
// on every connection, though a persistent session has the old subscriptions:
// this box may have learnt new ones, and it costs one packet.
func (c *Client) greet(ctx context.Context, l *link) error {
	ctx, cancel := context.WithTimeout(ctx, handshakeTimeout)
	defer cancel()
	qos := byte(1)
	if c.opts.Onlooker {
		qos = 0
	}
	denied, err := l.subscribe(ctx, c.opts.Subscriptions, qos)
	if err != nil {
		return err
	}
	for _, filter := range denied {
		c.log.Warn("MQTT subscription was denied by the broker", "filter", filter)
	}
	for _, m := range c.opts.Birth() {
		if err := l.send(ctx, m); err != nil {
			return err
		}
	}
	return nil
}

// farewell ends l gracefully: the message that is being received, the publishes
// under way, the will; DISCONNECT is next. If that cannot be done the socket is closed without DISCONNECT, which makes
// the broker publish the will.
func (c *Client) farewell(ctx context.Context, l *link, delivered <-chan struct{}) {
	ctx, cancel := context.WithTimeout(ctx, farewellTimeout)
	defer cancel()
	select {
	case <-delivered:
	case <-ctx.Done():
	}
	err := c.drain(ctx)
	if err == nil && c.opts.Will != nil {
		err = l.send(ctx, *c.opts.Will)
	}
	if err != nil && !errors.Is(err, transport.ErrOffline) {
		c.log.Warn("MQTT connection is dropped without farewell", "cause", err)
		l.cut()
	}
}

// drain waits until no publish is under way, and takes their places so that
// none can begin. It goes on where an earlier call was interrupted.
func (c *Client) drain(ctx context.Context) error {
	for ; c.drained < cap(c.window); c.drained++ {
		select {
		case c.window <- struct{}{}:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}
