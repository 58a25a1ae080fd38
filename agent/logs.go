package agent

import (
	"bytes"
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
