package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
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

// A follower sees the end of the log and every line after it, in order; one
// that is slow is told how much it missed.
func TestLogsFollow(t *testing.T) {
	t.Parallel()
	var l Logs
	for i := range 5 {
		fmt.Fprintf(&l, "%d\n", i)
	}
	var seen []string
	err := l.Follow(t.Context(), 2, func(lines []string) bool {
		seen = append(seen, lines...)
		switch len(seen) {
		case 2:
			fmt.Fprintln(&l, "5")
		case 3:
			for i := range 2 * maxLogBytes / 1000 { // more than is kept
				fmt.Fprintf(&l, "%0999d\n", i)
			}
		}
		return len(seen) <= 3
	})
	if err != nil || !slices.Equal(seen[:3], []string{"3", "4", "5"}) {
		t.Fatalf("%v: %.100q", err, seen)
	}
	kept := len(l.Last(1000))
	if want := fmt.Sprintf("... %d lines are gone", 2*maxLogBytes/1000-kept); seen[3] != want || len(seen) != 4+kept {
		t.Errorf("%d lines, %q; want %q and %d", len(seen), seen[3], want, kept)
	}
	ctx, cancel := context.WithCancel(t.Context())
	if err := l.Follow(ctx, 1, func([]string) bool { cancel(); return true }); !errors.Is(err, context.Canceled) {
		t.Errorf("ended with %v", err)
	}
}
