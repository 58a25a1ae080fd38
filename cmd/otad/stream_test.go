package main_test

import (
	"testing"

	"otad/agent/config"
	"otad/cmd/internal/cli"
	"otad/ota"
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
