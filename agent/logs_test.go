package agent

import (
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"unicode/utf8"
)

func TestLogsKeepTheLastLines(t *testing.T) {
	t.Parallel()
	var l Logs
	if got := l.Last(0); got == nil || len(got) != 0 {
		t.Errorf("an empty log has %q", got)
	}
	log := slog.New(slog.NewTextHandler(&l, nil))
	for i := range 30 {
		log.Info("line", "n", i)
	}
	for _, c := range []struct{ ask, want int }{{0, 20}, {1, 1}, {25, 25}, {1000, 30}} {
		got := l.Last(c.ask)
		if len(got) != c.want || !strings.HasSuffix(got[len(got)-1], "n=29") {
			t.Errorf("the last %d are %d lines: %q", c.ask, len(got), got)
		}
	}
}

// However much is logged, by however many, the memory has its bounds.
func TestLogsAreBounded(t *testing.T) {
	t.Parallel()
	var l Logs
	var writers sync.WaitGroup
	for range 4 {
		writers.Go(func() {
			for i := range 500 {
				fmt.Fprintf(&l, "%d %s\n", i, strings.Repeat("ü", i*3))
			}
		})
	}
	writers.Wait()
	total := 0
	for _, line := range l.Last(1 << 20) {
		total += len(line)
		if len(line) > maxLogLine+3 || !utf8.ValidString(line) {
			t.Errorf("a line has %d bytes", len(line))
		}
	}
	if total > maxLogBytes || total < maxLogBytes/2 {
		t.Errorf("%d bytes are kept", total)
	}
}
