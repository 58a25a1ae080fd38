package configuration

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"otad/ota"
	"otad/ota/durable"
	"otad/ota/durable/crashfs"
	"otad/ota/journal"
	"otad/ota/schema"
)

// catalogue is a server in one of its three behaviours.
type catalogue struct {
	look  string // "exact", "offer", "none": what configuration/version does
	offer Offer  // the newest
	err   error  // given to every question
	asked []string
}

func (s *catalogue) Version(_ context.Context, running int64) (ota.Version, error) {
	s.asked = append(s.asked, fmt.Sprintf("version %d", running))
	newer := s.offer.Version.Code > running
	switch {
	case s.err != nil:
		return ota.Version{}, s.err
	case s.look == "none":
		return ota.Version{}, ota.NewRefused(ota.CodeNotSupported, errors.New("no such route"))
	case s.look == "offer" && newer:
		return s.offer.Version, nil
	case s.look == "offer":
		return ota.Version{}, nothing()
	case running == 1:
		return ota.Version{}, ota.NewRefused(ota.CodeAppUnknown, errors.New("no such version"))
	}
	return ota.Version{Code: running, Name: "known"}, nil
}

func (s *catalogue) Offer(_ context.Context, running int64) (Offer, error) {
	s.asked = append(s.asked, fmt.Sprintf("upgrade %d", running))
	if s.err != nil {
		return Offer{}, s.err
	}
	if s.offer.Version.Code <= running {
		return Offer{}, nothing()
	}
	return s.offer, nil
}

func nothing() error { return ota.NewRefused(ota.CodeNothing, errors.New("nothing for this box")) }

func version(code int64, content string) Offer {
	return Offer{Version: ota.Version{Code: code, Name: fmt.Sprintf("v%d", code)}, Type: ota.UpgradeSilent, Content: json.RawMessage(content)}
}

// notebook is a journal in one file of the same disk: every commit is a few
// durable calls, whole or not at all.
type notebook struct {
	fs    durable.FS
	state notes
}

const notebookFile = "/state/journal.json"

type notes struct {
	Record  ota.Configuration
	History []ota.Outcome
	Reports []ota.Report
	Events  int
}

