package agent

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
	_ "time/tzdata" // the machine that runs the tests may have none

	"otad/agent/config"
	"otad/board"
	"otad/ota"
)

// A month of one box in a home, in March 2000, with all that a month brings: a
// week without network, a recording at night, a weekend on which the clock goes
// ahead, and offers of every type. `go test -v -run TestMonth ./agent` tells its
// diary.
func TestMonth(t *testing.T) {
	t.Parallel()
	dir := journalDir(t)
	synctest.Test(t, func(t *testing.T) {
		zone := berlin(t)
		at := func(day, hour, minute int) time.Time {
			return time.Date(2000, time.March, day, hour, minute, 0, 0, zone)
		}
		time.Sleep(time.Until(at(1, 9, 0))) // a wednesday
		b := newTestBoxIn(t, dir)
		h := &household{t: t, zone: zone, box: b.server,
			offline:    span{at(11, 11, 0), at(18, 11, 0)},
			recordings: []span{{at(3, 2, 15), at(3, 3, 40)}, {at(22, 20, 0), at(22, 21, 0)}},
			decide: map[int64][]board.Answer{
				3: {{Choice: board.ChoiceDecline}},
				4: {{Choice: board.ChoiceDefer, For: 25 * time.Hour}, {Choice: board.ChoiceAccept}},
			},
		}
		for _, o := range []struct {
			code int64
			at   time.Time
			how  ota.UpgradeType
		}{
			{2, at(2, 12, 0), ota.UpgradeSilent},  // a recording fills its night
			{3, at(6, 12, 0), ota.UpgradePrompt},  // declined
			{4, at(8, 6, 0), ota.UpgradePrompt},   // put off, then accepted
			{5, at(14, 12, 0), ota.UpgradeForced}, // while there is no network
			{6, at(25, 0, 0), ota.UpgradeSilent},  // a saturday; the clock goes ahead on sunday
		} {
			offer := b.publishImage(o.code, system{code: o.code, health: "exit 0"}.image(64<<10))
			offer.Type = o.how
			h.offers = append(h.offers, offered{o.at, offer})
		}
		b.config.Policy = config.Default().Policy
		var window config.Window
		must(t, window.UnmarshalText([]byte("mon-fri 02:00-05:00")))
		b.config.Policy.Windows = []config.Window{window}
		ctx, cancel := context.WithDeadline(t.Context(), at(31, 23, 59))
		defer cancel()
		for ctx.Err() == nil {
			h.live(ctx, b)
		}
		h.print()
		h.judge(b)
	})
}

// live is one boot of the box.
func (h *household) live(ctx context.Context, b *testBox) {
	a := b.boot()
	defer func() { must(h.t, journalOf(a).Close()) }()
	h.write("start", a.Running.Code, "version %d runs", a.Running.Code)
	a.Board = homeBoard{Board: a.Board, home: h, code: a.Running.Code}
	a.Server, a.Fetcher, a.Clock = h, h, &Clock{Local: h.now}
	ctx, cancel := context.WithCancel(ctx)
	around := make(chan struct{}, 2)
	go func() { h.viewer(ctx, a); around <- struct{}{} }()
	go func() { h.follow(ctx, a); around <- struct{}{} }()
	err := a.Run(ctx)
	cancel()
	<-around
	<-around
	if !errors.Is(err, ErrRebooting) && !errors.Is(err, context.DeadlineExceeded) {
		h.t.Errorf("the agent ended: %v", err)
	}
}

// follow writes down what the agent says of itself.
func (h *household) follow(ctx context.Context, a *Agent) {
	changed, stop := a.Watch()
	defer stop()
	var last *ota.Outcome
	if s := a.State(); s.Last != nil {
		last = s.Last
	}
	for {
		select {
		case <-ctx.Done():
			return
		case <-changed:
		}
		s := a.State()
		h.look(s)
		if s.Last != nil && (last == nil || last.ID != s.Last.ID) {
			last = s.Last
			h.write("end", last.Offer.VersionCode, "version %d: %s", last.Offer.VersionCode, outcomeText(*last))
		}
	}
}

