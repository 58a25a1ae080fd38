package mqtt

import (
	"log/slog"
	"sync"
	"time"
)

// dropsEvery is the shortest time between two log lines about dropped messages.
const dropsEvery = time.Minute

// drops counts messages that were thrown away and says so now and then, so
// that a flood of messages is not a flood of log lines.
type drops struct {
	log *slog.Logger

	mu    sync.Mutex
	count int
	last  time.Time
}

func (d *drops) note(cause string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.count++
	if now := time.Now(); d.last.IsZero() || now.Sub(d.last) >= dropsEvery {
		d.log.Warn("inbound MQTT messages were dropped", "count", d.count, "cause", cause)
		d.last, d.count = now, 0
	}
}
