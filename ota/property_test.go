package ota

import (
	"encoding/json"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
)

// walk feeds events, chosen by the bytes, to a fresh record and checks after
// each what must hold whatever happens in whatever order.
func walk(t *testing.T, choices []byte) {
	t.Helper()
	names := make([]string, 0, len(happenings))
	for name := range happenings {
		names = append(names, name)
	}
	slices.Sort(names)
	r, healthy := Record{Phase: PhaseIdle}, false
	for i, choice := range choices {
		name := names[int(choice)%len(names)]
		before := r
		next, act := Next(r, happenings[name])
		entered := next.Phase != before.Phase
		switch happenings[name].(type) {
		case Healthy, Vouched:
			healthy = healthy || before.Phase == PhaseTrial
		}
		takenBack := before.Phase == PhaseFailed && before.Failure.Code == CodeRejected
		switch {
		case entered && act != Resume(next):
			t.Fatalf("event %d, %s: entering %s asks for %s, a restart for %s", i, name, next.Phase, act, Resume(next))
		case entered && next.Phase == PhaseConfirmed && !healthy:
			t.Fatalf("event %d, %s: confirmed, and never healthy", i, name)
		case before.Phase == PhaseConfirmed && next.Phase == PhaseRolledBack: // the board is the truth
		case takenBack && next.Phase == PhaseTrial: // started all the same: to be given up
			if act != ActReject {
				t.Fatalf("event %d, %s: taken back, and then %s", i, name, act)
			}
		case entered && before.Phase.Ended() && (name != "settled" || next.Phase != PhaseIdle):
			t.Fatalf("event %d, %s: %s became %s", i, name, before.Phase, next.Phase)
		case next.Changes > MaxChanges+3:
			t.Fatalf("event %d, %s: %d changes", i, name, next.Changes)
		case next.Phase == PhaseIdle && next != Record{Phase: PhaseIdle}:
			t.Fatalf("event %d, %s: idle with %+v", i, name, next)
		case (next.Phase == PhaseFailed || next.Phase == PhaseRolledBack) && next.Failure == nil:
			t.Fatalf("event %d, %s: %s without a reason", i, name, next.Phase)
		case next.Phase == PhaseConfirmed && next.Failure != nil:
			t.Fatalf("event %d, %s: confirmed with failure %+v", i, name, next.Failure)
		case next.Phase != PhaseTrial && act == ActConfirm, act == ActConfirm && !next.Healthy:
			t.Fatalf("event %d, %s: confirm asked for in %s", i, name, next.Phase)
		}
		if stored := throughJSON(t, next); !reflect.DeepEqual(stored, next) {
			t.Fatalf("event %d, %s: %+v is %+v after a restart", i, name, next, stored)
		}
		if entered && next.Phase == PhaseIdle {
			healthy = false
		}
		r = next
	}
}

func throughJSON(t *testing.T, r Record) Record {
	t.Helper()
	data, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	var back Record
	if err := json.Unmarshal(data, &back); err != nil {
		t.Fatal(err)
	}
	return back
}

func FuzzNext(f *testing.F) {
	f.Add([]byte("a whole life, or not"))
	f.Fuzz(func(t *testing.T, choices []byte) { walk(t, choices[:min(len(choices), 4096)]) })
}

func TestNextWhateverHappens(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 2))
	for range 30 {
		choices := make([]byte, 500)
		for i := range choices {
			choices[i] = byte(random.IntN(256))
		}
		walk(t, choices)
	}
}

// From wherever the random walk ended, the update can still come to its end.
func TestEveryPhaseCanEnd(t *testing.T) {
	t.Parallel()
	for name, r := range starts() {
		for range 10 {
			switch act := Resume(r); act {
			case ActAskDownload, ActAskInstall:
				r, _ = Next(r, Allowed{})
			case ActDownload:
				r, _ = Next(r, Fetched{File: "f"})
			case ActInstall:
				r, _ = Next(r, Targeted{Slot: "b"})
				r, _ = Next(r, Written{})
			case ActArm:
				r, _ = Next(r, Armed{BootID: "1"})
			case ActAskReboot:
				r, _ = Next(r, Booted{BootID: "2", Slot: "b", Trial: true})
			case ActCheckHealth:
				r, _ = Next(r, Healthy{})
			case ActConfirm:
				r, _ = Next(r, Confirmed{})
			case ActReject:
				r, _ = Next(r, Booted{BootID: "3", Slot: "a"})
			case ActSettle:
				r, _ = Next(r, Settled{})
			case ActNone:
			default:
				t.Fatalf("%s: a restart asks for %s", name, act)
			}
		}
		if r.Phase != PhaseIdle && r.Phase != "" {
			t.Errorf("%s: hangs in %s", name, r.Phase)
		}
	}
}
