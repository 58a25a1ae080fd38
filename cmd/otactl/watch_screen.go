package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	tea "github.com/charmbracelet/bubbletea"

	"otad/cmd/internal/cli"
	"otad/cmd/otactl/fleet"
)

// fleetScreen is the live table on a terminal: a model of Bubble Tea, which
// reads keys, redraws what changed and puts the terminal back.
type fleetScreen struct {
	ctx    context.Context
	boxes  *fleet.Fleet
	all    map[string]fleet.Row
	shown  []fleet.Row // what the filter lets through, in order
	filter string
	typing bool // the filter is being edited
	order  fleet.Order
	top    int // the first row that is visible
	width  int
	height int
	colour bool
	broken bool // ended by ^C
}

// news are the boxes that changed.
type news struct {
	rows    []fleet.Row
	rev     uint64
	changed <-chan struct{}
}

// screenRate is how often a second the terminal is redrawn at most.
const screenRate = 10

// screen shows the table until somebody ends it or ctx does, and leaves its
// last state behind.
func (c *watchCall) screen(ctx context.Context, stdin io.Reader, out *os.File, boxes *fleet.Fleet) error {
	s := &fleetScreen{ctx: ctx, boxes: boxes, all: map[string]fleet.Row{}, filter: c.filter, order: fleet.Order(c.order),
		width: 80, height: 24, colour: os.Getenv("NO_COLOR") == ""}
	var keys tea.ProgramOption = tea.WithInput(nil)
	if cli.IsTerminal(stdin) {
		keys = tea.WithInput(stdin)
	}
	_, err := tea.NewProgram(s, keys, tea.WithOutput(out), tea.WithAltScreen(), tea.WithContext(ctx), tea.WithFPS(screenRate),
		tea.WithoutSignalHandler()).Run()
	fleet.WriteTable(out, s.shown, 0, s.width, s.height, false)
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case s.broken:
		return cli.Exit(cli.Interrupted)
	case err != nil && !errors.Is(err, tea.ErrProgramKilled):
		return fmt.Errorf("cannot use the terminal: %w", err)
	}
	return nil
}

// Init implements tea.Model.
func (s *fleetScreen) Init() tea.Cmd { return func() tea.Msg { return s.look(0) } }

// look reads what changed after rev.
func (s *fleetScreen) look(rev uint64) news {
	rows, now, changed := s.boxes.Since(rev)
	return news{rows, now, changed}
}

// await looks again when something has changed, at most every watchEvery.
func (s *fleetScreen) await(last news) tea.Cmd {
	return func() tea.Msg {
		select {
		case <-last.changed:
		case <-s.ctx.Done():
			return nil
		}
		select {
		case <-time.After(watchEvery):
			return s.look(last.rev)
		case <-s.ctx.Done():
			return nil
		}
	}
}

// Update implements tea.Model.
func (s *fleetScreen) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	switch msg := msg.(type) {
	case news:
		for _, r := range msg.rows {
			s.all[r.Box] = r
		}
		s.arrange()
		return s, s.await(msg)
	case tea.WindowSizeMsg:
		s.width, s.height = msg.Width, msg.Height
	case tea.KeyMsg:
		for _, key := range single(msg) {
			if s.press(key) {
				return s, tea.Quit
			}
		}
		s.arrange()
	}
	s.scroll(0)
	return s, nil
}

// arrange picks and sorts what is shown.
func (s *fleetScreen) arrange() {
	s.shown = s.shown[:0]
	for _, r := range s.all {
		if fleet.Match(r, s.filter) {
			s.shown = append(s.shown, r)
		}
	}
	fleet.Sort(s.shown, s.order)
	s.scroll(0)
}

// room is how many rows are visible: the last line is for the keys.
func (s *fleetScreen) room() int { return fleet.Room(len(s.shown), s.height) }

func (s *fleetScreen) scroll(by int) { s.top = max(0, min(s.top+by, len(s.shown)-s.room())) }

// press obeys a key and tells whether it ends the program.
func (s *fleetScreen) press(key tea.KeyMsg) (end bool) {
	if key.Type == tea.KeyCtrlC {
		s.broken = true
		return true
	}
	if s.typing {
		s.edit(key)
		return false
	}
	switch key.String() {
	case "q", "esc":
		return true
	case "/":
		s.typing, s.top = true, 0
	case "s":
		s.order = fleet.Orders[(slices.Index(fleet.Orders, s.order)+1)%len(fleet.Orders)]
		s.top = 0
	case "up", "k":
		s.scroll(-1)
	case "down", "j":
		s.scroll(1)
	case "pgup", "b":
		s.scroll(-s.room())
	case "pgdown", " ":
		s.scroll(s.room())
	case "home", "g":
		s.top = 0
	case "end", "G":
		s.scroll(len(s.shown))
	}
	return false
}

// single takes apart what was typed faster than it was read.
func single(msg tea.KeyMsg) []tea.KeyMsg {
	if msg.Type != tea.KeyRunes || len(msg.Runes) < 2 {
		return []tea.KeyMsg{msg}
	}
	var keys []tea.KeyMsg
	for _, r := range msg.Runes {
		keys = append(keys, tea.KeyMsg{Type: tea.KeyRunes, Runes: []rune{r}})
	}
	return keys
}

// edit types the filter, which works at once.
func (s *fleetScreen) edit(key tea.KeyMsg) {
	switch key.Type {
	case tea.KeyEnter:
		s.typing = false
	case tea.KeyEsc:
		s.typing, s.filter = false, ""
	case tea.KeyCtrlU:
		s.filter = ""
	case tea.KeyBackspace:
		if typed := []rune(s.filter); len(typed) > 0 {
			s.filter = string(typed[:len(typed)-1])
		}
	case tea.KeySpace, tea.KeyRunes:
		s.filter += string(key.Runes)
	}
}

// View implements tea.Model.
func (s *fleetScreen) View() string {
	var text bytes.Buffer
	fleet.WriteTable(&text, s.shown, s.top, s.width, s.height, s.colour)
	lines := strings.Count(text.String(), "\n")
	text.WriteString(strings.Repeat("\n", max(0, s.height-1-lines)))
	text.WriteString(s.status())
	return text.String()
}

// status is the last line: the filter while it is typed, else what is visible,
// and the keys.
func (s *fleetScreen) status() string {
	if s.typing {
		return "filter: " + s.filter + "_  (words, !word; Enter keeps it, Esc drops it)"
	}
	text := fmt.Sprintf("sorted by %s", s.order)
	if room := s.room(); room < len(s.shown) {
		text = fmt.Sprintf("%d-%d of %d, %s", s.top+1, s.top+room, len(s.shown), text)
	}
	if s.filter != "" {
		text += fmt.Sprintf(", filter %q", s.filter)
	}
	return text + "  ·  / filter  s sort  arrows scroll  q quit"
}
