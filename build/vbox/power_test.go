package vbox

import (
	"cmp"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"otad/agent/report"
	"otad/ota"
	"otad/transport"
)

// TestPowerCuts logs every write of a whole update, from power on to the
// confirmed new system, those of U-Boot included. Then it cuts the power at
// instants that are spread over the log, loses what a drive's cache may lose,
// boots what is left, and wants the update to end as if nothing had happened. In
// a short run most boxes are believed once the old system has the whole update
// again; each [throughout]-th goes all the way. E2E_POWERCUTS says how many
// instants for each box.
func TestPowerCuts(t *testing.T) {
	if parts == "" {
		t.Skip("E2E does not name the boxes' directory: `make e2e` does")
	}
	cuts, err := strconv.Atoi(cmp.Or(os.Getenv("E2E_POWERCUTS"), "10"))
	if err != nil {
		t.Fatal(err)
	}
	t.Parallel()
	for _, arch := range architectures {
		if !wanted(arch) {
			continue
		}
		t.Run(arch, func(t *testing.T) {
			t.Parallel()
			powerCuts(t, arch, cuts)
		})
	}
}

// throughout is which power cuts of a short run go all the way.
const throughout = 25

// powerCuts does all that for boxes of one architecture.
func powerCuts(t *testing.T, arch string, cuts int) {
	var log *writeLog
	var base string
	onMachine(t, arch, setup{runs: 1}, func(r *rig) {
		log, base = record(r)
		r.enter("PowerCuts: the update")
		lookOver(r, log, base)
	})
	lines := newTally(t, arch)
	for i := range cuts {
		n := 1 + i*(len(log.writes)-1)/max(1, cuts-1)
		how := losses[i%len(losses)]
		t.Run(fmt.Sprintf("%d of %d %s", n, len(log.writes), how), func(t *testing.T) {
			t.Parallel()
			onMachine(t, arch, setup{runs: 1}, func(r *rig) {
				r.must(copyDisk(base, r.diskFile()))
				r.must(log.replay(r.diskFile(), n, how))
				r.publish(2, r.artifact("2"))
				r.on()
				confirmed := settled(r, short && i%throughout != 0)
				r.cut()
				r.sound()
				lines.add(r, how, confirmed)
				fmt.Printf("power cuts, %s: after write %d, %s: %d boots, confirmed %t, failed %t, %.0f s of a core\n",
					arch, n, how, r.boots, confirmed, t.Failed(), r.spent.Seconds())
			})
		})
	}
}

// lookOver wants every state of the disk in the log to be good, and those of an
// agent that forgets to flush to be found out.
func lookOver(r *rig, log *writeLog, base string) {
	r.t.Helper()
	states, bad := sweep(r, log, base)
	for _, text := range bad {
		r.t.Error(text)
	}
	fmt.Printf("power cuts, %s: %d writes, %d states of the disk looked at, %d bad\n", r.arch, len(log.writes), states, len(bad))
	if _, bad := sweep(r, forgetful(r, log), base); len(bad) == 0 {
		r.t.Error("an agent that does not flush the slot before it arms it is not caught")
	}
}

// tally adds power cuts up, to a line for each loss.
type tally struct {
	mu   sync.Mutex
	rows map[loss]*row
}

// newTally makes one that is entered when t is at its end.
func newTally(t *testing.T, arch string) *tally {
	all := &tally{rows: map[loss]*row{}}
	for _, how := range losses {
		all.rows[how] = &row{scenario: "PowerCuts: " + string(how), arch: arch}
	}
	t.Cleanup(func() {
		for _, how := range losses {
			s := all.rows[how]
			s.scenario += fmt.Sprintf(", %d instants, %d to the end, at most %d boots", s.cuts, s.confirmed, s.most)
			enter(t, *s)
		}
	})
	return all
}

func (a *tally) add(r *rig, how loss, confirmed bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	s := a.rows[how]
	if s.cuts++; confirmed {
		s.confirmed++
	}
	s.boots, s.most = s.boots+r.boots, max(s.most, r.boots)
	s.took, s.spent = s.took+time.Since(r.began), s.spent+r.spent
}

// record updates the box from 1 to 2 and returns the log of its writes, and the
// disk as it was before.
func record(r *rig) (log *writeLog, base string) {
	r.t.Helper()
	base = filepath.Join(r.dir, "base.img")
	r.must(copyDisk(r.diskFile(), base))
	file := filepath.Join(r.dir, "writes")
	r.must(os.WriteFile(file, nil, 0o644))
	r.block = withLog(r.diskFile(), file)
	r.publish(2, r.artifact("2"))
	r.on()
	settled(r, false)
	r.rests("B", "2")
	log, err := readLog(file)
	r.must(err)
	if len(log.writes) < 100 {
		r.t.Fatalf("only %d writes were logged", len(log.writes))
	}
	return log, base
}

// settled waits until the box says of itself that it runs 2 for good. With
// halfway it is also content with a box that runs 1 for good and has the whole
// artifact of 2, checked.
func settled(r *rig, halfway bool) (confirmed bool) {
	r.t.Helper()
	_, err := r.view.Wait(r.ctx, func(m transport.Message) bool {
		var s report.State
		if !strings.HasSuffix(m.Topic, "/state") || json.Unmarshal(m.Payload, &s) != nil || s.Trial {
			return false
		}
		confirmed = s.Version.Code == 2 && s.Phase == ota.PhaseIdle && s.Last != nil && s.Last.Result == ota.PhaseConfirmed
		retries := s.Version.Code == 1 && s.Phase == ota.PhaseInstalling && s.Update != nil && s.Update.To.Code == 2
		return confirmed || halfway && retries
	})
	r.must(err)
	return confirmed
}

// sound wants a box that is off to have a good environment, and what that
// starts to be whole.
func (r *rig) sound() {
	r.t.Helper()
	env, err := environment(r.diskFile(), r.disk["env"])
	r.must(err)
	whole, err := holds(r.diskFile(), r.disk["slot"+env["slot"]], r.image(map[string]string{"A": "1", "B": "2"}[env["slot"]]))
	r.must(err)
	if !whole {
		r.t.Errorf("slot %s is chosen (%v) and is not whole", env["slot"], env)
	}
}
