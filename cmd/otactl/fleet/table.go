package fleet

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"otad/ota"
)

// Order is how rows are sorted.
type Order string

// The orders. OrderNews puts first what a person looks for: trouble, then what
// moves, then what is offline.
const (
	OrderNews     Order = "news"
	OrderName     Order = "name"
	OrderVersion  Order = "version"
	OrderProgress Order = "progress"
)

// Orders lists them.
var Orders = []Order{OrderNews, OrderName, OrderVersion, OrderProgress}

// Sort sorts rows, equal ones by their names.
func Sort(rows []Row, by Order) {
	rank := func(r Row) int {
		switch {
		case by != OrderNews:
			return 0
		case r.Bad():
			return 0
		case r.Moving():
			return 1
		case !r.Online:
			return 2
		}
		return 3
	}
	slices.SortStableFunc(rows, func(a, b Row) int {
		var c int
		switch by {
		case OrderVersion:
			c = cmp.Compare(a.Version.Code, b.Version.Code)
		case OrderProgress:
			c = cmp.Or(cmp.Compare(stepOf(b.Phase), stepOf(a.Phase)), cmp.Compare(b.Percent, a.Percent))
		}
		return cmp.Or(c, cmp.Compare(rank(a), rank(b)), strings.Compare(a.Box, b.Box))
	})
}

// stepOf is how far a phase is in the life of an update.
func stepOf(p ota.Phase) int { return slices.Index(ota.Phases, p) }

// Match tells whether every word of filter is found in what is shown of r;
// a word that begins with ! must not be.
func Match(r Row, filter string) bool {
	text := strings.ToLower(strings.Join([]string{r.Box, string(r.Phase), VersionText(r.Version), r.Stage, r.Reason, r.Trouble,
		string(r.Last), string(r.LastCode), map[bool]string{true: "online", false: "offline"}[r.Online]}, " "))
	for word := range strings.FieldsSeq(strings.ToLower(filter)) {
		word, not := strings.CutPrefix(word, "!")
		if strings.Contains(text, word) == not {
			return false
		}
	}
	return true
}

// layout is how wide the columns are: as wide as they must, within bounds.
type layout struct{ box, version, bar int }

const (
	maxBoxCells     = 34
	maxVersionCells = 14
	phaseCells      = 11
	wideTerminal    = 110 // cells from which bars are long
)

func layoutOf(rows []Row, width int) layout {
	l := layout{box: len("BOX"), version: len("VERSION"), bar: 10}
	if width == 0 || width >= wideTerminal {
		l.bar = 24
	}
	for _, r := range rows {
		l.box = min(maxBoxCells, max(l.box, utf8.RuneCountInString(r.Box)))
		l.version = min(maxVersionCells, max(l.version, utf8.RuneCountInString(r.versions())))
	}
	return l
}

// Room is how many rows WriteTable shows of n at most in height lines.
func Room(n, height int) int {
	if height > 0 && n > height-3 {
		return max(0, height-4)
	}
	return n
}

// WriteTable writes totals and as many rows, from the one at top on, as fit into
// width cells and height lines; 0 is no limit. What comes after them is counted
// in the last line.
func WriteTable(w io.Writer, rows []Row, top, width, height int, colour bool) {
	line := func(text, code string) {
		text = clip(text, width)
		if colour && code != "" {
			text = "\x1b[" + code + "m" + text + "\x1b[0m"
		}
		fmt.Fprintln(w, text)
	}
	t := Count(rows)
	line(t.String(), "1")
	l := layoutOf(rows, width)
	line(cells("BOX", l.box)+" "+cells("VERSION", l.version)+" S  "+cells("PHASE", phaseCells)+" PROGRESS OR NOTE", "2")
	end := min(len(rows), top+Room(len(rows), height))
	for _, r := range rows[top:end] {
		line(r.text(l), r.colour())
	}
	if rest := Count(rows[end:]); rest.Boxes > 0 {
		line("… and "+rest.String(), "2")
	}
}

// String is the totals in one line.
func (t Totals) String() string {
	text := fmt.Sprintf("%d boxes, %d online, %d updating, %d in trouble", t.Boxes, t.Online, t.Moving, t.Bad)
	versions := slices.SortedFunc(maps.Keys(t.Versions), func(a, b string) int {
		return cmp.Or(cmp.Compare(t.Versions[b], t.Versions[a]), strings.Compare(a, b))
	})
	for i, v := range versions {
		if i == 3 {
			return text + fmt.Sprintf(", %d more versions", len(versions)-3)
		}
		text += fmt.Sprintf(" · %s: %d", v, t.Versions[v])
	}
	return text
}

func (r Row) text(l layout) string {
	slot := cmp.Or(r.Slot, "?")
	if r.Trial {
		slot += "?"
	}
	progress := ""
	if r.Moving() && r.Transfer != nil {
		progress = bar(r.Percent, l.bar) + fmt.Sprintf(" %3d%% ", r.Percent)
	}
	return cells(r.Box, l.box) + " " + cells(r.versions(), l.version) + " " + cells(slot, 2) + " " +
		cells(r.phase(), phaseCells) + " " + progress + r.Note()
}

// Line is r on a line of a log.
func (r Row) Line() string {
	text := fmt.Sprintf("%s  %s  slot %s  %s", r.Box, r.versions(), cmp.Or(r.Slot, "?"), r.phase())
	if r.Moving() && r.Transfer != nil {
		text += fmt.Sprintf(" %d%%", r.Percent)
	}
	if note := r.Note(); note != "" {
		text += "  " + note
	}
	return text
}

func (r Row) versions() string {
	if r.To == nil {
		return VersionText(r.Version)
	}
	return VersionText(r.Version) + ">" + VersionText(*r.To)
}

func (r Row) phase() string {
	if !r.Online {
		return "offline"
	}
	return cmp.Or(r.Stage, string(r.Phase))
}

// Note is what else there is to say: trouble before reasons before history.
func (r Row) Note() string {
	switch {
	case r.Trouble != "":
		return r.Trouble
	case r.Moving() && r.Reason != "":
		return r.Reason
	case r.Moving() && r.Transfer != nil && r.Transfer.ETASeconds > 0:
		return fmt.Sprintf("%d s left", r.Transfer.ETASeconds)
	case r.Moving() || r.Last == "":
		return ""
	case r.LastText != "":
		return fmt.Sprintf("%s: %s", r.Last, r.LastText)
	}
	return string(r.Last)
}

func (r Row) colour() string {
	switch {
	case r.Bad():
		return "31"
	case !r.Online:
		return "2"
	case r.Moving():
		return "36"
	}
	return ""
}

// bar is percent in cells, readable without colour and without UTF-8.
func bar(percent, cells int) string {
	full := percent * cells / 100
	return "[" + strings.Repeat("#", full) + strings.Repeat(".", cells-full) + "]"
}

// cells is s in exactly n cells; what is cut ends in ~.
func cells(s string, n int) string {
	if have := utf8.RuneCountInString(s); have <= n {
		return s + strings.Repeat(" ", n-have)
	}
	return clip(s, n)
}

func clip(s string, n int) string {
	if n <= 0 || utf8.RuneCountInString(s) <= n {
		return s
	}
	return string([]rune(s)[:n-1]) + "~"
}
