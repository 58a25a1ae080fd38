package main

import (
	"context"
	"fmt"
	"os"
	"slices"
	"time"

	"otad/agent/config"
	"otad/ota"
	"otad/transport/download/downloadtest"
)

// update is the good case: the download of 2 is killed half-way and resumes,
// 2 is installed, tried and kept.
func (s *story) update(ctx context.Context) error {
	started := time.Now()
	file, err := s.publish(2)
	if err != nil {
		return err
	}
	info, err := os.Stat(s.artifactOf(2))
	if err != nil {
		return err
	}
	file.Set(downloadtest.Faults{Rate: info.Size() / int64(watchTime.Seconds())})
	err = s.subscriber.until(ctx, stepLimit, "the download of 2 half-way", func(v sight) bool {
		return v.progress.Phase == ota.PhaseDownloading && v.progress.Percent >= 50
	})
	if err != nil {
		return err
	}
	before := s.subscriber.sight()
	if t := before.progress.Transfer; t != nil {
		s.did(fmt.Sprintf("kill -9 otad, %.1f MiB in", mib(t.DoneBytes)))
	}
	s.box.KillAgent()
	killed := time.Now()
	err = s.subscriber.until(ctx, stepLimit, "the box gone and back", func(v sight) bool {
		return v.wills > before.wills && v.state.Online
	})
	if err != nil {
		return err
	}
	s.that(true, "the kill was seen", "last will, and online again after %.1f s", time.Since(killed).Seconds())
	o, err := s.subscriber.outcome(ctx, stepLimit, 2)
	if err != nil {
		return err
	}
	if err := s.settled(ctx, 2); err != nil {
		return err
	}
	s.checkResumed(file.Stats(), info.Size())
	s.that(o.Result == ota.PhaseConfirmed, "2 is confirmed", "%s after %.1f s", o.Result, time.Since(started).Seconds())
	s.slotHolds("b", 2)
	s.slotHolds("a", 1)
	s.runs("2 stays", "b")
	want := []ota.Phase{ota.PhaseOffered, ota.PhaseDownloading, ota.PhaseDownloaded, ota.PhaseInstalling,
		ota.PhaseInstalled, ota.PhaseArmed, ota.PhaseTrial, ota.PhaseConfirmed}
	got := s.subscriber.phasesOf(o.ID)
	s.that(slices.Equal(got, want), "every phase was told", "%d phases in order over MQTT", len(got))
	return nil
}

// checkResumed holds the resumed download to its promise: what was fetched
// twice is at most a checkpoint, and what lay in the buffers of the connection
// that was killed.
func (s *story) checkResumed(stats downloadtest.Stats, sizeBytes int64) {
	const buffers = 8 << 20
	checkpoint := int64(config.Default().Download.Checkpoint)
	twice := stats.BytesServed - sizeBytes
	resumed := stats.Offsets[len(stats.Offsets)-1]
	s.that(len(stats.Offsets) == 2 && resumed > 0, "download resumed after SIGKILL",
		"%d requests, the second one from %.1f MiB on", len(stats.Offsets), mib(resumed))
	s.that(twice >= 0 && twice <= checkpoint+buffers, "at most one checkpoint fetched twice",
		"%.1f MiB served for %.1f MiB, %.1f MiB twice", mib(stats.BytesServed), mib(sizeBytes), mib(twice))
}

// rollBack: 3 is tried, fails its own health check and gives up its slot.
func (s *story) rollBack(ctx context.Context) error {
	boots := len(s.bootsSince(0))
	if _, err := s.publish(3); err != nil {
		return err
	}
	o, err := s.subscriber.outcome(ctx, stepLimit, 3)
	if err != nil {
		return err
	}
	if err := s.settled(ctx, 2); err != nil {
		return err
	}
	s.that(o.Result == ota.PhaseRolledBack && codeOf(o) == ota.CodeUnhealthy, "3 is rolled back", "%s", textOf(o))
	s.slotHolds("a", 3)
	got := s.bootsSince(boots)
	s.that(slices.Equal(got, []string{"a", "b"}), "3 was tried once", "the bootloader started slots %v", got)
	s.runs("2 is back", "b")
	return s.checkNotTriedAgain(ctx)
}

// checkNotTriedAgain waits until the box has asked twice more.
func (s *story) checkNotTriedAgain(ctx context.Context) error {
	asked := len(s.server.API.Requests())
	boots := len(s.bootsSince(0))
	for len(s.server.API.Requests()) < asked+2 {
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	phase := s.subscriber.sight().state.Phase
	s.that(phase == ota.PhaseIdle && len(s.bootsSince(boots)) == 0, "3 is not tried again",
		"offered twice more, left alone")
	return nil
}

// refuse: 4 is fetched, found out and dropped before anything was touched.
func (s *story) refuse(ctx context.Context) error {
	slots, err := s.slotsPrint()
	if err != nil {
		return err
	}
	before := s.runs("2 runs before", "b")
	if _, err := s.publish(4); err != nil {
		return err
	}
	o, err := s.subscriber.outcome(ctx, stepLimit, 4)
	if err != nil {
		return err
	}
	if err := s.settled(ctx, 2); err != nil {
		return err
	}
	s.that(o.Result == ota.PhaseFailed && codeOf(o) == ota.CodeArtifactHash, "4 is refused", "%s", textOf(o))
	after, err := s.slotsPrint()
	if err != nil {
		return err
	}
	s.that(after == slots, "slots are untouched", "both the same by SHA-256")
	s.that(s.runs("2 runs after", "b") == before, "no reboot for 4", "still boot %s", before.ID)
	return nil
}

func (s *story) slotsPrint() (string, error) {
	a, err := s.box.SlotPath("a")
	if err != nil {
		return "", err
	}
	b, err := s.box.SlotPath("b")
	if err != nil {
		return "", err
	}
	return fingerprint(a, b)
}

func codeOf(o ota.Outcome) ota.Code {
	if o.Failure == nil {
		return ""
	}
	return o.Failure.Code
}

func textOf(o ota.Outcome) string {
	if o.Failure == nil {
		return fmt.Sprintf("%s, and nobody said why", o.Result)
	}
	return fmt.Sprintf("%s, %s: %s", o.Result, o.Failure.Code, o.Failure.Text)
}