func openNotebook(t *testing.T, fsys durable.FS) *notebook {
	t.Helper()
	n := &notebook{fs: fsys}
	data, err := durable.ReadFile(fsys, notebookFile, 1<<20)
	if errors.Is(err, fs.ErrNotExist) {
		return n
	}
	if err == nil {
		err = json.Unmarshal(data, &n.state)
	}
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func (n *notebook) Configuration() (ota.Configuration, error) { return n.state.Record, nil }

func (n *notebook) CommitChannel(c journal.ChannelChange) error {
	next := n.state
	if c.Configuration != nil {
		next.Record = *c.Configuration
	}
	if c.Ended != nil {
		next.History = append(next.History[:len(next.History):len(next.History)], *c.Ended)
	}
	next.Reports = append(next.Reports[:len(next.Reports):len(next.Reports)], c.Reports...)
	next.Events += len(c.Events)
	data, err := json.Marshal(next)
	if err == nil {
		err = durable.WriteFile(n.fs, notebookFile, data, 0o600)
	}
	if err != nil {
		return ota.NewTransient(ota.CodeJournal, err)
	}
	n.state = next
	return nil
}

const (
	file = "/state/configuration.json"
	// inUse is what the hook made of the content it got last.
	inUse = "/app/settings.json"
)

// box is a box with a configuration channel and an application that follows it.
type box struct {
	t       *testing.T
	fs      durable.FS
	book    *notebook
	server  *catalogue
	schema  string
	sick    string // a content that the hook takes and that the health hook complains of
	refuses string // a content that the hook does not take
	calls   []string
}

func newBox(t *testing.T) *box {
	disk := crashfs.New(crashfs.NewPower(0))
	for _, dir := range []string{"/state", "/app"} {
		if err := durable.MkdirAll(disk, dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return &box{t: t, fs: disk, server: &catalogue{look: "exact"}}
}

// start opens the channel as a start of otad does.
func (b *box) start() *Channel {
	b.t.Helper()
	b.book = openNotebook(b.t, b.fs)
	p := Parts{Key: "cfg", File: file, Apply: "apply", Health: "health", Timeout: time.Minute, FS: b.fs, Server: b.server, Journal: b.book,
		Now: time.Now, Report: true, Log: slog.New(slog.DiscardHandler), Run: b.hook,
		Tell: func(ota.Outcome) journal.Event { return journal.Event{} },
		Judge: func(tuning json.RawMessage) error {
			if strings.Contains(string(tuning), "trust") {
				return errors.New("trust cannot be tuned")
			}
			return nil
		}}
	if b.schema != "" {
		s, err := schema.Parse([]byte(b.schema))
		if err != nil {
			b.t.Fatal(err)
		}
		p.Schema = s
	}
	c, err := Open(p)
	if err != nil {
		b.t.Fatal(err)
	}
	return c
}

func (b *box) hook(_ context.Context, name string, input []byte) error {
	b.calls = append(b.calls, name+" "+string(input))
	switch {
	case name == "apply" && b.refuses != "" && strings.Contains(string(input), b.refuses):
		return errors.New("I do not take that")
	case name == "health" && b.sick != "" && strings.Contains(string(input), b.sick):
		return errors.New("no picture")
	case name == "apply":
		return durable.WriteFile(b.fs, inUse, input, 0o600)
	}
	return nil
}

func (b *box) content(name string) string {
	b.t.Helper()
	data, err := durable.ReadFile(b.fs, name, 1<<20)
	if errors.Is(err, fs.ErrNotExist) {
		return ""
	}
	if err != nil {
		b.t.Fatal(err)
	}
	return string(data)
}

// holds checks what is in the file and in use.
func (b *box) holds(want string) {
	b.t.Helper()
	if got, used := b.content(file), b.content(inUse); got != want || used != want {
		b.t.Errorf("the file holds %q, in use is %q, want %q", got, used, want)
	}
}

func TestServersOfAllKinds(t *testing.T) {
	t.Parallel()
	for look, want := range map[string][]string{
		"exact": {"version 1", "upgrade 1", "version 2", "upgrade 2"},
		"offer": {"version 1", "upgrade 1", "version 2"},
		"none":  {"version 1", "upgrade 1", "version 2", "upgrade 2"},
	} {
		t.Run(look, func(t *testing.T) {
			t.Parallel()
			b := newBox(t)
			b.server.look, b.server.offer = look, version(2, `{"volume": 3}`)
			c := b.start()
			for range 2 {
				if err := c.Round(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			b.holds(`{"volume":3}`)
			if got := strings.Join(b.server.asked, ", "); got != strings.Join(want, ", ") {
				t.Errorf("asked %s, want %v", got, want)
			}
			rec, trouble := c.State()
			if rec.Running.Code != 2 || rec.Floor != 2 || rec.Next != nil || trouble != nil {
				t.Errorf("record %+v, trouble %+v", rec, trouble)
			}
			if r := b.book.state.Reports; len(r) != 1 || r[0] != (ota.Report{Type: "app_upgrade_upgrade", AppKey: "cfg", Time: r[0].Time, Running: 2, Target: 2}) {
				t.Errorf("reports %+v", r)
			}
		})
	}
}

// A content that is no good leaves the running one as it is, is told of once,
// and is tried again only when there is a newer version.
func TestBadContents(t *testing.T) {
	t.Parallel()
	const schemaText = `{"properties":{"volume":{"type":"integer","maximum":10}},"required":["volume"]}`
	for _, row := range []struct {
		name, content string
		code          ota.Code
		result        ota.Phase
	}{
		{"not JSON", `{"volume":`, ota.CodeConfigurationBad, ota.PhaseFailed},
		{"no object", `[1]`, ota.CodeConfigurationBad, ota.PhaseFailed},
		{"null", `null`, ota.CodeConfigurationBad, ota.PhaseFailed},
		{"absent", ``, ota.CodeConfigurationBad, ota.PhaseFailed},
		{"member twice", `{"volume":1,"volume":2}`, ota.CodeConfigurationBad, ota.PhaseFailed},
		{"too long", `{"volume":1,"x":"` + strings.Repeat("x", MaxBytes) + `"}`, ota.CodeConfigurationBad, ota.PhaseFailed},
		{"too deep", `{"volume":` + strings.Repeat("[", 100) + strings.Repeat("]", 100) + `}`, ota.CodeConfigurationBad, ota.PhaseFailed},
		{"against the schema", `{"volume":11}`, ota.CodeConfigurationSchema, ota.PhaseFailed},
		{"asks too much of otad", `{"volume":1,"otad":{"trust":{"ca":"/tmp/mine"}}}`, ota.CodeConfigurationTuning, ota.PhaseFailed},
		{"not taken by the hook", `{"volume":1,"x":"refuse me"}`, ota.CodeConfigurationHook, ota.PhaseRolledBack},
		{"makes the box sick", `{"volume":1,"x":"sick"}`, ota.CodeUnhealthy, ota.PhaseRolledBack},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			b := newBox(t)
			b.schema, b.refuses, b.sick = schemaText, "refuse me", "sick"
			b.server.offer = version(2, `{"volume":2}`)
			c := b.start()
			if err := c.Round(t.Context()); err != nil {
				t.Fatal(err)
			}
			b.server.offer = version(3, row.content)
			for range 2 {
				if err := c.Round(t.Context()); err != nil {
					t.Fatal(err)
				}
				c = b.start()
			}
			b.holds(`{"volume":2}`)
			rec, _ := c.State()
			if rec.Running.Code != 2 || rec.Bad == nil || rec.Bad.Version.Code != 3 || rec.Bad.Failure.Code != row.code {
				t.Errorf("record %+v, bad %+v", rec, rec.Bad)
			}
			history := b.book.state.History
			if len(history) != 2 || history[1].Result != row.result || history[1].Kind != ota.KindConfiguration || history[1].Failure.Code != row.code {
				t.Errorf("history %+v", history)
			}
			if r := b.book.state.Reports; len(r) != 2 || r[1].Code != 1 || r[1].Running != 2 || r[1].Target != 3 {
				t.Errorf("reports %+v", r)
			}
			b.server.offer = version(4, `{"volume":4}`)
			if err := c.Round(t.Context()); err != nil {
				t.Fatal(err)
			}
			b.holds(`{"volume":4}`)
			if rec, _ := c.State(); rec.Bad != nil || rec.Running.Code != 4 {
				t.Errorf("record %+v", rec)
			}
		})
	}
}

func TestNeverBackByItself(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	b.server.offer = version(5, `{"n":5}`)
	c := b.start()
	if err := c.Round(t.Context()); err != nil {
		t.Fatal(err)
	}
	// The content is lost, and the server has only an older one by now.
	b.fs.(*crashfs.Disk).Put(file, []byte(`{"n":`))
	b.server.offer = version(4, `{"n":4}`)
	c = b.start()
	if err := c.Round(t.Context()); err != nil {
		t.Fatal(err)
	}
	if rec, _ := c.State(); rec.Running.Code != 5 || len(b.calls) != 2 {
		t.Errorf("record %+v, hooks %v", rec, b.calls)
	}
	// It has the lost one again: that is applied anew.
	b.server.offer = version(5, `{"n":5}`)
	if err := c.Round(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.holds(`{"n":5}`)
}

// What the image brought is restored as any other.
func TestFactoryContentIsRestored(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	b.fs.(*crashfs.Disk).Put(file, []byte(`{"from":"factory","otad":{"a":1}}`))
	b.refuses = "bad"
	b.server.offer = version(2, `{"bad":1}`)
	c := b.start()
	if got := string(c.Tuning()); got != `{"a":1}` {
		t.Errorf("tuning %q", got)
	}
	if err := c.Round(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.holds(`{"from":"factory","otad":{"a":1}}`)
}

// A box without any configuration keeps none when the first one is bad.
func TestNothingToRestore(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	b.refuses = "bad"
	b.server.offer = version(2, `{"bad":1}`)
	c := b.start()
	if err := c.Round(t.Context()); err != nil {
		t.Fatal(err)
	}
	if rec, _ := c.State(); rec.Running.Code != 0 || rec.Bad == nil || b.content(file) != "" {
		t.Errorf("record %+v, file %q", rec, b.content(file))
	}
}

// A hook that does not take the old content either is asked a few times.
func TestRestoreThatFails(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	b.server.offer = version(2, `{"n":2}`)
	c := b.start()
	if err := c.Round(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.refuses = "n" // everything
	b.server.offer = version(3, `{"n":3}`)
	failed := 0
	for range 6 {
		if c.Round(t.Context()) != nil {
			failed++
			if _, trouble := c.State(); trouble == nil || trouble.Code != ota.CodeConfigurationHook {
				t.Errorf("trouble %+v", trouble)
			}
		}
	}
	rec, trouble := c.State()
	if failed != maxAttempts || rec.Next != nil || rec.Running.Code != 2 || rec.Bad == nil || trouble != nil ||
		!strings.Contains(rec.Bad.Failure.Text, "did not take the old one") {
		t.Errorf("%d failed, record %+v", failed, rec)
	}
}

func TestTuningFollowsTheContent(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	c := b.start()
	if c.Tuning() != nil {
		t.Error("tuning without a content")
	}
	b.server.offer = version(2, `{"otad":{"policy":{"check_every":"1h"}}}`)
	if err := c.Round(t.Context()); err != nil {
		t.Fatal(err)
	}
	want := `{"policy":{"check_every":"1h"}}`
	if got, again := string(c.Tuning()), string(b.start().Tuning()); got != want || again != want {
		t.Errorf("tuning %q, after a restart %q", got, again)
	}
	b.server.offer = version(3, `{"OTAD":{"policy":{}}}`)
	if err := c.Round(t.Context()); err != nil {
		t.Fatal(err)
	}
	if c.Tuning() != nil {
		t.Errorf("tuning by another name: %s", c.Tuning())
	}
}

func TestServerTrouble(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	b.server.err = ota.NewTransient(ota.CodeServerTrouble, errors.New("503"))
	c := b.start()
	if err := c.Round(t.Context()); err == nil {
		t.Error("no error")
	}
	if _, trouble := c.State(); trouble == nil || trouble.Code != ota.CodeServerTrouble {
		t.Errorf("trouble %+v", trouble)
	}
	b.server.err, b.server.offer = nil, version(2, `{}`)
	if err := c.Round(t.Context()); err != nil {
		t.Error(err)
	}
	if _, trouble := c.State(); trouble != nil {
		t.Errorf("trouble %+v", trouble)
	}
}

// The real hook runner: JSON on standard input, a deadline, an end that is
// waited for when otad has to go.
func TestRealHook(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	out, script := filepath.Join(dir, "out"), filepath.Join(dir, "apply")
	if err := durable.WriteFile(durable.OS, script, []byte("#!/bin/sh\ncat > "+out+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	b := newBox(t)
	b.server.offer = version(2, `{"a": 1}`)
	c := b.start()
	real, err := Open(Parts{Key: "cfg", File: filepath.Join(dir, "sub", "configuration.json"), Apply: script, Timeout: time.Minute, FS: durable.OS,
		Server: b.server, Journal: c.Journal, Now: time.Now, Log: c.Log})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel() // otad ends just now: the server's answer is there already
	if err := real.Round(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("round: %v", err)
	}
	data, err := durable.ReadFile(durable.OS, out, 100)
	if err != nil || string(data) != `{"a":1}` {
		t.Errorf("the hook got %q, %v", data, err)
	}
}

// A hook that somebody kills has not said no: it is called again, not for ever.
func TestKilledHook(t *testing.T) {
	t.Parallel()
	script := filepath.Join(t.TempDir(), "apply")
	if err := durable.WriteFile(durable.OS, script, []byte("#!/bin/sh\nkill -9 $$\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	b := newBox(t)
	b.server.offer = version(2, `{}`)
	c := b.start()
	c.Apply, c.Run = script, runHook
	for attempt := 1; attempt <= maxAttempts; attempt++ {
		if err := c.Round(t.Context()); ota.FaultOf(err) == nil || ota.FaultOf(err).Class != ota.Transient {
			t.Errorf("attempt %d: %v", attempt, err)
		}
	}
	if err := c.Round(t.Context()); err != nil {
		t.Error(err)
	}
	if rec, _ := c.State(); rec.Next != nil || rec.Bad == nil || rec.Bad.Failure.Code != ota.CodeAttempts {
		t.Errorf("record %+v", rec)
	}
}
