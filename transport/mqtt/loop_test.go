package mqtt

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestDelay(t *testing.T) {
	t.Parallel()
	c := &Client{opts: Options{ReconnectMin: time.Second, ReconnectMax: time.Minute}}
	for _, tt := range []struct {
		rounds      int
		refused     bool
		least, most time.Duration
	}{
		{0, false, 0, time.Second},
		{1, false, 0, time.Second},
		{2, false, 0, 2 * time.Second},
		{6, false, 0, 32 * time.Second},
		{7, false, 0, time.Minute},
		{1000, false, 0, time.Minute},
		{1, true, 30 * time.Second, time.Minute},
	} {
		var shortest, longest time.Duration = time.Hour, 0
		for range 1000 {
			d := c.delay(tt.rounds, tt.refused)
			shortest, longest = min(shortest, d), max(longest, d)
		}
		if shortest < tt.least || longest > tt.most {
			t.Errorf("%d rounds, refused=%t: %s to %s, want %s to %s", tt.rounds, tt.refused, shortest, longest, tt.least, tt.most)
		}
		if spread := tt.most - tt.least; longest-shortest < spread*9/10 {
			t.Errorf("%d rounds: only %s to %s, want all of %s to %s", tt.rounds, shortest, longest, tt.least, tt.most)
		}
	}
}

func TestDropsAreLoggedOnceAMinute(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		d := &drops{log: slog.New(slog.NewTextHandler(&log, nil))}
		for range 180 { // three minutes, five a second
			for range 5 {
				d.note("too large")
			}
			time.Sleep(time.Second)
		}
		if n := strings.Count(log.String(), "\n"); n != 3 {
			t.Errorf("%d lines, want 3:\n%s", n, &log)
		}
		if !strings.Contains(log.String(), "count=300") {
			t.Errorf("no line has the count:\n%s", &log)
		}
	})
}

func TestPasswordNeverPrintsItself(t *testing.T) {
	t.Parallel()
	p := NewPassword("hunter2")
	if p.reveal() != "hunter2" || !p.isSet() || NewPassword("").isSet() {
		t.Fatal("the password is lost")
	}
	var log bytes.Buffer
	logger := slog.New(slog.NewTextHandler(&log, nil))
	logger.Info("x", "password", p, "options", Options{Password: p}, "pointer", &p)
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d", "%t", "%p"} {
		fmt.Fprintf(&log, verb+verb+verb+"\n", p, Options{Password: p}, struct{ hidden Password }{p})
	}
	if err := json.NewEncoder(&log).Encode(map[string]any{"p": p, "q": &p}); err != nil {
		t.Fatal(err)
	}
	for _, secret := range []string{"hunter2", "68756e74657232"} {
		if strings.Contains(log.String(), secret) {
			t.Errorf("printed:\n%s", &log)
		}
	}
}
