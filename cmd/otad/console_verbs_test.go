package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"otad/agent/config"
	"otad/agent/control"
	"otad/agent/report"
	"otad/ota"
	"otad/transport/console"
	"otad/transport/console/consoletest"
)

var update = flag.Bool("update", false, "write the golden transcripts anew")

func init() { time.Local = time.UTC } // transcripts have times

// stage is an agent that plays the same piece every time.
type stage struct{ state report.State }

func newStage() *stage {
	noon := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	return &stage{report.State{V: 1, Online: true, Time: noon, Model: "stv1", Device: "02:00:00:00:00:01",
		Version: ota.Version{Code: 1, Name: "v1"}, Slot: "a", Floor: "1", Phase: ota.PhaseIdle, CheckAt: &noon}}
}

func (s *stage) outcome() ota.Outcome {
	noon := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	return ota.Outcome{ID: "UPDATE", Result: ota.PhaseConfirmed, From: s.state.Version, By: "console",
		Offer: ota.Offer{VersionCode: 2, VersionName: "v2"}, Started: noon, Ended: noon.Add(time.Minute)}
}

// Do implements control.Verbs, behind the checks of a request.
func (s *stage) Do(_ context.Context, r control.Request) (any, error) {
	switch r.Verb {
	case control.Check:
		return ota.Offer{VersionCode: 2, VersionName: "v2\x1b[31m", Type: ota.UpgradePrompt}, nil
	case control.History:
		if r.Args.Audit {
			at := s.state.Time
			return []ota.Deed{{Time: at, By: "mqtt:7", Verb: control.Cancel, Code: ota.CodeNothing, Missed: 3},
				{Time: at, By: "console", Who: "person (PIN)", Verb: control.Upgrade, Args: `{"to":2}`, OK: true}}, nil
		}
		failed := s.outcome()
		failed.Result, failed.Failure = ota.PhaseFailed, &ota.Failure{Code: ota.CodeNoSpace, Text: "cannot store it"}
		return []ota.Outcome{s.outcome(), failed}, nil
	case control.Logs:
		return []string{`time=2026-11-22T12:00:00.000Z level=INFO msg=started version=1`, "level=WARN msg=\x1b[31m"}, nil
	case control.Config:
		return report.Configuration{Version: ota.Version{Code: 2, Name: "v2"}, Applied: &s.state.Time, Bad: &ota.Version{Code: 3, Name: "v3\x1b[31m"},
			Failure: &ota.Failure{Code: ota.CodeConfigurationSchema, Text: "cannot apply configuration: it does not fit the schema at /volume: 11 is more than 10"}}, nil
	case control.Cancel:
		return nil, ota.NewRefused(ota.CodeNothing, errors.New("cannot cancel: no update is under way")).WithHint("`status` tells")
	case control.Upgrade, control.Install:
		s.state.Phase = ota.PhaseDownloading
		s.state.Update = &report.Update{ID: "UPDATE", To: ota.Version{Code: 2, Name: "v2"}, Type: ota.UpgradeSilent, By: r.By}
	}
	return s.state, nil
}

// stageDoor is the way to it.
type stageDoor struct{ *stage }

func (d stageDoor) Do(ctx context.Context, r control.Request) (any, error) {
	r.V = control.Version
	reply := control.Answer(ctx, d.stage, r)
	return reply.Data, reply.Err()
}

func (stageDoor) Audit(control.Request, error) {}

func (stageDoor) FollowLogs(_ context.Context, _ int, each func([]string) bool) error {
	each([]string{"level=INFO msg=started", "level=WARN msg=\x1b[31m"})
	return nil
}

func (d stageDoor) follow(_ context.Context, each func(report.State) bool) error {
	state := d.stage.state
	const total = 8 << 20
	for done := int64(0); done <= total; done += total / 25 {
		state.Percent, state.Transfer = report.Percent(done, total), report.TransferOf(done, total, 1<<20)
		if !each(state) {
			return nil
		}
	}
	last := d.outcome()
	state.Phase, state.Update, state.Transfer, state.Last = ota.PhaseIdle, nil, nil, &last
	each(state)
	return nil
}

func (d stageDoor) daemon() bool { return true }
func (d stageDoor) close()       {}

