package agent

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"otad/board"
	"otad/ota"
	"otad/ota/durable"
	"otad/ota/durable/crashfs"
)

// story is a complete life of an update on a box.
type story struct {
	name   string
	offer  int64 // the version that the server has
	sick   int64 // the version that starts and is not healthy, 0 for none
	dead   int64 // the version that never comes up, 0 for none
	ending string
	from   func(t *testing.T) snapshot
	once   sync.Once
	told   telling

	// In place of what is right, for tests of the test; nil for nothing.
	wrongFS    func(durable.FS) durable.FS
	wrongBoard func(crashBoard) board.Board
}

func (s *story) healthy(code int64) bool { return code != s.sick }
func (s *story) starts(code int64) bool  { return code != s.dead }

func (s *story) fs(fsys durable.FS) durable.FS {
	if s.wrongFS != nil {
		return s.wrongFS(fsys)
	}
	return fsys
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
	return []*story{
		first, next, sick, dead,
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
	if e := s.told.ending; s.wrongFS == nil && s.wrongBoard == nil && (e.kind != s.ending || len(e.wrong) > 0) {
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

// tally counts what states end in.
type tally struct {
	story          string
	calls          int
	singles, pairs int
	recovered      int
	powerOns       int // the most
	kinds          map[string]int
	wrong          int
	took           time.Duration
}

// TestCrash cuts the power, or lets a call fail, at every durable call of every
// story: a sample of it, or all of it when CRASH is "all". CRASH=STORY@CUTS,
// as a failure prints it, plays one state aloud.
func TestCrash(t *testing.T) {
	plan := os.Getenv("CRASH")
	name, cuts, replay := strings.Cut(plan, "@")
	var rows []tally
	for _, s := range stories() {
		if replay && s.name != name {
			continue
		}
		s.tell(t)
		if replay {
			e := s.try(t, journalDir(t), true, parseCuts(t, cuts))
			t.Logf("%+v", e)
			continue
		}
		singles, doubles := s.told.states(2000, 1)
		if plan != "all" {
			singles, doubles = sample(singles, 90), sample(doubles, 30)
		}
		rows = append(rows, s.tryAll(t, singles, doubles))
	}
	if !replay {
		printTable(t, rows)
	}
}

// sample chooses n states, always the same ones.
func sample(states [][]crashfs.Cut, n int) [][]crashfs.Cut {
	roll := rand.New(rand.NewPCG(uint64(len(states)), 3))
	roll.Shuffle(len(states), func(i, j int) { states[i], states[j] = states[j], states[i] })
	return states[:min(n, len(states))]
}

// tryAll tries states on every processor there is.
func (s *story) tryAll(t *testing.T, singles, doubles [][]crashfs.Cut) tally {
	t.Helper()
	began := time.Now()
	all := slices.Concat(singles, doubles)
	sum := tally{story: s.name, calls: len(s.told.calls), singles: len(singles), pairs: len(doubles), kinds: map[string]int{}}
	var mu sync.Mutex
	var workers sync.WaitGroup
	next := 0
	take := func() []crashfs.Cut {
		mu.Lock()
		defer mu.Unlock()
		if next == len(all) || sum.wrong > 20 {
			return nil
		}
		next++
		return all[next-1]
	}
	for range runtime.GOMAXPROCS(0) {
		dir := journalDir(t)
		workers.Go(func() {
			for cuts := take(); cuts != nil; cuts = take() {
				e := s.try(t, dir, false, cuts)
				mu.Lock()
				sum.add(t, s, cuts, e)
				mu.Unlock()
			}
		})
	}
	workers.Wait()
	sum.took = time.Since(began)
	return sum
}

// anyID is the id of an update, which is another one in every life.
var anyID = regexp.MustCompile(`[A-Z2-7]{12}`)

func (sum *tally) add(t *testing.T, s *story, cuts []crashfs.Cut, e ending) {
	sum.kinds[e.kind]++
	sum.recovered += min(1, e.recovered)
	sum.powerOns = max(sum.powerOns, e.powerOns)
	first := cuts[0].Call - s.told.from.made - 1
	want := s.told.calls[first].Name
	made := ""
	if at := cuts[0].Call - s.told.before(cuts[0].Call).made - 1; at < len(e.calls) {
		made = e.calls[at].Name
	}
	if len(cuts) == 1 && anyID.ReplaceAllString(made, "ID") != anyID.ReplaceAllString(want, "ID") {
		e.wrong = append(e.wrong, fmt.Sprintf("call %d is %q, it was %q", cuts[0].Call, made, want))
	}
	if len(e.wrong) == 0 {
		return
	}
	sum.wrong++
	t.Errorf("after %q: %s\n\treplay: CRASH=%s@%s go test -v -run TestCrash ./agent", want, strings.Join(e.wrong, "; "), s.name, formatCuts(cuts))
}

func formatCuts(cuts []crashfs.Cut) string {
	parts := make([]string, len(cuts))
	for i, c := range cuts {
		parts[i] = c.String()
	}
	return strings.Join(parts, ",")
}

func parseCuts(t *testing.T, text string) (cuts []crashfs.Cut) {
	t.Helper()
	for part := range strings.SplitSeq(text, ",") {
		fields := strings.Split(part, ":")
		var c crashfs.Cut
		if len(fields) == 3 {
			c.How = crashfs.How(fields[1])
			_, err := fmt.Sscan(fields[0]+" "+fields[2], &c.Call, &c.Seed)
			must(t, err)
		}
		if c.Call == 0 {
			t.Fatalf("bad cut %q: want CALL:HOW:SEED", part)
		}
		cuts = append(cuts, c)
	}
	return cuts
}

// printTable says what was tried and how it ended.
func printTable(t *testing.T, rows []tally) {
	var out strings.Builder
	fmt.Fprintf(&out, "\n%-22s %6s %7s %7s %6s %6s %8s  %s\n", "story", "calls", "single", "double", "boots", "wrong", "seconds", "how it ends")
	total := tally{story: "all", kinds: map[string]int{}}
	line := func(r tally) {
		fmt.Fprintf(&out, "%-22s %6d %7d %7d %6d %6d %8.1f ", r.story, r.calls, r.singles, r.pairs, r.powerOns, r.wrong, r.took.Seconds())
		for _, kind := range slices.Sorted(maps.Keys(r.kinds)) {
			fmt.Fprintf(&out, " %d %s;", r.kinds[kind], kind)
		}
		fmt.Fprintln(&out)
	}
	for _, r := range rows {
		line(r)
		total.calls, total.singles, total.pairs = total.calls+r.calls, total.singles+r.singles, total.pairs+r.pairs
		total.powerOns, total.wrong, total.took = max(total.powerOns, r.powerOns), total.wrong+r.wrong, total.took+r.took
		for kind, n := range r.kinds {
			total.kinds[kind] += n
		}
	}
	line(total)
	fmt.Fprint(t.Output(), out.String())
}
