package agent

import (
	"os"
	"path/filepath"
	"testing"

	"otad/agent/control"
	"otad/agent/report"
	"otad/ota"
	"otad/ota/durable"
)

// The floor is there as long as one of its two copies is, and the other one is
// made good.
func TestFloorIsKeptTwice(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		mishap func(b *testBox)
		want   string
	}{
		{"nothing", func(*testBox) {}, "5"},
		{"the journal is lost", func(b *testBox) { must(b.t, os.Remove(b.state("journal.db"))) }, "5"},
		{"the journal is damaged", func(b *testBox) { b.put("journal.db", "noise") }, "5"},
		{"the file is lost", func(b *testBox) { must(b.t, os.Remove(b.state(floorFile))) }, "5"},
		{"the file is damaged", func(b *testBox) { b.put(floorFile, "9\n00000000\n") }, "5"},
		{"the file is empty", func(b *testBox) { b.put(floorFile, "") }, "5"},
		{"the file is behind", func(b *testBox) { b.put(floorFile, string(floorText("4"))) }, "5"},
		{"the file is ahead", func(b *testBox) { b.put(floorFile, string(floorText("6"))) }, "6"},
		{"both are lost", func(b *testBox) {
			must(b.t, os.Remove(b.state("journal.db")))
			must(b.t, os.Remove(b.state(floorFile)))
		}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			b := newTestBox(t)
			old := b.publish(system{code: 2, health: "exit 0"})
			artifact := filepath.Join(b.dir, "old.swu")
			must(t, os.WriteFile(artifact, b.server.files[old.URL], 0o644))
			b.publish(system{code: 5, health: "exit 0"})
			b.live(ended(5))
			c.mishap(b)
			a := b.starting()
			if s := wait(t, a, "idle", phase(ota.PhaseIdle)); s.Floor != c.want && wait(t, a, "shown", func(s report.State) bool { return s.Floor == c.want }).Floor != c.want {
				t.Errorf("floor %q, want %q", s.Floor, c.want)
			}
			if c.want == "" {
				return
			}
			if r := do(t, a, control.Request{Verb: control.Install, Args: control.Args{Source: artifact}}); !r.OK {
				t.Fatalf("install: %+v", r)
			}
			s := wait(t, a, "over", func(s report.State) bool { return s.Last != nil && s.Last.Offer.File == artifact })
			if s.Last.Failure == nil || s.Last.Failure.Code != ota.CodeBelowFloor {
				t.Errorf("an older version is taken: %+v", s.Last)
			}
			if kept, err := ReadFloor(durable.OS, b.config.State.Dir); kept != c.want || err != nil {
				t.Errorf("the file says %q, %v; want %q", kept, err, c.want)
			}
			if state, err := a.Journal.Load(); err != nil || state.Box.Floor != c.want {
				t.Errorf("the journal says %q, %v; want %q", state.Box.Floor, err, c.want)
			}
		})
	}
}

func (b *testBox) state(name string) string { return filepath.Join(b.config.State.Dir, name) }

func (b *testBox) put(name, content string) {
	b.t.Helper()
	must(b.t, os.WriteFile(b.state(name), []byte(content), 0o644))
}
