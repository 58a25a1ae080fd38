package report

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"otad/ota"
	"otad/ota/journal"
	"otad/transport"
)

// broker keeps what it is sent, while it is there.
type broker struct {
	mu    sync.Mutex
	away  bool
	got   []transport.Message
	fresh chan struct{}
}

func (b *broker) Connected() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return !b.away
}

func (b *broker) Publish(_ context.Context, m transport.Message) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.away {
		return transport.ErrOffline
	}
	b.got = append(b.got, m)
	select {
	case b.fresh <- struct{}{}:
	default:
	}
	return nil
}

func (b *broker) set(away bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.away = away
}

func (b *broker) on(topic string) []transport.Message {
	b.mu.Lock()
	defer b.mu.Unlock()
	var list []transport.Message
	for _, m := range b.got {
		if m.Topic == topic {
			list = append(list, m)
		}
	}
	return list
}

// source is an agent whose state the test sets.
type source struct {
	mu      sync.Mutex
	state   State
	changed chan struct{}
	asking  chan struct{} // open while it does not know the box yet; nil: it does
}

func (s *source) Ready() <-chan struct{} {
	if s.asking != nil {
		return s.asking
	}
	known := make(chan struct{})
	close(known)
	return known
}

func (s *source) State() State {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state
}

func (s *source) Watch() (<-chan struct{}, func()) { return s.changed, func() {} }

func (s *source) set(change func(*State)) {
	s.mu.Lock()
	change(&s.state)
	s.mu.Unlock()
	select {
	case s.changed <- struct{}{}:
	default:
	}
}

type desk struct {
	t      *testing.T
	broker *broker
	source *source
	outbox *journal.Journal
	topics Topics
	up     chan struct{}
}

func newDesk(t *testing.T, away bool) *desk {
	t.Helper()
	j, _, err := journal.Open(filepath.Join(t.TempDir(), "journal.db"), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	d := &desk{t: t, outbox: j, broker: &broker{away: away, fresh: make(chan struct{}, 1)},
		source: &source{changed: make(chan struct{}, 1)}, topics: Topics{"otad", "stv1", "dev1"}, up: make(chan struct{}, 1)}
	d.source.state = State{V: Version, Online: true, Phase: ota.PhaseIdle}
	p := &Publisher{Broker: d.broker, Outbox: j, Source: d.source, Topics: d.topics, Log: slog.New(slog.DiscardHandler), Up: d.up}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { defer close(ended); p.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		<-ended
		if err := j.Close(); err != nil {
			t.Error(err)
		}
	})
	return d
}

func (d *desk) note(text string, outcome bool) {
	d.t.Helper()
	payload, err := json.Marshal(Event{V: Version, ID: text, Type: EventPhase, Text: text})
	if err != nil {
		d.t.Fatal(err)
	}
	if err := d.outbox.Commit(journal.Change{Events: []journal.Event{{Payload: payload, Outcome: outcome}}}); err != nil {
		d.t.Fatal(err)
	}
	d.source.set(func(*State) {})
}

// wait waits until the broker has what is wanted.
func (d *desk) wait(what string, have func() bool) {
	d.t.Helper()
	deadline := time.After(10 * time.Second)
	for !have() {
		select {
		case <-d.broker.fresh:
		case <-deadline:
			d.t.Fatalf("no %s in time; the broker has %d messages", what, len(d.broker.got))
		}
	}
}

// A state that lacks the slot would be retained, and be the first that others see.
func TestStateWaitsForTheBoard(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		j, _, err := journal.Open(filepath.Join(t.TempDir(), "journal.db"), time.Now())
		if err != nil {
			t.Fatal(err)
		}
		defer j.Close()
		b := &broker{fresh: make(chan struct{}, 1)}
		s := &source{changed: make(chan struct{}, 1), asking: make(chan struct{})}
		p := &Publisher{Broker: b, Outbox: j, Source: s, Topics: topicsOfWeek, Log: slog.New(slog.DiscardHandler), Up: make(chan struct{})}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { defer close(ended); p.Run(ctx) }()
		defer func() { cancel(); <-ended }()
		time.Sleep(time.Minute)
		if got := b.on(topicsOfWeek.State()); len(got) != 0 {
			t.Errorf("told before the board was asked: %s", got[0].Payload)
		}
		s.set(func(s *State) { s.Slot = "a" })
		close(s.asking)
		synctest.Wait()
		if got := b.on(topicsOfWeek.State()); len(got) != 1 || !strings.Contains(string(got[0].Payload), `"slot":"a"`) {
			t.Errorf("told %d states: %v", len(got), got)
		}
	})
}

