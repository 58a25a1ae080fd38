package pace

import (
	"context"
	"fmt"
	"math"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// The rate is kept to within a tenth, and a new one is heard at once.
func TestPace(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const busy, idle, block = 1 << 20, 8 << 20, 128 << 10
		var limit atomic.Int64
		limit.Store(busy)
		p := Pace{Limit: limit.Load}
		flow := func(span time.Duration) (rate float64) {
			begun, sent := time.Now(), 0
			for time.Since(begun) < span {
				if err := p.Wait(t.Context(), block); err != nil {
					t.Fatal(err)
				}
				sent += block
			}
			return float64(sent) / time.Since(begun).Seconds()
		}
		for _, want := range []int64{busy, idle, busy} {
			limit.Store(want)
			got := flow(10 * time.Second)
			fmt.Fprintf(t.Output(), "limit %d KiB/s: %.0f KiB/s\n", want>>10, got/1024)
			if math.Abs(got/float64(want)-1) > 0.1 {
				t.Errorf("limit %d: got %.0f bytes a second", want, got)
			}
		}
		limit.Store(0)
		if begun := time.Now(); p.Wait(t.Context(), 1<<40) != nil || time.Since(begun) != 0 {
			t.Error("no limit held the flow up")
		}
		limit.Store(1)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if p.Wait(ctx, 1<<20) == nil {
			t.Error("a wait outlived its context")
		}
	})
}

func TestPaceIsHeardSoon(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var rate atomic.Int64
		rate.Store(1000)
		p := Pace{Limit: rate.Load}
		start := time.Now()
		for range 100 {
			if err := p.Wait(t.Context(), 100); err != nil {
				t.Fatal(err)
			}
		}
		// 10 kB at 1 kB/s, less what may be caught up with.
		if took := time.Since(start); took < 10*time.Second-credit || took > 10*time.Second {
			t.Errorf("took %v, want about 10 s", took)
		}
		time.AfterFunc(time.Second, func() { rate.Store(0) })
		start = time.Now()
		p.Wait(t.Context(), 1<<30)
		if took := time.Since(start); took > time.Second+slice {
			t.Errorf("heard of the new limit after %v", took)
		}
		time.AfterFunc(time.Second, func() { rate.Store(1 << 20) })
		rate.Store(1)
		start = time.Now()
		p.Wait(t.Context(), 1<<20)
		if took := time.Since(start); took < 1500*time.Millisecond || took > 2*time.Second+slice {
			t.Errorf("a faster limit took %v", took)
		}
	})
}
