package agent

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"otad/agent/control"
	"otad/board"
	"otad/ota"
	"otad/ota/durable"
	"otad/ota/durable/crashfs"
)

// story is a complete life of an update on a box.
type story struct {
	name     string
	offer    int64  // the version that the server has
	sick     int64  // the version that starts and is not healthy, 0 for none
	dead     int64  // the version that never comes up, 0 for none
	streamed bool   // nothing is staged
	says     string // the verb that a person says once the box is at rest, "" for nobody
	parts    bool   // a slot has a kernel beside its image
	rescue   string // the slot of a rescue system, "" for none
	ending   string
	from     func(t *testing.T) snapshot
	once     sync.Once
	told     telling

	// In place of what is right, for tests of the test; nil for nothing.
	wrongFS      func(durable.FS) durable.FS
	wrongBoard   func(crashBoard) board.Board
	wrongDriver  func(durable.FS) durable.FS // what the board's driver writes through
	wrongJournal func(Journal) Journal
}

func (s *story) healthy(code int64) bool { return code != s.sick }
func (s *story) starts(code int64) bool  { return code != s.dead }

func (s *story) fs(fsys durable.FS) durable.FS {
	if s.wrongFS != nil {
		return s.wrongFS(fsys)
	}
	return fsys
}

func (s *story) driver(fsys durable.FS) durable.FS {
	if s.wrongDriver != nil {
		return s.wrongDriver(fsys)
	}
	return fsys
}

func (s *story) journal(j Journal) Journal {
	if s.wrongJournal != nil {
		return s.wrongJournal(j)
	}
	return j
}

// right tells whether nothing of the story is wrong on purpose.
func (s *story) right() bool {
	return s.wrongFS == nil && s.wrongBoard == nil && s.wrongDriver == nil && s.wrongJournal == nil
}

func (s *story) board(b crashBoard) board.Board {
	if s.wrongBoard != nil {
		return s.wrongBoard(b)
	}
	return b
}

func (s *story) server() Server {
	return &fakeServer{offer: ota.Offer{
		VersionCode: s.offer, VersionName: fmt.Sprintf("v%d", s.offer), Type: ota.UpgradeSilent,
		URL: fmt.Sprintf("http://host/%d.swu", s.offer),
	}}
}

// stories lists the lives that are tried. The later ones begin where the first
// one ended.
func stories() []*story {
	first := &story{name: "first", offer: 2, ending: "confirmed", from: func(*testing.T) snapshot { return factory() }}
	second := func(t *testing.T) snapshot { return first.tell(t).end }
	next := &story{name: "next", offer: 3, ending: "confirmed", from: second}
	sick := &story{name: "unhealthy", offer: 3, sick: 3, ending: "rolled-back: unhealthy", from: second}
	dead := &story{name: "never-up", offer: 3, dead: 3, ending: "rolled-back: never-came-up", from: second}
	third := func(t *testing.T) snapshot { return next.tell(t).end } // 3 runs, 2 is in the other slot
	return []*story{
		first, next, sick, dead,
		{name: "streamed", offer: 2, streamed: true, ending: "confirmed", from: first.from},
		{name: "streamed-unhealthy", offer: 3, sick: 3, streamed: true, ending: "rolled-back: unhealthy", from: second},
		{name: "delta", offer: deltaCode, ending: "confirmed", from: first.from},
		{name: "rollback", says: control.Rollback, ending: "confirmed", from: third},
		{name: "rollback-sick", says: control.Rollback, sick: 2, ending: "rolled-back: unhealthy", from: third},
		{name: "rollback-dead", says: control.Rollback, dead: 2, ending: "rolled-back: never-came-up", from: third},
		{name: "set", offer: setCode, parts: true, ending: "confirmed", from: func(*testing.T) snapshot { return setFactory() }},
		{name: "rescue", offer: 2, rescue: "b", ending: "confirmed", from: func(*testing.T) snapshot { return rescueFactory() }},
		{name: "journal-lost-download", offer: 3, ending: "confirmed", from: next.damaged("commit phase=downloading", 2)},
		{name: "journal-lost-trial", offer: 3, ending: "confirmed", from: next.damaged("rename reboot.new to reboot", 1)},
		{name: "journal-lost-sick", offer: 3, sick: 3, ending: "rolled-back: unhealthy", from: sick.damaged("rename reboot.new to reboot", 1)},
	}
}

