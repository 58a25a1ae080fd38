package control

import (
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"otad/ota"
)

// The page says for each phase what becomes of a command: every phase in which
// one can come is there, and `cancel` does what ota.Next does.
func TestPageOnCommandsDuringAnUpdate(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../docs/mqtt.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, ok := strings.Cut(string(page), "### While an update is under way")
	if !ok {
		t.Fatal("the page has no such table")
	}
	table, _, _ = strings.Cut(table, "###")
	rows := map[ota.Phase]string{} // phase → what cancel does
	for line := range strings.Lines(table) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		if phase := ota.Phase(strings.TrimSpace(cells[0])); slices.Contains(ota.Phases, phase) {
			rows[phase] = strings.TrimSpace(cells[len(cells)-1])
		}
	}
	for _, phase := range ota.Phases {
		if phase.Ended() { // settled in the same breath
			continue
		}
		want := "refused: `busy`"
		next, _ := ota.Next(ota.Record{ID: "u", Phase: phase}, ota.Cancelled{By: "test"})
		switch {
		case phase == ota.PhaseIdle:
			want = "refused: `nothing`"
		case next.Phase != phase:
			want = "ends it"
		}
		if rows[phase] != want {
			t.Errorf("%s: the page says that cancel is %q, want %q", phase, rows[phase], want)
		}
	}
	// Every verb that comes over MQTT has its row, and no other has.
	described := map[string]bool{}
	for line := range strings.Lines(string(page)) {
		if verb, _, ok := strings.Cut(strings.TrimPrefix(line, "| `"), "` |"); ok && allowed[verb] != (Args{}) || ok && remote[verb] {
			described[verb] = true
		}
	}
	if !maps.Equal(described, remote) {
		t.Errorf("the page describes %v, want %v", described, remote)
	}
}
