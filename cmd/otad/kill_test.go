package main_test

import (
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"time"

	"otad/agent/config"
	"otad/ota"
	"otad/transport/download/downloadtest"
)

const (
	kills          = 50
	checkpoint     = 1 << 20
	killImageBytes = 10<<20 + 12345

	// The host is slow until so many kills are spent, so that they fall while
	// the artifact comes in, however fast the machine is.
	downloadKills = 30
	slow, fast    = 3 << 20, 16 << 20 // bytes a second
	// The health check waits for the last so many.
	trialKills = 8
)

// TestKilledAgain kills otad with SIGKILL at 50 random instants of one update,
// and starts it again as init does. The box ends with version 2 confirmed, and
// no kill cost more than one checkpoint.
//
// The instants are random, counted from the start of each process, in spans
// that suit what is going on.
func TestKilledAgain(t *testing.T) {
	t.Parallel()
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))

	s := newSite(t)
	b := newBoxOf(t, s, 12<<20, func(c *config.Config) {
		c.Download.Checkpoint = checkpoint
		c.Policy.CheckEvery = config.Duration(20 * time.Millisecond)
	})
	two := system{code: 2, bytes: killImageBytes, health: "while [ ! -e " + b.path("healthy") + " ]; do sleep 0.02; done"}
	file := s.release(t, two)
	artifact := int64(len(two.artifact(t)))
	file.Set(downloadtest.Faults{Rate: slow})

	var hits []string
	for n := range kills {
		from, span := time.Duration(0), 700*time.Millisecond
		switch {
		case n == downloadKills:
			file.Set(downloadtest.Faults{Rate: fast})
			fallthrough
		case n >= downloadKills && n < kills-trialKills:
			span = 250 * time.Millisecond // an install takes no longer
		case n >= kills-trialKills:
			from = 300 * time.Millisecond
		case n%4 == 0:
			span = 100 * time.Millisecond // while it starts
		}
		hits = append(hits, b.killAfter(from+time.Duration(random.Int64N(int64(span)))))
	}
	t.Logf("killed in %s", strings.Join(hits, " "))

	must(t, os.WriteFile(b.path("healthy"), nil, 0o644))
	last, service := b.live(ended(2))
	service.stop().want(0)
	if last.Last.Result != ota.PhaseConfirmed || last.Version.Code != 2 || last.Slot != "b" || last.Trial {
		t.Errorf("ended with %+v, failure %+v; runs %+v in slot %s", last.Last, last.Last.Failure, last.Version, last.Slot)
	}
	if !b.holds("b", two.image()) {
		t.Error("slot b does not hold the image")
	}
	if c := b.condition(); c.boot.Next != "b" || c.boot.Trial {
		t.Errorf("the bootloader says %+v", c.boot)
	}
	if list := b.history(); len(list) != 1 {
		t.Errorf("one update has %d outcomes: %+v", len(list), list)
	}
	wantFrugal(t, file.Stats(), artifact)
}

// killAfter starts otad, kills it after delay and tells in which phase that
// was. A box that wanted to restart until then is booted.
func (b *box) killAfter(delay time.Duration) (phase string) {
	b.t.Helper()
	s := b.start()
	timer := time.NewTimer(delay)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
			s.kill()
			if b.rebootWanted() != "" { // it was about to end
				b.boot()
			}
			return phaseOf(s.log.String())
		case <-s.ended:
			if b.rebootWanted() == "" {
				b.t.Fatalf("otad run ended by itself with %d:\n%s", s.result.code, s.log.String())
			}
			b.boot()
			s = b.start()
		}
	}
}

// phaseOf finds the last phase that a log tells of.
func phaseOf(log string) string {
	_, after, found := strings.Cut(log[max(0, strings.LastIndex(log, " phase=")):], " phase=")
	if !found {
		return "starting"
	}
	return strings.FieldsFunc(after, func(r rune) bool { return r <= ' ' })[0]
}

// wantFrugal holds what was fetched to one checkpoint for each kill.
func wantFrugal(t *testing.T, got downloadtest.Stats, artifact int64) {
	t.Helper()
	again := got.BytesServed - artifact
	t.Logf("%d bytes in %d answers, %d of them again: %.2f of a checkpoint for each", got.BytesServed, len(got.Offsets), again,
		float64(again)/checkpoint/float64(max(1, len(got.Offsets)-1)))
	if limit := int64(max(0, len(got.Offsets)-1)) * checkpoint; again > limit {
		t.Errorf("%d bytes were fetched again, more than one checkpoint for each of %d resumes", again, len(got.Offsets)-1)
	}
	for i := 1; i < len(got.Offsets); i++ {
		if got.Offsets[i] < got.Offsets[i-1] {
			t.Errorf("answers began at %d: a resume went back behind an earlier one", got.Offsets)
			break
		}
	}
}
