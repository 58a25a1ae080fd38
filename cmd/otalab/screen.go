package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"golang.org/x/sys/unix"
)

// screen tells the story: what the box does on the left, what a subscriber
// sees of it on the right, and below them, on a terminal, a progress bar that
// moves. Where there is no terminal, each tenth of the progress is a line.
type screen struct {
	out      io.Writer
	started  time.Time
	terminal bool
	columns  int
	glyphs   glyphs

	mu     sync.Mutex
	bar    string // on the last line now; "" for none
	shown  string // what the last bar was about
	tenths int    // of it
}

// glyphs are those that the terminal can show.
type glyphs struct{ rule, done, todo, pass, fail string }

var (
	plain   = glyphs{rule: "|", done: "#", todo: ".", pass: "ok", fail: "FAILED"}
	unicode = glyphs{rule: "│", done: "█", todo: "░", pass: "✓", fail: "✗ FAILED"}
)

const leftColumns = 50

func newScreen(out io.Writer) *screen {
	s := &screen{out: out, started: time.Now(), columns: 132, glyphs: plain}
	for _, name := range []string{"LC_ALL", "LC_CTYPE", "LANG"} { // in the order of their weight
		if locale := strings.ToUpper(os.Getenv(name)); locale != "" {
			if strings.Contains(locale, "UTF-8") || strings.Contains(locale, "UTF8") {
				s.glyphs = unicode
			}
			break
		}
	}
	f, ok := out.(*os.File)
	if !ok || os.Getenv("TERM") == "dumb" {
		return s
	}
	if size, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ); err == nil && size.Col > 0 {
		s.terminal, s.columns = true, max(80, int(size.Col))
	}
	return s
}

// section opens a chapter.
func (s *screen) section(title string) {
	s.line("\n%s %s", title, strings.Repeat("-", max(3, s.columns-1-utf8.RuneCountInString(title))))
}

// say prints a line of the story itself.
func (s *screen) say(format string, args ...any) { s.line("  "+format, args...) }

// did prints what the box did, saw what a subscriber saw of it.
func (s *screen) did(text string) { s.beside(text, "") }
func (s *screen) saw(text string) { s.beside("", text) }

func (s *screen) beside(left, right string) {
	room := s.columns - leftColumns - 12
	line := fmt.Sprintf("%6.1fs  %s %s %s", time.Since(s.started).Seconds(), fit(left, leftColumns), s.glyphs.rule, fit(right, room))
	s.line("%s", strings.TrimRight(line, " "))
}

// clipped prints a line that is cut where the screen ends.
func (s *screen) clipped(text string) { s.line("%s", strings.TrimRight(fit(text, s.columns), " ")) }

// fit cuts or fills text to n columns.
func fit(text string, n int) string {
	runes := []rune(text)
	if len(runes) > n {
		return string(runes[:n-3]) + "..."
	}
	return text + strings.Repeat(" ", n-len(runes))
}

// progress shows how far something is.
func (s *screen) progress(about string, percent int, detail string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	const width = 30
	full := percent * width / 100
	bar := fmt.Sprintf("         %-12s [%s%s] %3d %%  %s", about,
		strings.Repeat(s.glyphs.done, full), strings.Repeat(s.glyphs.todo, width-full), percent, detail)
	if s.terminal {
		s.bar = fit(bar, s.columns-1)
		fmt.Fprintf(s.out, "\r%s", s.bar)
		return
	}
	if about != s.shown || percent/10 != s.tenths {
		s.shown, s.tenths = about, percent/10
		fmt.Fprintln(s.out, bar)
	}
}

// line prints above the bar.
func (s *screen) line(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.wipe()
	fmt.Fprintf(s.out, format+"\n", args...)
	fmt.Fprint(s.out, s.bar)
}

// endProgress takes the bar away: what moved has arrived.
func (s *screen) endProgress() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.wipe()
	s.bar = ""
}

func (s *screen) wipe() {
	if s.bar != "" {
		fmt.Fprintf(s.out, "\r%s\r", strings.Repeat(" ", utf8.RuneCountInString(s.bar)))
	}
}
