package download_test

import (
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"otad/transport/download"
	"otad/transport/download/downloadtest"
)

// Somebody begins to watch while a download runs, and stops again: it goes slow
// and fast. Rates are of the bytes that arrived while each limit held, but for
// the first moments of it.
func TestRateFollowsUse(t *testing.T) {
	t.Parallel()
	const busy, idle = 1 * mib, 8 * mib
	var limit atomic.Int64
	limit.Store(idle)
	b := newBox(t, downloadtest.Pattern(40*mib, 61), download.Options{Limit: limit.Load, CheckpointBytes: 16 * mib})
	var done atomic.Int64
	b.req.Progress = func(p download.Progress) { done.Store(p.DoneBytes) }
	ended := make(chan error, 1)
	go func() { _, err := b.fetch.Fetch(t.Context(), b.req); ended <- err }()
	defer func() {
		limit.Store(0)
		if err := <-ended; err != nil && !errors.Is(err, t.Context().Err()) {
			t.Error(err)
		}
	}()
	for _, tt := range []struct {
		name         string
		limit, least int64
		most         int64 // a second is short: up to 250 ms of an idle link are caught up with
		over         time.Duration
	}{
		{"idle", idle, idle / 4, idle * 3 / 2, time.Second},
		{"busy", busy, busy / 2, busy * 115 / 100, 2 * time.Second},
		{"idle again", idle, idle / 4, idle * 3 / 2, time.Second},
	} {
		limit.Store(tt.limit)
		time.Sleep(400 * time.Millisecond) // what was paid for before arrives
		begun, before := time.Now(), done.Load()
		time.Sleep(tt.over) // the measurement itself
		rate := int64(float64(done.Load()-before) / time.Since(begun).Seconds())
		fmt.Fprintf(t.Output(), "%s: limit %d KiB/s, measured %d KiB/s\n", tt.name, tt.limit>>10, rate>>10)
		if rate > tt.most || rate < tt.least {
			t.Errorf("%s: %d bytes a second, want %d to %d", tt.name, rate, tt.least, tt.most)
		}
	}
}