// damaged is where the story stands when the power goes at the n-th call of
// that name, and the journal is damaged on top.
func (s *story) damaged(name string, n int) func(t *testing.T) snapshot {
	return func(t *testing.T) snapshot {
		told := s.tell(t)
		for i, call := range told.calls {
			if !strings.HasPrefix(call.Name, name) {
				continue
			}
			if n--; n > 0 {
				continue
			}
			snap := s.cut(t, told.from.made+i+1)
			file := slices.Clone(snap.files[journalName])
			clear(file[:2*journalPage]) // both meta pages
			snap.files = map[string][]byte{journalName: file}
			return snap
		}
		t.Fatalf("story %q has no call %q", s.name, name)
		return snapshot{}
	}
}

// cut is where the story stands after power was lost at a call.
func (s *story) cut(t *testing.T, call int) (snap snapshot) {
	dir := journalDir(t)
	synctest.Test(t, func(t *testing.T) {
		b := newCrashBox(s, s.told.before(call), dir, crashLog(t, false), crashfs.Cut{Call: call, How: crashfs.Kept})
		for b.keep = true; b.power.Left() > 0; {
			b.boot(false)
			b.restart()
		}
		snap = b.snapshots[len(b.snapshots)-1]
	})
	return snap
}

// telling is what happens in a story when nothing goes wrong.
type telling struct {
	from, end snapshot
	calls     []crashfs.Call
	powerOns  []snapshot
	ending    ending
}

// before is the last power-on before a call.
func (t telling) before(call int) snapshot {
	best := t.from
	for _, s := range t.powerOns {
		if s.made < call {
			best = s
		}
	}
	return best
}

// tell tells the story once.
func (s *story) tell(t *testing.T) telling {
	t.Helper()
	s.once.Do(func() {
		from, dir := s.from(t), journalDir(t)
		synctest.Test(t, func(t *testing.T) {
			b := newCrashBox(s, from, dir, crashLog(t, false))
			b.keep = true
			end := b.live()
			s.told = telling{from: from, calls: b.power.Calls(), powerOns: b.snapshots, ending: end, end: b.snapshots[len(b.snapshots)-1]}
		})
	})
	if e := s.told.ending; s.right() && (e.kind != s.ending || len(e.wrong) > 0) {
		t.Fatalf("story %q ends %q, want %q; %q", s.name, e.kind, s.ending, e.wrong)
	}
	return s.told
}

// try plays the story with cuts.
func (s *story) try(t *testing.T, dir string, aloud bool, cuts []crashfs.Cut) (e ending) {
	synctest.Test(t, func(t *testing.T) {
		b := newCrashBox(s, s.told.before(cuts[0].Call), dir, crashLog(t, aloud), cuts...)
		e = b.live()
		if made := b.power.Calls(); len(made) > 0 && e.reached {
			e.calls = made
		}
	})
	return e
}

// journalDir is a directory in memory where there is one.
func journalDir(t *testing.T) string {
	t.Helper()
	if dir, err := os.MkdirTemp("/dev/shm", "otad-crash-"); err == nil {
		t.Cleanup(func() { os.RemoveAll(dir) })
		return dir
	}
	return t.TempDir()
}

// states lists every call in every way, then pairs of mishaps: as many, but at
// most pairs, chosen by the seed.
func (t telling) states(pairs int, seed uint64) (singles, doubles [][]crashfs.Cut) {
	for i, call := range t.calls {
		for _, how := range call.Ways {
			n := t.from.made + i + 1
			singles = append(singles, []crashfs.Cut{{Call: n, How: how, Seed: uint64(n)}})
		}
	}
	roll := rand.New(rand.NewPCG(seed, 7))
	for range pairs {
		first := singles[roll.IntN(len(singles))][0]
		first.Seed = roll.Uint64()
		then := crashfs.Cut{Call: first.Call + 1 + roll.IntN(60), How: bothWays[roll.IntN(len(bothWays))], Seed: roll.Uint64()}
		doubles = append(doubles, []crashfs.Cut{first, then})
	}
	return singles, doubles
}

// bothWays are the ways of a second mishap.
var bothWays = []crashfs.How{crashfs.Before, crashfs.Lost, crashfs.Kept, crashfs.Torn512, crashfs.Torn4096, crashfs.Names,
	crashfs.Content, crashfs.Reordered, crashfs.Some, crashfs.EIO, crashfs.EIOKept, crashfs.ENOSPC}
