package agent

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"sync"
	"unicode/utf8"
)

// Bounds of the log that is kept in memory: an answer at every door has room
// for all of it.
const (
	maxLogBytes  = 32 << 10
	maxLogLine   = 1 << 10
	usualLogTail = 20 // lines, when nobody says how many
)

// Logs keeps the last lines of the agent's log in memory, for the verb `logs`:
// as the second writer of its log handler, which writes a record at a time.
// Safe for concurrent use.
type Logs struct {
	mu    sync.Mutex
	lines []string // the newest last
	bytes int
	count int           // lines that ever came
	more  chan struct{} // closed by the next line; nil when nobody waits
}

// Write keeps one record; a long one is cut. It never fails.
func (l *Logs) Write(record []byte) (int, error) {
	line := string(bytes.TrimRight(record, "\n"))
	if len(line) > maxLogLine {
		cut := maxLogLine
		for !utf8.RuneStart(line[cut]) {
			cut--
		}
		line = line[:cut] + "..."
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines, l.bytes = append(l.lines, line), l.bytes+len(line)
	first := 0
	for l.bytes > maxLogBytes {
		l.bytes -= len(l.lines[first])
		first++
	}
	l.lines = slices.Delete(l.lines, 0, first)
	l.count++
	if l.more != nil {
		close(l.more)
		l.more = nil
	}
	return len(record), nil
}

// Last returns the last n lines, the newest last; 20 when n is 0.
func (l *Logs) Last(n int) []string {
	if n == 0 {
		n = usualLogTail
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]string{}, l.lines[max(0, len(l.lines)-n):]...)
}

// Follow calls each with the last n lines, as Last has them, and then with
// those that come, until each returns false or ctx ends. Who is slow is told
// how many lines are gone.
func (l *Logs) Follow(ctx context.Context, n int, each func(lines []string) bool) error {
	if n == 0 {
		n = usualLogTail
	}
	next := 0 // the number of the line that is wanted first
	for begun := false; ; begun = true {
		l.mu.Lock()
		oldest := l.count - len(l.lines)
		if !begun {
			next = max(oldest, l.count-n)
		}
		lost := max(0, oldest-next)
		lines := append([]string{}, l.lines[next+lost-oldest:]...)
		next = l.count
		if l.more == nil {
			l.more = make(chan struct{})
		}
		more := l.more
		l.mu.Unlock()
		if lost > 0 {
			lines = slices.Insert(lines, 0, fmt.Sprintf("... %d lines are gone", lost))
		}
		if len(lines) > 0 && !each(lines) {
			return nil
		}
		select {
		case <-more:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
