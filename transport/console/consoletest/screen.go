package consoletest

import (
	"fmt"
	"html"
	"strconv"
	"strings"
	"sync"
	"unicode/utf8"
)

// Screen is what a terminal shows of the bytes that it gets: enough of a VT100
// for our programs and those they are built with. It is an io.Writer and safe
// for concurrent use. What scrolls off the top is kept in Past.
type Screen struct {
	mu            sync.Mutex
	width, height int
	cells         [][]cell
	past          []string
	row, column   int
	style         style
	rest          []byte // of a sequence or a rune that is not whole yet
	changed       chan struct{}
}

type style struct {
	bold, dim bool
	colour    int // 0 for none, else 31 to 37
}

type cell struct {
	r rune
	style
}

// NewScreen makes an empty one, with the cursor at the top.
func NewScreen(width, height int) *Screen {
	s := &Screen{width: width, height: height, changed: make(chan struct{})}
	s.clear()
	return s
}

func (s *Screen) clear() {
	s.cells = make([][]cell, s.height)
	for i := range s.cells {
		s.cells[i] = make([]cell, s.width)
	}
}

// Write shows bytes.
func (s *Screen) Write(data []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	text := append(s.rest, data...)
	for len(text) > 0 {
		n := s.step(text)
		if n == 0 {
			break
		}
		text = text[n:]
	}
	s.rest = append([]byte(nil), text...)
	close(s.changed)
	s.changed = make(chan struct{})
	return len(data), nil
}

// step takes one character or sequence and returns how many bytes it has; 0
// when it is not whole.
func (s *Screen) step(text []byte) int {
	switch text[0] {
	case '\r':
		s.column = 0
		return 1
	case '\n':
		s.down()
		return 1
	case '\b':
		s.column = max(0, s.column-1)
		return 1
	case 0x1b:
		return s.sequence(text)
	}
	if !utf8.FullRune(text) {
		return 0
	}
	r, n := utf8.DecodeRune(text)
	if r >= ' ' {
		if s.column == s.width {
			s.column = 0
			s.down()
		}
		s.cells[s.row][s.column] = cell{r, s.style}
		s.column++
	}
	return n
}

func (s *Screen) down() {
	if s.row++; s.row < s.height {
		return
	}
	s.row--
	s.past = append(s.past, lineOf(s.cells[0]))
	s.cells = append(s.cells[1:], make([]cell, s.width))
}

// sequence obeys ESC [ … of ECMA-48; others are skipped.
func (s *Screen) sequence(text []byte) int {
	if len(text) < 2 {
		return 0
	}
	if text[1] != '[' {
		return 2
	}
	end := 2
	for end < len(text) && (text[end] < 0x40 || text[end] > 0x7e) {
		end++
	}
	if end == len(text) {
		return 0
	}
	parameters := string(text[2:end])
	if strings.HasPrefix(parameters, "?") {
		if parameters == "?1049" { // the other screen, which is as large
			s.clear()
			s.row, s.column = 0, 0
		}
		return end + 1
	}
	var numbers []int
	for p := range strings.SplitSeq(parameters, ";") {
		n, _ := strconv.Atoi(p) // none is 0
		numbers = append(numbers, n)
	}
	s.obey(text[end], numbers)
	return end + 1
}

func (s *Screen) obey(final byte, n []int) {
	first := n[0]
	switch final {
	case 'A':
		s.row = max(0, s.row-max(1, first))
	case 'B':
		s.row = min(s.height-1, s.row+max(1, first))
	case 'C':
		s.column = min(s.width-1, s.column+max(1, first))
	case 'D':
		s.column = max(0, s.column-max(1, first))
	case 'H':
		s.row, s.column = min(s.height, max(1, first))-1, 0
		if len(n) > 1 {
			s.column = min(s.width, max(1, n[1])) - 1
		}
	case 'J', 'K':
		s.erase(final == 'J', first)
	case 'm':
		for _, code := range n {
			s.style = s.style.with(code)
		}
	}
}

func (s *Screen) erase(screen bool, what int) {
	line := s.cells[s.row]
	switch what {
	case 0:
		clear(line[min(s.column, s.width):])
	case 1:
		clear(line[:min(s.column+1, s.width)])
	case 2:
		clear(line)
	}
	for row := range s.cells {
		if screen && (what == 2 || what == 0 && row > s.row || what == 1 && row < s.row) {
			clear(s.cells[row])
		}
	}
}

func (y style) with(code int) style {
	switch {
	case code == 0:
		return style{}
	case code == 1:
		y.bold = true
	case code == 2:
		y.dim = true
	case code >= 31 && code <= 37:
		y.colour = code
	}
	return y
}

func lineOf(cells []cell) string {
	var text strings.Builder
	for _, c := range cells {
		text.WriteRune(max(' ', c.r))
	}
	return strings.TrimRight(text.String(), " ")
}

// Lines is what is shown, without what scrolled off.
func (s *Screen) Lines() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var lines []string
	for _, row := range s.cells {
		lines = append(lines, lineOf(row))
	}
	return lines
}

// Past is what scrolled off the top.
func (s *Screen) Past() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.past...)
}

// Changed is closed when something more was shown.
func (s *Screen) Changed() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.changed
}

// The picture's measures in pixels, and its colours: those of a terminal, which
// read on light and dark pages alike.
const (
	cellWide, lineHigh, margin = 8.4, 18, 16
	background, foreground     = "#16181d", "#d7dae0"
)

var colours = map[int]string{31: "#ff7b72", 32: "#7ee787", 33: "#e3b341", 34: "#79c0ff", 35: "#d2a8ff", 36: "#76e3ea", 37: "#ffffff"}

// SVG is a picture of the screen, down to its last line that is not empty.
func (s *Screen) SVG(title string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	rows := len(s.cells)
	for rows > 0 && lineOf(s.cells[rows-1]) == "" {
		rows--
	}
	width, height := cellWide*float64(s.width)+2*margin, lineHigh*rows+2*margin
	var b strings.Builder
	fmt.Fprintf(&b, "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%.0f\" height=\"%d\" role=\"img\">\n<title>%s</title>\n", width, height, html.EscapeString(title))
	fmt.Fprintf(&b, "<rect width=\"100%%\" height=\"100%%\" rx=\"8\" fill=\"%s\"/>\n", background)
	fmt.Fprintf(&b, "<g font-family=\"ui-monospace,Menlo,Consolas,'DejaVu Sans Mono',monospace\" font-size=\"14\" fill=\"%s\" xml:space=\"preserve\">\n", foreground)
	for row, cells := range s.cells[:rows] {
		y := margin + lineHigh*row + lineHigh*3/4
		for from := 0; from < len(cells); {
			to := from
			for to < len(cells) && cells[to].style == cells[from].style {
				to++
			}
			if text := lineOf(cells[from:to]); text != "" {
				fmt.Fprintf(&b, "<text x=\"%.1f\" y=\"%d\" textLength=\"%.1f\"%s>%s</text>\n", margin+cellWide*float64(from), y,
					cellWide*float64(utf8.RuneCountInString(text)), cells[from].attributes(), html.EscapeString(text))
			}
			from = to
		}
	}
	b.WriteString("</g>\n</svg>\n")
	return b.String()
}

func (y style) attributes() string {
	text := ""
	if y.bold {
		text += ` font-weight="bold"`
	}
	if y.dim {
		text += ` opacity="0.6"`
	}
	if c := colours[y.colour]; c != "" {
		text += ` fill="` + c + `"`
	}
	return text
}
