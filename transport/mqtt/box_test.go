package mqtt_test

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"net/url"
	"sync"
	"testing"
	"time"

	"otad/transport"
	"otad/transport/mqtt"
	"otad/transport/mqtt/mqtttest"
)

// patience is how long anything may take before a test gives up on it.
const patience = 15 * time.Second

// broker is what the tests need of either broker.
type broker interface {
	URL() string
	Stop()
	Restart() error
	Observe(filters ...string) (*mqtttest.View, error)
}

// onEachBroker runs test against the in-process broker and against mosquitto.
func onEachBroker(t *testing.T, config mqtttest.Config, test func(*testing.T, broker)) {
	t.Parallel()
	t.Run("mochi", func(t *testing.T) {
		t.Parallel()
		test(t, mqtttest.NewBroker(t, config))
	})
	t.Run("mosquitto", func(t *testing.T) {
		t.Parallel()
		test(t, mqtttest.NewMosquitto(t, config))
	})
}

// box is a client under test with what happened to it.
type box struct {
	*mqtt.Client
	t        testing.TB
	ups      chan struct{}
	downs    chan struct{}
	received chan transport.Message
	log      *logBuffer
}

// settings are the usual ones of a box at url: quick to reconnect.
func settings(url string) mqtt.Options {
	return mqtt.Options{
		Brokers:       []string{url},
		ClientID:      "box-1",
		ReconnectMin:  5 * time.Millisecond,
		ReconnectMax:  50 * time.Millisecond,
		Subscriptions: []string{"otad/stv1/box-1/cmd", "otad/all/cmd"},
	}
}

// openBox opens a client; what opts does not set is the box's own.
func openBox(t testing.TB, opts mqtt.Options) *box {
	t.Helper()
	b := &box{
		t:        t,
		ups:      make(chan struct{}, 20_000),
		downs:    make(chan struct{}, 20_000),
		received: make(chan transport.Message, 10_000),
		log:      &logBuffer{},
	}
	opts.OnUp = func() { b.ups <- struct{}{} }
	opts.OnDown = func() { b.downs <- struct{}{} }
	if opts.Receive == nil {
		opts.Receive = func(m transport.Message) { b.received <- m }
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.NewJSONHandler(b.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	var err error
	if b.Client, err = mqtt.Open(opts); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.close)
	return b
}

func (b *box) close() {
	b.t.Helper()
	if err := b.Close(within(b.t)); err != nil {
		b.t.Error(err)
	}
}

func (b *box) waitUp()   { b.t.Helper(); wait(b.t, b.ups, "the connection to come up") }
func (b *box) waitDown() { b.t.Helper(); wait(b.t, b.downs, "the connection to fall") }

func (b *box) mustPublish(m transport.Message) {
	b.t.Helper()
	if err := b.Publish(within(b.t), m); err != nil {
		b.t.Fatal(err)
	}
}

// mustReceive waits for the next message and compares its payload.
func (b *box) mustReceive(payload string) {
	b.t.Helper()
	if m := wait(b.t, b.received, payload); string(m.Payload) != payload {
		b.t.Fatalf("received %.50q, want %q", m.Payload, payload)
	}
}

// operator is somebody who sends commands.
func operator(t testing.TB, url string) *box {
	t.Helper()
	opts := settings(url)
	opts.ClientID, opts.Subscriptions, opts.CleanSession = "operator", nil, true
	o := openBox(t, opts)
	o.waitUp()
	return o
}

func (b *box) command(payload string) {
	b.t.Helper()
	b.mustPublish(transport.Message{Topic: "otad/stv1/box-1/cmd", Payload: []byte(payload), QoS: 1})
}

func observe(t testing.TB, b broker, filter string) *mqtttest.View {
	t.Helper()
	v, err := b.Observe(filter)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// see waits until v has seen payload.
func see(t testing.TB, v *mqtttest.View, payload string) transport.Message {
	t.Helper()
	m, err := v.Wait(within(t), func(m transport.Message) bool { return string(m.Payload) == payload })
	if err != nil {
		t.Fatalf("%q: %v; seen: %v", payload, err, v.Messages())
	}
	return m
}

func within(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

func wait[T any](t testing.TB, ch <-chan T, what string) T {
	t.Helper()
	select {
	case v := <-ch:
		return v
	case <-time.After(patience):
		t.Fatalf("waited too long for %s", what)
		panic("unreachable")
	}
}

// eventually polls for a condition that nothing announces.
func eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !holds(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited too long for %s", what)
		}
	}
}

func hostOf(t testing.TB, address string) string {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	return u.Host
}

// logBuffer keeps a log of JSON lines.
type logBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// line is what the tests look at in a log line.
type line struct {
	Level, Msg, Cause string
	Wait              time.Duration
}

// lines returns those with the given message.
func (l *logBuffer) lines(t testing.TB, message string) []line {
	t.Helper()
	var found []line
	for dec := json.NewDecoder(bytes.NewBufferString(l.String())); dec.More(); {
		var entry line
		if err := dec.Decode(&entry); err != nil {
			t.Fatal(err)
		}
		if entry.Msg == message {
			found = append(found, entry)
		}
	}
	return found
}
