package main_test

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"otad/agent/config"
	"otad/agent/control"
	"otad/agent/report"
	"otad/cmd/internal/cli"
	"otad/ota"
	"otad/transport"
	"otad/transport/mqtt"
	"otad/transport/mqtt/mqtttest"
)

// follower is an operator's program that fails over like a box does and keeps
// what it got.
type follower struct {
	t      *testing.T
	client *mqtt.Client
	mu     sync.Mutex
	got    []transport.Message
	more   chan struct{}
}

func newFollower(t *testing.T, brokers []string) *follower {
	t.Helper()
	f := &follower{t: t, more: make(chan struct{}, 1)}
	var err error
	f.client, err = mqtt.Open(mqtt.Options{Brokers: brokers, ClientID: "operator", Subscriptions: []string{"otad/#"},
		ReconnectMin: 100 * time.Millisecond, ReconnectMax: time.Second, KeepAlive: 5 * time.Second, OnUp: f.ring,
		Receive: func(m transport.Message) {
			f.mu.Lock()
			f.got = append(f.got, m)
			f.mu.Unlock()
			f.ring()
		}})
	must(t, err)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = f.client.Close(ctx) // it ends by itself
	})
	return f
}

func (f *follower) ring() {
	select {
	case f.more <- struct{}{}:
	default:
	}
}

// wait waits until what is true holds.
func (f *follower) wait(what string, holds func() bool) {
	f.t.Helper()
	for deadline := time.After(2 * patience); !holds(); {
		select {
		case <-f.more:
		case <-time.After(100 * time.Millisecond): // it may be about something else
		case <-deadline:
			f.t.Fatalf("%s never comes", what)
		}
	}
}

// events are those that came, each id once, in the order of arrival.
func (f *follower) events() (list []report.Event) {
	f.t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	seen := map[string]bool{}
	for _, m := range f.got {
		var e report.Event
		if m.Topic != topics.Event() {
			continue
		}
		must(f.t, json.Unmarshal(m.Payload, &e))
		if !seen[e.ID] {
			seen[e.ID] = true
			list = append(list, e)
		}
	}
	return list
}

// has tells whether something came on a topic, with a text in it, since has was called.
func (f *follower) has(topic, text string) func() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	before := len(f.got)
	return func() bool {
		f.mu.Lock()
		defer f.mu.Unlock()
		return slices.ContainsFunc(f.got[before:], func(m transport.Message) bool {
			return m.Topic == topic && strings.Contains(string(m.Payload), text)
		})
	}
}

// ask sends a command again and again until it is answered, as an operator does:
// a cluster that elects a leader may lose what a node has taken.
func (f *follower) ask(c control.Command) {
	f.t.Helper()
	answered := f.has(topics.Result(), `"id":"`+c.ID+`"`)
	var sent time.Time
	f.wait("an answer", func() bool {
		if !answered() && time.Since(sent) > 5*time.Second {
			f.send(c)
			sent = time.Now()
		}
		return answered()
	})
}

// send publishes a command until a broker has it; the box acts on an id once.
func (f *follower) send(c control.Command) {
	f.t.Helper()
	c.V = control.Version
	payload, err := json.Marshal(c)
	must(f.t, err)
	f.wait("a broker for the command", func() bool {
		ctx, cancel := context.WithTimeout(f.t.Context(), 10*time.Second)
		defer cancel()
		return f.client.Publish(ctx, transport.Message{Topic: topics.Command(), Payload: payload, QoS: 1}) == nil
	})
}

// A box goes on while any one node of a NATS cluster is killed, the one that it
// is connected to: the next takes over its session, and the outcome arrives once
// in effect. But for the list of brokers it is the otad of every other test. Each
// node dies in a cluster of its own: NATS 2.9 does not always heal in time for a
// second death.
func TestNATSCluster(t *testing.T) {
	t.Parallel()
	for node := range 3 {
		t.Run("node "+itoa(node), func(t *testing.T) { natsNodeDies(t, node) })
	}
}

