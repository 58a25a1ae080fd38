package hooks

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"otad/board"
)

// powersOf are those of the hooks in testdata/powers.
func powersOf(t *testing.T, dir string) *Powers {
	t.Helper()
	dir, err := filepath.Abs(dir)
	if err != nil {
		t.Fatal(err)
	}
	p, err := OpenPowers(Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestPowers(t *testing.T) {
	t.Parallel()
	p := powersOf(t, "testdata/powers")
	use, err := p.Usage(t.Context())
	if want := (board.Usage{Busy: "casting", TimerIn: 20 * time.Minute}); use != want || err != nil {
		t.Errorf("usage %+v, %v", use, err)
	}
	if reason, err := p.Ready(t.Context()); reason != "battery at 9 %" || err != nil {
		t.Errorf("ready: %q, %v", reason, err)
	}
	if metered, err := p.Metered(t.Context()); !metered || err != nil {
		t.Errorf("metered: %v, %v", metered, err)
	}
	answer, err := p.Prompt(t.Context(), board.Question{Update: "u", Version: "2.0", Text: "\"Faster\"", Within: time.Minute, MayDefer: true, MayStop: true})
	if want := (board.Answer{Choice: board.ChoiceDefer, For: 2 * time.Hour}); answer != want || err != nil {
		t.Errorf("prompt: %+v, %v", answer, err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := p.Prompt(ctx, board.Question{Update: "nobody", Within: time.Minute}); err == nil || ctx.Err() == nil {
		t.Errorf("a prompt without an answer: %v", err)
	}
	// What it says comes back as its complaint.
	err = p.Display(t.Context(), board.Screen{Phase: "installing", Stage: "write", Percent: 40, Text: "waits"})
	if err == nil || !strings.Contains(err.Error(), `"phase":"installing","stage":"write","percent":40,"wait":"waits"`) {
		t.Errorf("display: %v", err)
	}
}

// Without the hooks nothing is known, and nothing fails.
func TestNoPowers(t *testing.T) {
	t.Parallel()
	p := powersOf(t, t.TempDir())
	use, err := p.Usage(t.Context())
	if use != (board.Usage{}) || err != nil {
		t.Errorf("usage %+v, %v", use, err)
	}
	if reason, err := p.Ready(t.Context()); reason != "" || err != nil {
		t.Errorf("ready: %q, %v", reason, err)
	}
	if answer, err := p.Prompt(t.Context(), board.Question{}); answer != (board.Answer{}) || err != nil {
		t.Errorf("prompt: %+v, %v", answer, err)
	}
	if err := p.Display(t.Context(), board.Screen{}); err != nil {
		t.Error(err)
	}
}

// The example for `busy` answers what the contract asks for.
func TestExampleBusy(t *testing.T) { // alone: a file just written cannot be executed while others fork
	data, err := os.ReadFile("../../build/hooks/busy")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	script := strings.Replace(string(data), "${RUN:-/run/tv}", dir, 1)
	if err := os.WriteFile(filepath.Join(dir, "busy"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	p := powersOf(t, dir)
	for _, tt := range []struct {
		use     string
		standby bool
	}{{"", false}, {"watching\n", false}, {"", true}} {
		os.WriteFile(filepath.Join(dir, "use"), []byte(tt.use), 0o644)
		if tt.standby {
			os.WriteFile(filepath.Join(dir, "standby"), nil, 0o644)
		}
		got, err := p.Usage(t.Context())
		if want := (board.Usage{Busy: strings.TrimSpace(tt.use), Standby: tt.standby}); got != want || err != nil {
			t.Errorf("%+v: got %+v, %v", tt, got, err)
		}
	}
}
