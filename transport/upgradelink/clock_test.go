package upgradelink_test

import (
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"otad/ota"
	"otad/transport/upgradelink"
	"otad/transport/upgradelink/upgradelinktest"
)

// localClock is the clock of a box: it starts anywhere and goes on from there.
func localClock(start time.Time) func() time.Time {
	began := time.Now()
	return func() time.Time { return start.Add(time.Since(began)) }
}

func statuses(s *upgradelinktest.Server) []int {
	var codes []int
	for _, r := range s.Requests() {
		codes = append(codes, r.Code)
	}
	return codes
}

func TestClockIsCorrected(t *testing.T) {
	t.Parallel()
	now := time.Now()
	for _, row := range []struct {
		name   string
		local  time.Time
		offset time.Duration
		codes  []int // of the requests for two calls
	}{
		{"right", now, 0, []int{200, 200}},
		{"in 1970", time.Unix(0, 0), 0, []int{401001, 200, 200}},
		{"in 2000", time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC), 0, []int{401001, 200, 200}},
		{"in 2099", time.Date(2099, 1, 1, 0, 0, 0, 0, time.UTC), 0, []int{401001, 200, 200}},
		{"four minutes off", now.Add(-4 * time.Minute), 0, []int{200, 200}},
		{"six minutes off", now.Add(6 * time.Minute), 0, []int{401001, 200, 200}},
		{"in 1970, offset known", time.Unix(0, 0), now.Sub(time.Unix(0, 0)), []int{200, 200}},
		{"right, offset stale", now, time.Hour, []int{401001, 200, 200}},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			s := startServer(t, upgradelinktest.Options{})
			c := newClient(t, s, func(o *upgradelink.Options) { o.Now, o.Offset = localClock(row.local), row.offset })
			if _, known := c.ServerTime(); known != (row.offset != 0) {
				t.Errorf("before the first call, known: %t", known)
			}
			for range 2 {
				if _, err := c.UpgradeURL(t.Context(), v1); err != nil {
					t.Fatal(err)
				}
			}
			if got := statuses(s); !slices.Equal(got, row.codes) {
				t.Errorf("codes %v, want %v", got, row.codes)
			}
			at, known := c.ServerTime()
			if off := time.Since(at).Abs(); !known || off > 3*time.Second {
				t.Errorf("server time %s (%t) is off by %s", at, known, off)
			}
			if off := (c.Offset() - time.Since(row.local)).Abs(); off > 10*time.Second {
				t.Errorf("offset %s", c.Offset())
			}
		})
	}
}

// The clock of a box may be set while the agent runs.
func TestClockJumps(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	local := time.Unix(0, 0)
	s := startServer(t, upgradelinktest.Options{})
	c := newClient(t, s, func(o *upgradelink.Options) {
		o.Now = func() time.Time { mu.Lock(); defer mu.Unlock(); return local }
	})
	for range 2 {
		if _, err := c.UpgradeURL(t.Context(), v1); err != nil {
			t.Fatal(err)
		}
		mu.Lock()
		local = time.Now() // somebody sets it right; the learned offset is wrong now
		mu.Unlock()
	}
	if got, want := statuses(s), []int{401001, 200, 401001, 200}; !slices.Equal(got, want) {
		t.Errorf("codes %v, want %v", got, want)
	}
}

func TestClockCannotBeCorrected(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name     string
		date     string
		requests int
	}{
		{"no Date", "", 1},
		{"Date unreadable", "yesterday", 1},
		{"Date wrong", "Thu, 01 Jan 1970 00:00:00 GMT", 2},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			s := startServer(t, upgradelinktest.Options{})
			s.SetDate(func(time.Time) string { return row.date })
			c := newClient(t, s, func(o *upgradelink.Options) { o.Now = localClock(time.Unix(0, 0)) })
			_, err := c.UpgradeURL(t.Context(), v1)
			f := wantFault(t, err, ota.Transient, ota.CodeServerClock)
			if !strings.Contains(f.Hint, "clock") {
				t.Errorf("hint %q", f.Hint)
			}
			if n := len(s.Requests()); n != row.requests {
				t.Errorf("%d requests, want %d", n, row.requests)
			}
		})
	}
}

// TestCauseOf401 tells the clock from the key when the message helps and when
// it comes in a language that the client does not know.
func TestCauseOf401(t *testing.T) {
	t.Parallel()
	const ancient, fresh = "Thu, 01 Jan 1970 00:00:00 GMT", ""
	for _, row := range []struct {
		name, msg, date string
		code            ota.Code
		requests        int
	}{
		{"key, English", "X-AccessKey is error", fresh, ota.CodeAccessKey, 1},
		{"key, spaced", "Access Key disabled", fresh, ota.CodeAccessKey, 1},
		{"key, Chinese", "访问密钥错误", fresh, ota.CodeAccessKey, 1},
		{"key, and the clock is off, too", "X-AccessKey is error", ancient, ota.CodeAccessKey, 1},
		{"clock, English", "Invalid X-Timestamp: timestamp is out of allowed window", ancient, ota.CodeServerClock, 2},
		{"clock, Chinese", "X-Timestamp 时间戳超出允许范围", ancient, ota.CodeServerClock, 2},
		{"clock, but Date says it is right", "timestamp", fresh, ota.CodeServerClock, 2},
		{"unknown words, clock right", "Authentifizierung fehlgeschlagen", fresh, ota.CodeAccessKey, 1},
		{"unknown words, clock corrected in vain", "Authentifizierung fehlgeschlagen", ancient, ota.CodeAccessKey, 2},
		{"no words, clock right", "", fresh, ota.CodeAccessKey, 1},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			s := startServer(t, upgradelinktest.Options{})
			s.Inject(upgradelinktest.Fault{Status: 401, Body: `{"code":401001,"msg":"` + row.msg + `"}`})
			if row.date != fresh {
				s.SetDate(func(time.Time) string { return row.date })
			}
			_, err := newClient(t, s, nil).UpgradeURL(t.Context(), v1)
			class := ota.Refused
			if row.code == ota.CodeServerClock {
				class = ota.Transient
			}
			wantFault(t, err, class, row.code)
			if n := len(s.Requests()); n != row.requests {
				t.Errorf("%d requests, want %d", n, row.requests)
			}
		})
	}
}

// A wrong key on a box in 1970 is told apart after one correction.
func TestWrongKeyAndWrongClock(t *testing.T) {
	t.Parallel()
	s := startServer(t, upgradelinktest.Options{})
	c := newClient(t, s, func(o *upgradelink.Options) { o.Now, o.AccessKey = localClock(time.Unix(0, 0)), "who" })
	_, err := c.UpgradeURL(t.Context(), v1)
	wantFault(t, err, ota.Refused, ota.CodeAccessKey)
	if n := len(s.Requests()); n != 2 {
		t.Errorf("%d requests, want 2", n)
	}
}

// TestManyAtOnce is for the race detector.
func TestManyAtOnce(t *testing.T) {
	t.Parallel()
	s := startServer(t, upgradelinktest.Options{})
	c := newClient(t, s, func(o *upgradelink.Options) { o.Now = localClock(time.Unix(0, 0)) })
	var group sync.WaitGroup
	for range 16 {
		group.Go(func() {
			if _, err := c.UpgradeURL(t.Context(), v1); err != nil {
				t.Error(err)
			}
			c.ServerTime()
		})
	}
	group.Wait()
}