func natsNodeDies(t *testing.T, node int) {
	cluster := mqtttest.NewNATS(t, 3)
	brokers := cluster.URLs()
	operator := newFollower(t, brokers)
	operator.wait("the cluster", operator.client.Connected)
	w := newWorld(t)
	w.config.MQTT.Brokers = append(slices.Clone(brokers[node:]), brokers[:node]...) // the one that dies first
	w.configure(quiet)
	file := w.site.release(t, system{code: 2})
	file.Set(trickle)
	online := operator.has(topics.State(), `"online":true`)
	service := w.start()
	operator.wait("the box", online)
	operator.wait("a cluster that can lose a node", cluster.Healed)
	operator.send(control.Command{ID: "go", Verb: control.Upgrade, Args: control.Args{Now: true}})
	operator.wait("the download", func() bool {
		return slices.ContainsFunc(operator.events(), func(e report.Event) bool { return e.Phase == ota.PhaseDownloading })
	})
	cluster.Kill(node)
	file.Set(noFaults)
	service.wait().want(cli.RebootNeeded)
	w.boot()
	_, service = w.live(ended(2))
	operator.wait("the outcome", func() bool {
		return slices.ContainsFunc(operator.events(), func(e report.Event) bool { return e.Type == report.EventOutcome })
	})
	// Commands still get through, and their answers.
	operator.ask(control.Command{ID: "after", Verb: control.Status})
	service.stop()
	operator.wantOutcomes(t, 2)
}

// wantOutcomes checks that every outcome arrived once in effect, in order.
func (f *follower) wantOutcomes(t *testing.T, want ...int64) {
	t.Helper()
	var got []int64
	last := uint64(0)
	for _, e := range f.events() {
		if e.Seq <= last {
			t.Errorf("event %d comes after %d", e.Seq, last)
		}
		last = e.Seq
		if e.Type == report.EventOutcome {
			got = append(got, e.Outcome.Offer.VersionCode)
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("the outcomes are of versions %v, want %v", got, want)
	}
}

// The broker is killed and started again in every phase that can be seen of an
// update: every event arrives once in effect, in order, but for what a dying
// broker has acknowledged.
func TestMosquittoDiesInEveryPhase(t *testing.T) {
	t.Parallel()
	broker := mqtttest.NewMosquitto(t, mqtttest.Config{})
	operator := newFollower(t, []string{broker.URL()})
	operator.wait("the broker", operator.client.Connected)
	w := newWorld(t)
	w.configure(quiet, func(c *config.Config) { c.MQTT.Brokers = []string{broker.URL()} })
	w.file.Set(trickle)
	died := map[ota.Phase]bool{}
	die := func(s report.State) bool {
		if !died[s.Phase] {
			died[s.Phase] = true
			broker.Stop()
			w.file.Set(noFaults)
			must(t, broker.Restart())
		}
		return ended(2)(s)
	}
	service := w.start()
	service.await(inPhase(ota.PhaseIdle))
	w.otad("upgrade", "--yes").want(cli.Done)
	if _, found := service.until(die); !found {
		service.wait().want(cli.RebootNeeded)
		w.boot()
		w.live(die)
	}
	operator.wait("the outcome", func() bool {
		return slices.ContainsFunc(operator.events(), func(e report.Event) bool { return e.Type == report.EventOutcome })
	})
	operator.wantOutcomes(t, 2)
	var phases []ota.Phase
	for _, e := range operator.events() {
		if e.Type == report.EventPhase {
			phases = append(phases, e.Phase)
		}
	}
	want := []ota.Phase{ota.PhaseOffered, ota.PhaseDownloading, ota.PhaseDownloaded, ota.PhaseInstalling,
		ota.PhaseInstalled, ota.PhaseArmed, ota.PhaseTrial, ota.PhaseConfirmed}
	// mosquitto acknowledges before it saves: what it took in the last
	// milliseconds before it was killed is lost with it.
	lost := slices.DeleteFunc(slices.Clone(want), func(p ota.Phase) bool { return slices.Contains(phases, p) })
	told := slices.DeleteFunc(slices.Clone(want), func(p ota.Phase) bool { return slices.Contains(lost, p) })
	if !slices.Equal(phases, told) || len(lost) > len(died) {
		t.Errorf("the events tell of %q, want %q", phases, want)
	}
	if len(died) < 3 {
		t.Errorf("the broker died in %v only", died)
	}
	t.Logf("the broker died in %v", died)
}
