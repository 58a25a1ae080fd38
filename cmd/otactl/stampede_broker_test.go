package main

import (
	"context"
	"log/slog"
	"math"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"otad/agent/control"
	boxreport "otad/agent/report"
	"otad/transport"
	"otad/transport/mqtt"
	"otad/transport/mqtt/mqtttest"
)

// attempts remembers when a client tries to connect again: it says so in its log.
type attempts struct {
	slog.Handler
	mu *sync.Mutex
	at *[]time.Time
}

func (attempts) Enabled(context.Context, slog.Level) bool { return true }

func (a attempts) Handle(_ context.Context, r slog.Record) error {
	if r.Message != "no MQTT connection" {
		return nil
	}
	r.Attrs(func(attr slog.Attr) bool {
		if attr.Key == "wait" {
			a.mu.Lock()
			*a.at = append(*a.at, r.Time.Add(attr.Value.Duration()))
			a.mu.Unlock()
		}
		return true
	})
	return nil
}

// fleetOfAsking is boxes at a real broker, with a real server behind them.
type fleetOfAsking struct {
	server  *countingServer
	clients []*mqtt.Client
	ups     chan struct{} // one each time that a box is connected

	mu    sync.Mutex
	tries []time.Time // attempts to connect again
}

func newFleetOfAsking(t *testing.T, broker string, boxes int, spread time.Duration) *fleetOfAsking {
	t.Helper()
	f := &fleetOfAsking{server: newCountingServer(), ups: make(chan struct{}, 10*boxes), clients: make([]*mqtt.Client, boxes)}
	t.Cleanup(f.server.Close)
	web := httptest.NewServer(f.server)
	t.Cleanup(web.Close)
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 50}, Timeout: time.Minute}
	t.Cleanup(client.CloseIdleConnections)
	ctx, stop := context.WithCancel(context.Background())
	t.Cleanup(func() { // all at once: one after the other would take its time
		stop()
		f.close()
	})
	var opening sync.WaitGroup
	turn := make(chan struct{}, 50)
	for i := range boxes {
		turn <- struct{}{}
		opening.Go(func() {
			defer func() { <-turn }()
			desk := newAskingBox(t, deviceName(i), web.URL, client).desk(ctx, spread, "")
			up := make(chan struct{}, 100)
			var err error
			f.clients[i], err = mqtt.Open(mqtt.Options{Brokers: []string{broker}, ClientID: deviceName(i),
				Subscriptions: boxreport.Topics{Prefix: "otad", Model: "stv1", Device: deviceName(i)}.Commands(),
				Receive:       func(m transport.Message) { desk.Take(ctx, m.Topic, m.Payload) },
				OnUp:          func() { up <- struct{}{}; f.ups <- struct{}{} },
				Logger:        slog.New(attempts{slog.DiscardHandler, &f.mu, &f.tries})})
			if err != nil {
				t.Error(err)
				return
			}
			<-up
		})
	}
	opening.Wait()
	return f
}

func (f *fleetOfAsking) close() {
	var closing sync.WaitGroup
	for _, c := range f.clients {
		if c != nil {
			closing.Go(func() { closeBroker(c) })
		}
	}
	closing.Wait()
}

// waitUp waits until so many connections were made.
func (f *fleetOfAsking) waitUp(t *testing.T, n int) {
	t.Helper()
	limit := time.After(2 * time.Minute)
	for i := range n {
		select {
		case <-f.ups:
		case <-limit:
			t.Fatalf("%d of %d boxes are connected", i, n)
		}
	}
}

