package main_test

import (
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"otad/agent/config"
	"otad/board/sim"
	"otad/cmd/internal/cli"
	"otad/ota"
	"otad/ota/durable"
	"otad/transport/download/downloadtest"
)

// streamFaults are those that show as something else when the artifact is read
// while it comes in.
var streamFaults = map[string]want{
	"flipped byte in a cpio size":   {cli.NotTrusted, ota.CodeArtifactHash, "the signed description says", ""},
	"without end":                   {cli.Failed, ota.CodeArtifactDamaged, "after the end of the archive", ""},
	"firmware changes all the time": {cli.Failed, ota.CodeArtifactDamaged, "cannot use artifact", ""}, // it is none
}

// TestStreamFaults are the faults again for an artifact that goes straight into
// the slot. The slot may hold anything then, but the bootloader never starts
// it, the system that runs is as it was, and a good offer installs.
func TestStreamFaults(t *testing.T) {
	t.Parallel()
	for _, f := range faults {
		if f.want.code == ota.CodeNoSpace || f.want.exit == cli.BadConfig {
			continue // there is none to want; the settings are read before
		}
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.config.Download.Mode = config.ModeStreamed
			w.configure()
			f.setup(w)
			before := w.condition()
			if differs, ok := streamFaults[f.name]; ok {
				f.want = differs
			}
			r := w.otad("upgrade", "--yes", "--json")
			w.wantFault(r, f.want)
			w.restore()
			w.wantUnarmed(before)
			if s := w.status(); s.Last != nil && (s.Last.Failure == nil || s.Last.Failure.Code != f.want.code) {
				t.Errorf("the last update is %+v, failure %+v, want code %s", s.Last, s.Last.Failure, f.want.code)
			}
			w.wantInstalls()
		})
	}
}

// wantUnarmed checks that a failed update changed nothing but, perhaps, the
// idle slot, which cannot be started then.
func (w *world) wantUnarmed(before condition) {
	w.Helper()
	after := w.condition()
	if after.slots[0] != before.slots[0] {
		w.Error("the running system was changed")
	}
	if after.boot.Next != "a" || after.boot.Slot != "a" || after.boot.Trial {
		w.Errorf("the bootloader says %+v", after.boot)
	}
	if after.slots[1] != before.slots[1] && after.boot.Fallback != "" {
		w.Errorf("the bootloader may start slot %q, which was written", after.boot.Fallback)
	}
	if reason := w.rebootWanted(); reason != "" {
		w.Errorf("otad asks for a restart: %s", reason)
	}
	if left := w.staged(); len(left) > 0 {
		w.Errorf("left in staging: %q", left)
	}
}

const (
	streamKills = 20
	// A kill costs at most what came since the last mark: its distance, the block
	// that is being filled, and the head of the artifact again.
	streamAgain = checkpoint + 1<<20 + 512<<10
)

// TestStreamKilledAgain kills otad with SIGKILL at random instants of a
// streamed update. After each kill the bootloader would start the old system,
// until the slot is whole; the box ends with version 2 confirmed.
func TestStreamKilledAgain(t *testing.T) {
	t.Parallel()
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	s := newSite(t)
	b := newBoxOf(t, s, 12<<20, func(c *config.Config) {
		c.Download.Mode, c.Download.Checkpoint = config.ModeStreamed, checkpoint
		c.Policy.CheckEvery = config.Duration(20 * time.Millisecond)
	})
	two := system{code: 2, bytes: killImageBytes}
	file := s.release(t, two)
	artifact := int64(len(two.artifact(t)))
	file.Set(downloadtest.Faults{Rate: slow})
	var hits []string
	kills := int64(0)
	for range streamKills {
		phase := b.killAfter(100*time.Millisecond + time.Duration(random.Int64N(int64(900*time.Millisecond))))
		hits = append(hits, phase)
		kills++
		if phase != string(ota.PhaseInstalling) {
			continue
		}
		driver, err := sim.Open(durable.OS, b.path("board"))
		must(t, err)
		boot, err := driver.Current(t.Context())
		must(t, err)
		if boot.Slot == "a" && (boot.Next != "a" || boot.Fallback != "") && !b.holds("b", two.image()) {
			t.Errorf("the slot is not whole, and the bootloader says %+v", boot)
		}
	}
	t.Logf("killed in %s", strings.Join(hits, " "))
	file.Set(downloadtest.Faults{Rate: fast})
	last, service := b.live(ended(2))
	service.stop().want(0)
	if last.Last.Result != ota.PhaseConfirmed || last.Version.Code != 2 || !b.holds("b", two.image()) {
		t.Errorf("ended with %+v, failure %+v; runs %+v in slot %s", last.Last, last.Last.Failure, last.Version, last.Slot)
	}
	again := file.Stats().BytesServed - artifact
	t.Logf("%d bytes fetched again in %d kills: %.2f of a checkpoint for each", again, kills, float64(again)/checkpoint/float64(kills))
	if again > kills*streamAgain {
		t.Errorf("%d bytes were fetched again, more than %d for each kill", again, int64(streamAgain))
	}
	if left := b.staged(); len(left) > 0 {
		t.Errorf("left in staging: %q", left)
	}
}
