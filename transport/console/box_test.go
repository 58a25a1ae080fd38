package console_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"otad/ota"
	"otad/transport/console"
	"otad/transport/console/consoletest"
)

// box is a box with a version. An update of it moves on while it is followed.
type box struct {
	mu    sync.Mutex
	state state
	did   []string      // verbs obeyed
	who   []string      // who asked for them
	notes []string      // what was settled at the console
	tick  chan struct{} // taken from for each line of the log
	step  time.Duration // between two looks
	long  string        // a history that is long
}

type state struct {
	Version int    `json:"version"`
	Phase   string `json:"phase"`
	Percent int    `json:"percent"`
}

func newBox() *box {
	return &box{state: state{Version: 1, Phase: "idle"}, tick: make(chan struct{})}
}

func (b *box) obeyed() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]string(nil), b.did...)
}

func (b *box) Audit(who, verb string, verdict error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.notes = append(b.notes, fmt.Sprintf("%s %s %v", who, verb, verdict == nil))
}

// Tail tells of a line, and of another one at every look.
func (b *box) Tail(ctx context.Context, n int, each func([]string) bool) error {
	for i := 1; each([]string{fmt.Sprintf("line %d after %d", i, n)}); i++ {
		select {
		case b.tick <- struct{}{}:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

func (b *box) Do(_ context.Context, who, verb string, args json.RawMessage) (json.RawMessage, error) {
	b.mu.Lock()
	b.did = append(b.did, strings.TrimSpace(verb+" "+string(args)))
	b.who = append(b.who, who)
	state := b.state
	b.mu.Unlock()
	switch verb {
	case "status":
	case "history":
		return json.Marshal(b.long)
	case "upgrade", "install":
		if state.Phase != "idle" {
			return nil, ota.NewRefused(ota.CodeBusy, errors.New("cannot begin: an update is under way")).WithHint("wait for it")
		}
		b.mu.Lock()
		b.state.Phase = "downloading"
		b.mu.Unlock()
	case "cancel":
		return nil, ota.NewRefused(ota.CodeNothing, errors.New("cannot cancel: no update is under way"))
	default:
		return nil, ota.NewRefused(ota.CodeUsage, fmt.Errorf("cannot follow request: verb %q is not known", verb))
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return json.Marshal(b.state)
}

// Follow moves the update on whenever somebody has looked.
func (b *box) Follow(ctx context.Context, each func(json.RawMessage) bool) error {
	for {
		b.mu.Lock()
		data, err := json.Marshal(b.state)
		step := b.step
		b.mu.Unlock()
		if err != nil || !each(data) {
			return err
		}
		select {
		case <-time.After(step):
		case <-ctx.Done():
			return ctx.Err()
		}
		b.mu.Lock()
		if b.state.Percent += 4; b.state.Percent > 100 {
			b.state = state{Version: b.state.Version + 1, Phase: "idle"}
		}
		b.mu.Unlock()
	}
}

func (b *box) Ready(context.Context) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.state.Phase != "idle" {
		return ota.NewRefused(ota.CodeBusy, errors.New("cannot take a file: an update is under way"))
	}
	return nil
}

// face is how that box reads to a person.
type face struct{}

func (face) Help() string {
	return "status\nupgrade [--yes] [--wait]\ninstall FILE [--yes] [--wait]\nhistory\ncancel\n"
}

func (face) Parse(words []string) (console.Command, error) {
	c := console.Command{Verb: words[0], Question: "Really?"}
	switch words[0] {
	case "status", "history", "cancel":
		c.Question = ""
	case "logs":
		c.Question, c.Tail, c.Lines = "", true, 3
	case "upgrade":
	case "install":
		if len(words) < 2 {
			return c, ota.NewRefused(ota.CodeUsage, errors.New("missing operand"))
		}
		c.Args, _ = json.Marshal(map[string]string{"source": words[1]})
	default:
		return c, ota.NewRefused(ota.CodeUsage, fmt.Errorf("cannot run %q: no such command", words[0])).WithHint("`help` lists the commands")
	}
	for _, w := range words[1:] {
		switch w {
		case "--yes":
			c.Question = ""
		case "--wait":
			c.Wait = true
		}
	}
	return c, nil
}

func (face) Say(w io.Writer, _ console.Command, data json.RawMessage) { fmt.Fprintf(w, "%s\n", data) }

func (face) Log(w io.Writer, lines []string) { fmt.Fprintln(w, strings.Join(lines, "\n")) }

func (face) Progress(w io.Writer, _ json.RawMessage, live bool) func(json.RawMessage) bool {
	last := -1
	return func(data json.RawMessage) bool {
		var s state
		if json.Unmarshal(data, &s) != nil {
			return false
		}
		if s.Phase == "idle" {
			fmt.Fprintf(w, "\nversion %d\n", s.Version)
			return false
		}
		if live {
			fmt.Fprintf(w, "\r%s %3d%%", s.Phase, s.Percent)
		} else if step := s.Percent / 5 * 5; step != last {
			last = step
			fmt.Fprintf(w, "%s %d%%\n", s.Phase, step)
		}
		return true
	}
}

// desk is a box with a console, a line and a port at the other end.
type desk struct {
	t     testing.TB
	box   *box
	inbox string
	line  *consoletest.Line
	near  *consoletest.Pty // the desk's port
	far   *consoletest.Pty // the box's
	log   *log
}

type log struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// serve puts a console on a port until the test ends.
func serve(t testing.TB, line *consoletest.Line, edit ...func(*console.Options)) *desk {
	t.Helper()
	d := &desk{t: t, box: newBox(), inbox: filepath.Join(t.TempDir(), "inbox"), line: line,
		near: consoletest.NewPty(t), far: consoletest.NewPty(t), log: &log{}}
	line.Connect(d.near, d.far)
	o := console.Options{
		Port: d.far.Path,
		Box:  d.box, Face: face{}, ReadOnly: []string{"status", "history", "logs"},
		Inbox: console.Inbox{Dir: d.inbox, MaxBytes: 64 << 20},
		Log:   slog.New(slog.NewTextHandler(d.log, nil)),
	}
	at(115200)(&o)
	for _, e := range edit {
		e(&o)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { defer close(ended); console.Serve(ctx, o) }()
	t.Cleanup(func() { cancel(); <-ended })
	return d
}

// at makes the box open its port at a speed.
func at(baud int) func(*console.Options) {
	return func(o *console.Options) {
		port := o.Port
		o.Open = func() (io.ReadWriteCloser, error) { return console.OpenPort(port, baud) }
	}
}

// client is a program at the desk.
func (d *desk) client() *console.Client {
	d.t.Helper()
	port, err := console.OpenPort(d.near.Path, 115200)
	if err != nil {
		d.t.Fatal(err)
	}
	c := console.NewClient(port, 115200*max(1, d.line.Speedup), nil)
	d.t.Cleanup(func() { c.Close() })
	return c
}

func noise(size int, seed byte) []byte {
	data := make([]byte, size)
	rand.NewChaCha8([32]byte{seed}).Read(data) // never fails
	return data
}