// waitAsked waits until the server had n requests.
func (f *fleetOfAsking) waitAsked(t *testing.T, n int) {
	t.Helper()
	deadline := time.Now().Add(2 * time.Minute)
	for len(f.server.requests()) < n {
		if time.Now().After(deadline) {
			t.Fatalf("%d of %d requests came", len(f.server.requests()), n)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// publish sends a group command as the operator does, and returns when.
func publish(t *testing.T, broker string, payload []byte) time.Time {
	t.Helper()
	up := make(chan struct{}, 100)
	operator, err := mqtt.Open(mqtt.Options{Brokers: []string{broker}, ClientID: "operator", CleanSession: true, OnUp: func() { up <- struct{}{} }})
	if err != nil {
		t.Fatal(err)
	}
	defer closeBroker(operator)
	<-up
	at := time.Now()
	if err := operator.Publish(t.Context(), transport.Message{Topic: groupTopic, Payload: payload, QoS: 1}); err != nil {
		t.Fatal(err)
	}
	return at
}

// stalls measures for how long the machine let this process do nothing, until
// stop is called: what was due meanwhile comes at once, and is no fault of the boxes.
func stalls() (stop func() time.Duration) {
	const beat = 10 * time.Millisecond
	quit, longest := make(chan struct{}), make(chan time.Duration)
	go func() {
		worst, last := time.Duration(0), time.Now()
		for {
			select {
			case <-quit:
				longest <- worst
				return
			case <-time.After(beat):
				now := time.Now()
				worst, last = max(worst, now.Sub(last)-beat), now
			}
		}
	}()
	return func() time.Duration { close(quit); return <-longest }
}

// TestNoStampedeAtTheBroker: the same over mosquitto and HTTP, in seconds
// instead of an hour; then the broker dies, all boxes come back, each by its
// own dice, and follow a command that was sent before they were all back.
func TestNoStampedeAtTheBroker(t *testing.T) {
	t.Parallel()
	boxes, spread := 2000, 6*time.Second
	if raced {
		boxes, spread = 300, 4*time.Second
	}
	const second = time.Second
	broker := mqtttest.NewMosquitto(t, mqtttest.Config{Lines: []string{"autosave_on_changes false", "autosave_interval 1", "log_type error"}})
	f := newFleetOfAsking(t, broker.URL(), boxes, spread)
	f.waitUp(t, boxes)
	share := boxes / int(spread/second) // of a second
	limited := func(h *histogram, stalled time.Duration) {
		t.Helper()
		if err := h.withinLimit(stalled); err != nil {
			t.Error(err)
		}
		t.Logf("%d boxes; the machine stood still for %v at most\n%s", boxes, stalled.Round(time.Millisecond), h)
	}

	stop := stalls()
	begin := publish(t, broker.URL(), groupCommand("spring", control.Check))
	f.waitAsked(t, boxes)
	asked := newHistogram("requests", begin, spread, second, 3*share, f.server.requests())
	limited(asked, stop())
	f.server.mustHaveAsked(t, boxes, 1)
	// The last box has its turn near the end; nothing but a slow machine is later.
	if asked.last < spread*9/10 {
		t.Errorf("the last box asked after %v of %v", asked.last, spread)
	}

	stop = stalls()
	died := time.Now()
	broker.Stop()
	time.Sleep(1500 * time.Millisecond) // how long the broker is away
	if err := broker.Restart(); err != nil {
		t.Fatal(err)
	}
	back := publish(t, broker.URL(), groupCommand("summer", control.Upgrade))
	f.waitUp(t, boxes)
	allBack := time.Since(back)
	f.waitAsked(t, 2*boxes)
	stalled := stop()
	f.close()

	// The first wait is below a second, the next below two, then four: never
	// more than 1.6 attempts of a box in a second, at the end of the first. To
	// that comes what chance may add.
	const slice = second / 5
	mostMean := 1.6 * float64(boxes) * slice.Seconds()
	f.mu.Lock()
	storm := newHistogram("attempts", died, 3*second, slice, int(mostMean+4*math.Sqrt(mostMean)), f.tries)
	f.mu.Unlock()
	limited(storm, 0) // counted when they are due
	late := newHistogram("requests", back, spread, second, 3*share, f.server.requests()[boxes:])
	limited(late, stalled)
	f.server.mustHaveAsked(t, boxes, 2)
	t.Logf("all back %v after the broker", allBack.Round(time.Millisecond))
	if *redraw && !raced {
		writePlot(t, "no-stampede-broker.png", asked, storm, late)
	}
}