func outcomeText(o ota.Outcome) string {
	if o.Failure != nil {
		return string(o.Result) + ", " + string(o.Failure.Code)
	}
	return string(o.Result)
}

// judge holds the diary to what docs/policy.md promises.
func (h *household) judge(b *testBox) {
	h.judgeChecks(time.Duration(b.config.Policy.CheckEvery))
	h.judgeRestarts(time.Duration(b.config.Policy.Countdown))
	for code, times := range map[int64]int{2: 0, 3: 1, 4: 2, 5: 0, 6: 0} {
		if got := len(h.of("answer", code)); got != times {
			h.t.Errorf("version %d: %d answers of the viewer, want %d", code, got, times)
		}
		if got := len(h.of("ask", code)); got != times {
			h.t.Errorf("version %d: asked %d times, want %d", code, got, times)
		}
	}
	want := []string{"version 2: confirmed", "version 3: failed, declined", "version 4: confirmed", "version 5: confirmed", "version 6: confirmed"}
	ends := h.of("end", 0)
	for i, e := range ends {
		if i >= len(want) || e.text != want[i] {
			h.t.Errorf("end %d is %q", i, e.text)
		}
	}
	if len(ends) != len(want) {
		h.t.Errorf("%d updates ended, want %d", len(ends), len(want))
	}
	if last := h.diary[len(h.diary)-1].at; h.now().Sub(last) > 7*time.Hour {
		h.t.Errorf("nothing happened since %v", last)
	}
}

// judgeChecks: none is missed, none comes too early, and they spread.
func (h *household) judgeChecks(every time.Duration) {
	early, late := every-every/10, every+every/10
	var before entry    // the check before
	after := h.diary[0] // from which the next check is due
	distances := map[time.Duration]bool{}
	offline := 0
	var online time.Time // the first check after the outage
	for _, e := range h.diary {
		switch e.kind {
		case "start", "end":
			after, before = e, entry{}
		case "fetch", "ask":
			before, after = entry{}, entry{} // an update is under way: no checks before its end
		case "check":
			if wait := e.at.Sub(after.at); after.kind != "" && wait > late+time.Second {
				h.t.Errorf("no check for %v until %v", wait, e.at)
			}
			out := h.offline.holds(e.at)
			if before.kind != "" && !out && !h.offline.holds(before.at) {
				distance := e.at.Sub(before.at)
				if distance < early {
					h.t.Errorf("a check %v after the one before, at %v", distance, e.at)
				}
				distances[distance.Round(time.Minute)] = true
			}
			switch {
			case out:
				offline++
			case online.IsZero() && e.at.After(h.offline.to):
				online = e.at
			}
			before, after = e, e
		}
	}
	if len(distances) < 20 {
		h.t.Errorf("the distances of checks are %v: they do not spread", distances)
	}
	if days := int(h.offline.to.Sub(h.offline.from).Hours() / 24); offline < 4*days || offline > 24*days {
		h.t.Errorf("%d checks in %d days without network", offline, days)
	}
	if wait := online.Sub(h.offline.to); online.IsZero() || wait > every {
		h.t.Errorf("the first check after the outage comes after %v", wait)
	}
}

// judgeRestarts: nobody is disturbed, but by the forced one after its notices.
func (h *household) judgeRestarts(countdown time.Duration) {
	offer := map[int64]int64{1: 2, 2: 4, 4: 5, 5: 6} // what comes after what
	restarts := h.of("restart", 0)
	if len(restarts) != len(offer) {
		h.t.Errorf("%d restarts, want %d", len(restarts), len(offer))
	}
	for _, e := range restarts {
		if offer[e.code] != 5 {
			if e.use != "" || !e.rest {
				h.t.Errorf("a restart at %v while %q, in standby or in a window: %v", e.at, e.use, e.rest)
			}
			continue
		}
		notices := h.of("notice", 5)
		if len(notices) != 3 || e.at.Sub(notices[0].at) != countdown || e.use == "" {
			h.t.Errorf("the forced restart at %v (%q) comes after the notices %v", e.at, e.use, notices)
		}
	}
}