// Every verb at the console, as a person sees it on both kinds of terminal.
func TestConsoleTranscripts(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		lines []string // each typed at a prompt or a question
	}{
		{"status", []string{"status", "status now"}},
		{"check", []string{"check"}},
		{"upgrade", []string{"upgrade --to 2", "n", "upgrade --to 2", "y"}},
		{"upgrade-wait", []string{"upgrade --yes --wait"}},
		{"install", []string{"install", "install /media/usb/fw.swu --below-floor --wait", "yes"}},
		{"consent", []string{"consent accept", "consent maybe"}},
		{"cancel", []string{"cancel"}},
		{"defer", []string{"defer 2h", "defer"}},
		{"confirm", []string{"confirm", "confirm now"}},
		{"rollback", []string{"rollback", "n", "rollback --yes", "reboot", "y"}},
		{"history", []string{"history --limit 2", "history --limit -2"}},
		{"audit", []string{"history --audit"}},
		{"logs", []string{"logs --limit 2", "logs 2", "logs follow", "logs --follow --limit 3"}},
		{"config", []string{"config", "config status", "config show"}},
		{"help", []string{"help"}},
	} {
		for _, kind := range []string{"dumb", "vt100"} {
			t.Run(c.name+"/"+kind, func(t *testing.T) {
				t.Parallel()
				got := strings.ReplaceAll(converse(t, kind == "dumb", c.lines), "\r", "␍")
				path := filepath.Join("testdata", "console", c.name+"."+kind+".txt")
				if *update {
					if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
						t.Fatal(err)
					}
				}
				want, err := os.ReadFile(path)
				if err != nil {
					t.Fatal(err)
				}
				if got != string(want) {
					t.Errorf("%s:\ngot:\n%s\nwant:\n%s", path, got, want)
				}
			})
		}
	}
}

// converse types lines at a console on a pseudo-terminal and returns all that
// it says.
func converse(t *testing.T, dumb bool, lines []string) string {
	t.Helper()
	port := consoletest.NewPty(t)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = console.Serve(ctx, console.Options{ // it ends only with ctx
			Open: func() (io.ReadWriteCloser, error) { return console.OpenPort(port.Path, 115200) },
			Box:  consoleBox{door: stageDoor{newStage()}}, Face: consoleFace{}, Dumb: dumb, Log: slog.New(slog.DiscardHandler)})
	}()
	defer func() { cancel(); <-ended }()
	if err := port.Cable.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	var said strings.Builder
	buffer := make([]byte, 4096)
	for seen := 0; ; {
		n, err := port.Cable.Read(buffer)
		said.Write(buffer[:n])
		if err != nil {
			t.Fatalf("%v; the console says:\n%s", err, said.String())
		}
		rest := said.String()[seen:]
		if !strings.HasSuffix(rest, "otad> ") && !strings.HasSuffix(rest, "[y/N] ") {
			continue
		}
		if len(lines) == 0 {
			return said.String()
		}
		seen = said.Len()
		if _, err := port.Cable.WriteString(lines[0] + "\r"); err != nil {
			t.Fatal(err)
		}
		lines = lines[1:]
	}
}

// A program's request reaches the agent as it is, marked as the console's.
func TestConsoleBox(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, verb, args, want string }{
		{"no arguments", "status", "", ""},
		{"arguments", "upgrade", `{"to":2,"now":true}`, ""},
		{"unknown argument", "upgrade", `{"too":2}`, "cannot read the arguments"},
		{"argument of another verb", "cancel", `{"to":2}`, "takes no argument"},
		{"unknown verb", "format", "", "is not known"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newStage()
			_, err := consoleBox{door: stageDoor{s}}.Do(t.Context(), "person", c.verb, json.RawMessage(c.args))
			if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
			if s.state.Update != nil && s.state.Update.By != "console" {
				t.Errorf("by %q", s.state.Update.By)
			}
		})
	}
}

// The bundle goes over the line as one text, whatever of it cannot be had.
func TestConsoleDiag(t *testing.T) {
	t.Parallel()
	data, err := consoleBox{door: stageDoor{newStage()}, config: &config.Config{}}.Do(t.Context(), "person", diagVerb, nil)
	if err != nil {
		t.Fatal(err)
	}
	var said strings.Builder
	consoleFace{}.Say(&said, console.Command{Verb: diagVerb}, data)
	for _, want := range []string{"== otad\n", "== state\n{\n", "board: cannot use board.driver", "== log\nlevel=WARN"} {
		if !strings.Contains(said.String(), want) {
			t.Errorf("the bundle lacks %q:\n%s", want, said.String())
		}
	}
}
