package upgradelink

import (
	"net/http"
	"strings"
	"sync"
	"time"
)

// clock is the server's time, derived from the local clock. The local clock
// may be years off and may be set while the agent runs; each Date header
// corrects the offset, so a wrong one lasts for one answer.
type clock struct {
	now func() time.Time

	mu     sync.Mutex
	offset time.Duration
	known  bool
}

// stamp is the time to write on a request.
func (c *clock) stamp() time.Time {
	t, _ := c.serverTime()
	return t
}

func (c *clock) serverTime() (time.Time, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now().Round(0).Add(c.offset), c.known
}

func (c *clock) currentOffset() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.offset
}

// learn takes the offset from the Date of a response, as it arrives. Without a
// usable Date it returns false and the offset stays.
func (c *clock) learn(resp *http.Response) (time.Time, bool) {
	date, err := http.ParseTime(resp.Header.Get("Date"))
	if err != nil {
		return time.Time{}, false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	// Round(0) drops the monotonic reading: the difference must be that of
	// the clocks on the wall.
	c.offset, c.known = date.Sub(c.now().Round(0)), true
	return date, true
}

// window is how far a request's timestamp may be off the server's clock.
const window = 5 * time.Minute

type cause401 int

const (
	causeKey cause401 = iota
	causeClock
)

// causeOf401 tells the two causes of code 401001 apart. The message decides
// when it names one of them; it comes in the server's language, so if it names
// neither, the time that was sent is held against the server's Date.
func causeOf401(msg string, sent, serverTime time.Time, dated bool) cause401 {
	msg = strings.ToLower(strings.NewReplacer(" ", "", "-", "", "_", "").Replace(msg))
	saysTime := containsAny(msg, "timestamp", "时间", "時間")
	saysKey := containsAny(msg, "accesskey", "密钥", "密鑰")
	off := dated && sent.Sub(serverTime).Abs() > window
	if saysTime && !saysKey || saysTime == saysKey && off {
		return causeClock
	}
	return causeKey
}

func containsAny(s string, parts ...string) bool {
	for _, p := range parts {
		if strings.Contains(s, p) {
			return true
		}
	}
	return false
}