func TestEventsWaitForTheBroker(t *testing.T) {
	t.Parallel()
	d := newDesk(t, true)
	var want []string
	for i := range 40 {
		want = append(want, fmt.Sprintf("event %d", i))
		d.note(want[i], false)
	}
	if len(d.broker.got) != 0 {
		t.Fatal("something was sent to a broker that is away")
	}
	d.broker.set(false)
	d.up <- struct{}{}
	d.wait("events", func() bool { return len(d.broker.on(d.topics.Event())) == len(want) })
	var got []string
	last := uint64(0)
	for _, m := range d.broker.on(d.topics.Event()) {
		var e Event
		if err := json.Unmarshal(m.Payload, &e); err != nil {
			t.Fatal(err)
		}
		if e.Seq <= last || m.QoS != 1 || m.Retained {
			t.Errorf("event %q: seq %d after %d, QoS %d, retained %v", e.Text, e.Seq, last, m.QoS, m.Retained)
		}
		last = e.Seq
		got = append(got, e.Text)
	}
	if !slices.Equal(got, want) {
		t.Errorf("arrived %q", got)
	}
}

func TestStateIsRetainedAndSentAgainOnEachConnection(t *testing.T) {
	t.Parallel()
	d := newDesk(t, false)
	states := func() int { return len(d.broker.on(d.topics.State())) }
	d.wait("state", func() bool { return states() == 1 })
	if m := d.broker.on(d.topics.State())[0]; !m.Retained || m.QoS != 1 {
		t.Errorf("state went out with QoS %d, retained %v", m.QoS, m.Retained)
	}
	d.up <- struct{}{} // the last will may be in its place
	d.wait("state again", func() bool { return states() == 2 })
	d.source.set(func(s *State) { s.Phase = ota.PhaseOffered })
	d.wait("new state", func() bool { return states() == 3 })
}

func TestProgressIsThrottled(t *testing.T) {
	t.Parallel()
	d := newDesk(t, false)
	d.source.set(func(s *State) {
		s.Phase, s.Update = ota.PhaseDownloading, &Update{ID: "u"}
	})
	moves := func() int { return len(d.broker.on(d.topics.Progress())) }
	d.wait("first progress", func() bool { return moves() >= 1 })
	began := time.Now()
	for i := range 200 {
		d.source.set(func(s *State) {
			s.Percent, s.Transfer = i/2, TransferOf(int64(i), 200, 10)
		})
	}
	d.wait("last progress", func() bool {
		list := d.broker.on(d.topics.Progress())
		var p Progress
		return json.Unmarshal(list[len(list)-1].Payload, &p) == nil && p.Percent == 99
	})
	allowed := 3 + int(time.Since(began)/progressEvery)
	if n := moves(); n > allowed {
		t.Errorf("%d progress messages in %v, at most %d allowed", n, time.Since(began), allowed)
	}
	if n := len(d.broker.on(d.topics.State())); n > 3 {
		t.Errorf("progress made %d retained states", n)
	}
}

func TestOfflineIsAState(t *testing.T) {
	t.Parallel()
	var s State
	if err := json.Unmarshal(Offline("m", "d"), &s); err != nil || s.Online || s.V != Version || s.Model != "m" || s.Device != "d" {
		t.Errorf("last will reads as %+v, %v", s, err)
	}
}

func TestNumbers(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name                string
		done, total         int64
		percent             int
		rate, secondsExpect int64
	}{
		{"nothing known", 5, 0, 0, 0, 0},
		{"start", 0, 100, 0, 10, 10},
		{"just before the end", 999, 1000, 99, 10, 1},
		{"end", 100, 100, 100, 10, 0},
		{"more than announced", 120, 100, 100, 10, 0},
		{"larger than float's whole numbers", 1 << 62, 1 << 62, 100, 1, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := Percent(c.done, c.total); got != c.percent {
				t.Errorf("%d %%, want %d", got, c.percent)
			}
			if got := TransferOf(c.done, c.total, c.rate).ETASeconds; got != c.secondsExpect {
				t.Errorf("%d s left, want %d", got, c.secondsExpect)
			}
		})
	}
}
