package downloadtest

import (
	"io"
	"net/http"
	"time"
)

// flow is one answer's body: the content as it flows out, with the faults of
// the file as they are at each moment.
type flow struct {
	f       *File
	w       http.ResponseWriter
	r       *http.Request
	content Content
	size    int64

	at      int64 // offset of the next byte
	started bool  // the first byte was asked for
	from    int64 // offset of the first byte
	served  int64 // not counted yet
	due     time.Time
}

// Seek is how http.ServeContent finds the size and goes to a range.
func (b *flow) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekEnd:
		offset += b.size
	case io.SeekCurrent:
		offset += b.at
	}
	b.at = offset
	return offset, nil
}

func (b *flow) Read(p []byte) (int, error) {
	b.start()
	b.count()
	if b.at >= b.size {
		return 0, io.EOF
	}
	away, silent := b.f.host.state()
	if away {
		b.drop(true)
	}
	pause(b.r, silent)
	if err := b.r.Context().Err(); err != nil {
		return 0, err
	}

	step := b.incident()
	if step.drop {
		b.drop(step.reset)
	}
	pause(b.r, step.silence)
	n := int(min(int64(len(p)), b.size-b.at, step.upTo-b.at))
	if step.rate > 0 {
		n = int(min(int64(n), max(step.rate/50, 1)))
		b.throttle(step.rate, n)
	}
	b.fill(p[:n], step.flip)
	b.at += int64(n)
	b.served += int64(n)
	return n, nil
}

// drop ends the answer here, once all before was handed to the connection.
func (b *flow) drop(reset bool) {
	http.NewResponseController(b.w).Flush() // an error means that the connection is gone already
	drop(b.w, reset)
}

func (b *flow) start() {
	if b.started {
		return
	}
	b.started, b.from, b.due = true, b.at, time.Now()
	b.f.mu.Lock()
	defer b.f.mu.Unlock()
	s := &b.f.stats
	if len(s.Offsets) == offsetsKept {
		s.Offsets = s.Offsets[1:]
	}
	s.Offsets = append(s.Offsets, b.at)
}

// count adds what was handed out to the counters.
func (b *flow) count() {
	b.f.mu.Lock()
	defer b.f.mu.Unlock()
	b.f.stats.BytesServed += b.served
	b.served = 0
}

// step is what happens next to a body.
type step struct {
	drop, reset bool
	silence     time.Duration
	upTo        int64 // offset of the next incident
	rate        int64
	flip        []int64
}

// incident looks at the faults for one that is due at the current offset, and
// uses it up.
func (b *flow) incident() step {
	b.f.mu.Lock()
	defer b.f.mu.Unlock()
	faults := &b.f.faults
	s := step{upTo: b.size, rate: faults.Rate, flip: faults.Flip}
	// An incident is due at its offset, or at the first byte of an answer that
	// begins behind it.
	due := func(at int64) bool {
		if b.at >= at {
			return true
		}
		s.upTo = min(s.upTo, at)
		return false
	}
	if c := faults.Cut; c != nil && c.Times != 0 {
		at := c.At
		if c.After {
			at += b.from
		}
		if due(at) {
			next := *c // the caller's value stays as it is
			next.Times = max(next.Times-1, -1)
			faults.Cut = &next
			s.drop, s.reset = true, c.Reset
		}
	}
	if c := faults.Change; c != nil && due(c.At) {
		faults.Change = nil
		b.f.content, b.f.modified = c.To, b.f.modified.Add(time.Hour)
		s.drop = true
	}
	if c := faults.Silence; c != nil && due(c.At) {
		faults.Silence = nil
		s.silence = c.For
	}
	return s
}

// throttle waits until n more bytes are due.
func (b *flow) throttle(rate int64, n int) {
	b.due = b.due.Add(time.Duration(float64(n) / float64(rate) * float64(time.Second)))
	if now := time.Now(); b.due.Before(now.Add(-time.Second)) {
		b.due = now // the rate was set lately
	}
	pause(b.r, time.Until(b.due))
}

// fill reads content; what an endless body has behind its end is the content
// over again.
func (b *flow) fill(p []byte, flip []int64) {
	for done := 0; done < len(p); {
		n, err := b.content.ReadAt(p[done:], (b.at+int64(done))%b.content.SizeBytes)
		if n == 0 && err != nil {
			panic(http.ErrAbortHandler) // a file on disk that broke
		}
		done += n
	}
	for _, at := range flip {
		if in := at - b.at; in >= 0 && in < int64(len(p)) {
			p[in] ^= 0xff
		}
	}
}
