package agent

import (
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"otad/ota/durable/crashfs"
)

// tally counts what states end in.
type tally struct {
	story          string
	calls          int
	singles, pairs int
	powerOns       int // the most
	kinds          map[string]int
	wrong          int
	took           time.Duration
}

// TestCrash cuts the power, or lets a call fail, at every durable call of every
// story: a sample of it, or all of it when CRASH is "all", or all of one story
// when it is that story's name. CRASH=STORY@CUTS, as a failure prints it, plays
// one state aloud.
func TestCrash(t *testing.T) {
	t.Parallel()
	plan := os.Getenv("CRASH")
	name, cuts, replay := strings.Cut(plan, "@")
	total := tally{story: "all", kinds: map[string]int{}}
	fmt.Fprintf(t.Output(), tableHead, "story", "calls", "single", "double", "boots", "wrong", "seconds", "how it ends")
	for _, s := range stories() {
		if plan != "" && plan != "all" && s.name != name {
			continue
		}
		s.tell(t)
		if replay {
			e := s.try(t, journalDir(t), true, parseCuts(t, cuts))
			t.Logf("%+v", e)
			continue
		}
		singles, doubles := s.told.states(1000, 1)
		if plan == "" {
			singles, doubles = sample(singles, 16), sample(doubles, 4)
		}
		row := s.tryAll(t, singles, doubles)
		row.print(t.Output())
		total.plus(row)
	}
	total.print(t.Output())
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
	sum.powerOns = max(sum.powerOns, e.powerOns)
	first := cuts[0].Call - s.told.from.made - 1
	want := s.told.calls[first].Name
	made := ""
	if at := cuts[0].Call - s.told.before(cuts[0].Call).made - 1; at < len(e.calls) {
		made = e.calls[at].Name
	}
	// What a person asked for is journalled beside what the loop does: which of
	// them comes first differs.
	if len(cuts) == 1 && s.says == "" && anyID.ReplaceAllString(made, "ID") != anyID.ReplaceAllString(want, "ID") {
		e.wrong = append(e.wrong, fmt.Sprintf("call %d is %q, it was %q", cuts[0].Call, made, want))
	}
	// One power cut changes nothing in how it ends. A fault may: a bootloader that
	// cannot count a try makes none.
	powerCut := !cuts[0].How.Fails() && cuts[0].How != crashfs.Rot
	if len(cuts) == 1 && powerCut && len(e.wrong) == 0 && !strings.HasPrefix(e.kind, s.ending) {
		e.wrong = append(e.wrong, fmt.Sprintf("after one power cut it ends %q, not %q", e.kind, s.ending))
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

// The table says what was tried and how it ended, a row for each story.
const (
	tableHead = "%-22s %6s %7s %7s %6s %6s %8s  %s\n"
	tableRow  = "%-22s %6d %7d %7d %6d %6d %8.1f "
)

func (sum *tally) print(out io.Writer) {
	fmt.Fprintf(out, tableRow, sum.story, sum.calls, sum.singles, sum.pairs, sum.powerOns, sum.wrong, sum.took.Seconds())
	for _, kind := range slices.Sorted(maps.Keys(sum.kinds)) {
		fmt.Fprintf(out, " %d %s;", sum.kinds[kind], kind)
	}
	fmt.Fprintln(out)
}

// plus adds another story's.
func (sum *tally) plus(r tally) {
	sum.calls, sum.singles, sum.pairs = sum.calls+r.calls, sum.singles+r.singles, sum.pairs+r.pairs
	sum.powerOns, sum.wrong, sum.took = max(sum.powerOns, r.powerOns), sum.wrong+r.wrong, sum.took+r.took
	for kind, n := range r.kinds {
		sum.kinds[kind] += n
	}
}
