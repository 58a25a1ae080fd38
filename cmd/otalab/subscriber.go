package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"time"

	"otad/agent/report"
	"otad/cmd/otalab/lab"
	"otad/ota"
	"otad/transport"
	"otad/transport/mqtt/mqtttest"
)

// subscriber is what any operator could run: a plain MQTT client that knows
// the topics and nothing of the box behind them.
type subscriber struct {
	view   *mqtttest.View
	screen *screen
	ended  chan struct{}

	mu   sync.Mutex
	now  sight
	news chan struct{} // closed and renewed with each message
}

// sight is what was seen until now.
type sight struct {
	state    report.State
	progress report.Progress
	phases   map[string][]ota.Phase // by update
	outcomes []ota.Outcome
	wills    int             // how often the broker said that the box is gone
	events   map[string]bool // by ID: an event may come twice
}

func subscribe(ctx context.Context, url string, s *screen) (*subscriber, error) {
	view, err := mqtttest.Watch(url, "", "", nil, lab.Prefix+"/#")
	if err != nil {
		return nil, err
	}
	b := &subscriber{view: view, screen: s, ended: make(chan struct{}), news: make(chan struct{})}
	b.now.phases, b.now.events = make(map[string][]ota.Phase), make(map[string]bool)
	go func() {
		defer close(b.ended)
		b.view.Follow(ctx, func(m transport.Message) bool { b.take(m); return true })
	}()
	return b, nil
}

// close ends the connection, after the context of subscribe has ended.
func (b *subscriber) close() {
	<-b.ended
	b.view.Close()
}

// take reads a message, shows it and remembers it.
func (b *subscriber) take(m transport.Message) {
	b.mu.Lock()
	defer b.mu.Unlock()
	var err error
	switch leaf := m.Topic[strings.LastIndexByte(m.Topic, '/')+1:]; leaf {
	case "state":
		err = b.takeState(m.Payload)
	case "progress":
		err = b.takeProgress(m.Payload)
	case "event":
		err = b.takeEvent(m.Payload)
	}
	if err != nil {
		b.screen.saw(fmt.Sprintf("%s: unreadable: %v", m.Topic, err))
	}
	close(b.news)
	b.news = make(chan struct{})
}

func (b *subscriber) takeState(payload []byte) error {
	before := b.now.state
	b.now.state = report.State{} // members that are absent are not kept
	if err := json.Unmarshal(payload, &b.now.state); err != nil {
		return err
	}
	now := b.now.state
	switch {
	case !now.Online:
		b.now.wills++
		b.screen.saw("state    offline (last will)")
	case now.Slot == "": // it has not asked its board yet
		b.now.state.Online = false
	case !before.Online || before.Version != now.Version || before.Slot != now.Slot || before.Trial != now.Trial:
		trial := ""
		if now.Trial {
			trial = ", on trial"
		}
		b.screen.saw(fmt.Sprintf("state    online, version %d, slot %s%s, %s", now.Version.Code, now.Slot, trial, now.Phase))
	}
	return nil
}

func (b *subscriber) takeProgress(payload []byte) error {
	b.now.progress = report.Progress{}
	if err := json.Unmarshal(payload, &b.now.progress); err != nil {
		return err
	}
	p := b.now.progress
	about, detail := string(p.Phase), ""
	if p.Stage != "" {
		about = p.Stage
	}
	if t := p.Transfer; t != nil {
		detail = fmt.Sprintf("%.1f of %.1f MiB", mib(t.DoneBytes), mib(t.TotalBytes))
		if t.BytesPerSecond > 0 {
			detail += fmt.Sprintf("  %.1f MiB/s", mib(t.BytesPerSecond))
		}
		if t.ETASeconds > 0 {
			detail += fmt.Sprintf("  %d s to go", t.ETASeconds)
		}
		b.screen.progress(about, p.Percent, detail)
	}
	return nil
}

func (b *subscriber) takeEvent(payload []byte) error {
	var e report.Event
	if err := json.Unmarshal(payload, &e); err != nil {
		return err
	}
	if b.now.events[e.ID] {
		return nil
	}
	b.now.events[e.ID] = true
	text := fmt.Sprintf("event %-2d %s", e.Seq, e.Type)
	switch e.Type {
	case report.EventPhase:
		text += " " + string(e.Phase)
		b.screen.endProgress()
		b.now.phases[e.Update] = append(b.now.phases[e.Update], e.Phase)
	case report.EventOutcome:
		if o := e.Outcome; o != nil {
			text += fmt.Sprintf(" version %d: %s", o.Offer.VersionCode, o.Result)
			b.now.outcomes = append(b.now.outcomes, *o)
		}
	}
	if e.Failure != nil {
		text += fmt.Sprintf(" (%s)", e.Failure.Code)
	}
	b.screen.saw(text)
	return nil
}

// until waits until what was seen satisfies cond, and fails after limit.
func (b *subscriber) until(ctx context.Context, limit time.Duration, what string, cond func(sight) bool) error {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	for {
		b.mu.Lock()
		ok, news := cond(b.now), b.news
		b.mu.Unlock()
		if ok {
			return nil
		}
		select {
		case <-news:
		case <-timer.C:
			return fmt.Errorf("the subscriber did not see in %s: %s", limit, what)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// outcome waits for the end of the update to version code.
func (b *subscriber) outcome(ctx context.Context, limit time.Duration, code int64) (ota.Outcome, error) {
	var found ota.Outcome
	err := b.until(ctx, limit, fmt.Sprintf("the outcome of version %d", code), func(s sight) bool {
		for _, o := range s.outcomes {
			if o.Offer.VersionCode == code {
				found = o
				return true
			}
		}
		return false
	})
	return found, err
}

// sight is what was seen until now; its maps are not for others.
func (b *subscriber) sight() sight {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.now
}

// phasesOf lists the phases of an update as events told them.
func (b *subscriber) phasesOf(update string) []ota.Phase {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]ota.Phase(nil), b.now.phases[update]...)
}

func mib(n int64) float64 { return float64(n) / (1 << 20) }
