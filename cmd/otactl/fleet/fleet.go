// Package fleet is what an operator sees of the boxes: it gathers what they
// say on a broker and shows it as a table, as lines or as a web page.
//
// Trust: whatever a box says may be made up. Its texts are stripped of what
// steers a terminal, the page never takes them for markup, and the number of
// boxes is bounded.
package fleet

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode"

	"otad/agent/report"
	"otad/ota"
	"otad/transport"
)

// MaxBoxes bounds how many boxes are kept; further ones are counted only.
const MaxBoxes = 50_000

// maxText bounds each text of a box, in bytes.
const maxText = 200

// Row is one box as it is shown. It is what `otactl watch --json` prints.
type Row struct {
	Box     string      `json:"box"` // MODEL/DEVICE
	Model   string      `json:"model"`
	Device  string      `json:"device"`
	Online  bool        `json:"online"`
	Version ota.Version `json:"version"`
	Slot    string      `json:"slot,omitempty"`
	Trial   bool        `json:"trial,omitempty"`
	Agent   string      `json:"agent,omitempty"`

	Phase    ota.Phase        `json:"phase"`
	Stage    string           `json:"stage,omitempty"`
	Percent  int              `json:"percent"`
	Transfer *report.Transfer `json:"transfer,omitempty"`
	To       *ota.Version     `json:"to,omitempty"` // of the update under way
	Update   string           `json:"update,omitempty"`
	Reason   string           `json:"reason,omitempty"`
	Trouble  string           `json:"trouble,omitempty"`

	Last     ota.Phase `json:"last,omitempty"` // how the last update ended
	LastCode ota.Code  `json:"last_code,omitempty"`
	LastText string    `json:"last_text,omitempty"`
	Seen     time.Time `json:"seen"`

	rev uint64 // of Fleet, when it changed last
}

// Moving tells whether an update is under way.
func (r Row) Moving() bool { return r.Update != "" }

// Bad tells whether something calls for a person: the last update did not end
// well, or the one under way has trouble.
func (r Row) Bad() bool {
	return r.Trouble != "" || !r.Moving() && (r.Last == ota.PhaseFailed || r.Last == ota.PhaseRolledBack)
}

// Fleet gathers what boxes say. Its methods may be called from several
// goroutines.
type Fleet struct {
	prefix string

	mu      sync.Mutex
	boxes   map[string]*Row
	rev     uint64
	left    int           // boxes that found no room
	changed chan struct{} // closed and renewed with each change
}

// New makes a fleet of the boxes below prefix.
func New(prefix string) *Fleet {
	return &Fleet{prefix: prefix, boxes: map[string]*Row{}, changed: make(chan struct{})}
}

// Filters are the topics to subscribe to.
func (f *Fleet) Filters() []string {
	return []string{f.prefix + "/+/+/state", f.prefix + "/+/+/progress"}
}

// Take reads a message of a box. Others are ignored.
func (f *Fleet) Take(m transport.Message) {
	topics, leaf, ok := report.ParseTopic(f.prefix, m.Topic)
	if !ok {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	name := topics.Model + "/" + topics.Device
	row := f.boxes[name]
	if row == nil {
		if len(f.boxes) >= MaxBoxes {
			f.left++
			return
		}
		row = &Row{Box: printable(name), Model: printable(topics.Model), Device: printable(topics.Device)}
	}
	switch leaf {
	case "state":
		ok = row.takeState(m.Payload)
	case "progress":
		ok = row.takeProgress(m.Payload)
	default:
		ok = false
	}
	if !ok {
		return
	}
	f.rev++
	row.Seen, row.rev = time.Now(), f.rev
	f.boxes[name] = row
	close(f.changed)
	f.changed = make(chan struct{})
}

func (r *Row) takeState(payload []byte) bool {
	var s report.State
	if json.Unmarshal(payload, &s) != nil || s.V != report.Version {
		return false
	}
	if !s.Online { // the last will knows nothing else: what is known stays
		r.Online = false
		return true
	}
	next := Row{Box: r.Box, Model: r.Model, Device: r.Device, Online: true,
		Version: version(s.Version), Slot: printable(s.Slot), Trial: s.Trial, Agent: printable(s.Agent),
		Phase: ota.Phase(printable(string(s.Phase))), Stage: printable(s.Stage), Percent: min(100, max(0, s.Percent)), Transfer: s.Transfer,
		Reason: printable(s.Reason)}
	if s.Update != nil {
		to := version(s.Update.To)
		next.To, next.Update = &to, printable(s.Update.ID)
	}
	if s.Trouble != nil {
		next.Trouble = printable(s.Trouble.Text)
	}
	if l := s.Last; l != nil {
		next.Last = ota.Phase(printable(string(l.Result)))
		if l.Failure != nil {
			next.LastCode, next.LastText = ota.Code(printable(string(l.Failure.Code))), printable(l.Failure.Text)
		}
	}
	*r = next
	return true
}

func (r *Row) takeProgress(payload []byte) bool {
	var p report.Progress
	if json.Unmarshal(payload, &p) != nil || p.V != report.Version || r.Update != printable(p.Update) {
		return false // of an update that state has not told of, or no more
	}
	r.Phase, r.Stage = ota.Phase(printable(string(p.Phase))), printable(p.Stage)
	r.Percent, r.Transfer = min(100, max(0, p.Percent)), p.Transfer
	return true
}

// Since returns the rows that changed after rev, in order of their names, the
// revision to ask with next time, and a channel that is closed at the next
// change. With rev 0 it is all of them.
func (f *Fleet) Since(rev uint64) (rows []Row, now uint64, changed <-chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, r := range f.boxes {
		if r.rev > rev {
			rows = append(rows, *r)
		}
	}
	slices.SortFunc(rows, func(a, b Row) int { return strings.Compare(a.Box, b.Box) })
	return rows, f.rev, f.changed
}

// Left is how often a box found no room.
func (f *Fleet) Left() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.left
}

// Totals counts rows.
type Totals struct {
	Boxes, Online, Moving, Bad int
	Phases                     map[ota.Phase]int
	Versions                   map[string]int
}

// Count makes the totals of rows.
func Count(rows []Row) Totals {
	t := Totals{Boxes: len(rows), Phases: map[ota.Phase]int{}, Versions: map[string]int{}}
	for _, r := range rows {
		t.Online += one(r.Online)
		t.Moving += one(r.Moving())
		t.Bad += one(r.Bad())
		t.Phases[r.Phase]++
		t.Versions[VersionText(r.Version)]++
	}
	return t
}

func one(b bool) int {
	if b {
		return 1
	}
	return 0
}

// VersionText is how a version is shown: its name, or its code.
func VersionText(v ota.Version) string {
	if v.Name != "" {
		return v.Name
	}
	return fmt.Sprint(v.Code)
}

func version(v ota.Version) ota.Version {
	return ota.Version{Code: v.Code, Name: printable(v.Name)}
}

// printable takes out what could steer a terminal, and what is too long.
func printable(s string) string {
	s = strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return -1
	}, s)
	if len(s) > maxText {
		s = strings.ToValidUTF8(s[:maxText], "") + "…"
	}
	return s
}
