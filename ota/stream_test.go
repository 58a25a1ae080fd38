package ota

import (
	"errors"
	"testing"
)

// A streamed update is allowed twice before it begins, forgets its faults with
// each mark, and believes its marks only as long as the medium bears them out.
func TestStreamedUpdate(t *testing.T) {
	t.Parallel()
	r := Record{ID: "u1", Phase: PhaseDownloading, Offer: Offer{URL: "http://h/2.swu"}, Attempts: 3, Download: Checkpoint{SyncedBytes: 5, Changes: 1}}
	r, act := Next(r, Unstaged{})
	if !r.Streamed || r.Phase != PhaseDownloaded || act != ActAskInstall || r.Download != (Checkpoint{Changes: 1}) {
		t.Fatalf("unstaged: %+v, %s", r, act)
	}
	if declined, act := Next(Record{Phase: PhaseDownloading, Consent: ConsentDeclined}, Unstaged{}); declined.Phase != PhaseFailed || act != ActSettle {
		t.Errorf("declined meanwhile: %+v, %s", declined, act)
	}
	if r, act = Next(r, Allowed{}); r.Phase != PhaseInstalling || act != ActInstall {
		t.Fatalf("allowed: %+v, %s", r, act)
	}
	r, _ = Next(r, Targeted{Slot: "b"})
	broke := Failed{NewTransient(CodeDownloadNetwork, errors.New("the line broke"))}
	r, act = Next(r, broke)
	if r.Attempts != 1 || act != ActInstall {
		t.Fatalf("broken: %+v, %s", r, act)
	}
	point := StreamPoint{Entry: "rootfs", PlainBytes: 7}
	r, _ = Next(r, Landed{Checkpoint: Checkpoint{SyncedBytes: 9, Validator: "v"}, Point: point, Image: Image{SHA256: "ab"}})
	if r.Attempts != 0 || r.Stream != point || r.Download.SyncedBytes != 9 {
		t.Fatalf("landed: %+v", r)
	}
	r, _ = Next(r, broke)
	if again, _ := Next(r, Landed{Checkpoint: Checkpoint{Changes: 2}}); again.Attempts != 1 || again.Stream != (StreamPoint{}) {
		t.Errorf("withdrawn: %+v", again)
	}
	worn, act := Next(r, Failed{NewTransient(CodeReadback, errors.New("worn out"))})
	if worn.Stream != (StreamPoint{}) || worn.Image != (Image{}) || worn.Download.SyncedBytes != 0 || act != ActInstall {
		t.Errorf("read back: %+v, %s", worn, act)
	}
	if done, act := Next(r, Written{Image: Image{SHA256: "cd"}}); done.Phase != PhaseInstalled || act != ActArm || done.Stream != (StreamPoint{}) {
		t.Errorf("written: %+v, %s", done, act)
	}
	for n := range MaxAttempts {
		r, act = Next(r, broke)
		if ended := n >= MaxAttempts-2; ended != (r.Phase == PhaseFailed) && n < MaxAttempts-2 {
			t.Fatalf("fault %d: %s, %s", n, r.Phase, act)
		}
	}
	if r.Phase != PhaseFailed {
		t.Errorf("it goes on for ever: %+v", r)
	}
}
