package control

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"otad/ota"
)

// echo is an agent that answers with what it was asked.
type echo struct {
	mu       sync.Mutex
	asked    []Request
	err      error
	watchers []chan struct{}
	seen     map[string]bool
}

func (e *echo) Do(_ context.Context, r Request) (any, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.asked = append(e.asked, r)
	return map[string]any{"verb": r.Verb, "asked": len(e.asked)}, e.err
}

func (e *echo) Watch() (<-chan struct{}, func()) {
	e.mu.Lock()
	defer e.mu.Unlock()
	c := make(chan struct{}, 1)
	e.watchers = append(e.watchers, c)
	return c, func() {}
}

func (e *echo) change() {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, c := range e.watchers {
		select {
		case c <- struct{}{}:
		default:
		}
	}
}

func (e *echo) First(id string) (bool, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.seen == nil {
		e.seen = map[string]bool{}
	}
	first := !e.seen[id]
	e.seen[id] = true
	return first, nil
}

func (e *echo) count() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return len(e.asked)
}

func TestRequestsAreChecked(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		r    Request
		want string // part of the text; "" when it is followed
	}{
		{"status", Request{V: 1, Verb: Status}, ""},
		{"upgrade to", Request{V: 1, Verb: Upgrade, Args: Args{To: 5, Now: true}}, ""},
		{"no version", Request{Verb: Status}, "version 0 is not known"},
		{"version of tomorrow", Request{V: 2, Verb: Status}, "version 2 is not known"},
		{"unknown verb", Request{V: 1, Verb: "explode"}, `verb "explode" is not known`},
		{"no verb", Request{V: 1}, `verb "" is not known`},
		{"argument of another verb", Request{V: 1, Verb: Status, Args: Args{Now: true}}, `takes no argument "now"`},
		{"source for upgrade", Request{V: 1, Verb: Upgrade, Args: Args{Source: "/x"}}, `takes no argument "source"`},
		{"negative version", Request{V: 1, Verb: Upgrade, Args: Args{To: -1}}, "negative"},
		{"consent without answer", Request{V: 1, Verb: Consent}, `want "accept" or "decline"`},
		{"consent maybe", Request{V: 1, Verb: Consent, Args: Args{Answer: "maybe"}}, `want "accept" or "decline"`},
		{"install nothing", Request{V: 1, Verb: Install}, "source is missing"},
	} {
		t.Run(c.name, func(t *testing.T) {
			agent := &echo{}
			reply := Answer(t.Context(), agent, c.r)
			if c.want == "" {
				if !reply.OK || agent.count() != 1 {
					t.Errorf("not followed: %+v", reply)
				}
				return
			}
			if reply.OK || reply.Code != ota.CodeUsage || !strings.Contains(reply.Text, c.want) || agent.count() != 0 {
				t.Errorf("got %+v (asked %d times), want refused with %q", reply, agent.count(), c.want)
			}
		})
	}
}

// serve opens the door of agent and returns a client and what ends it.
func serve(t *testing.T, agent Watcher) (*Client, string, context.CancelFunc) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "sock")
	l, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- Serve(ctx, l, agent) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	client, err := Dial(path)
	if err != nil {
		t.Fatal(err)
	}
	return client, path, cancel
}

func TestSocket(t *testing.T) {
	t.Parallel()
	agent := &echo{}
	client, path, _ := serve(t, agent)
	data, err := client.Do(t.Context(), Request{Verb: Upgrade, Args: Args{To: 9007199254740993}, By: "cli"})
	if err != nil {
		t.Fatal(err)
	}
	if raw, ok := data.(json.RawMessage); !ok || !strings.Contains(string(raw), `"upgrade"`) {
		t.Errorf("data %s", data)
	}
	if r := agent.asked[0]; r.Args.To != 9007199254740993 || r.By != "cli" {
		t.Errorf("arrived as %+v", r)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("socket mode %v, %v; want 0600", info.Mode(), err)
	}
	agent.err = ota.NewTransient(ota.CodeNoSpace, errors.New("cannot store it")).WithHint("make room")
	_, err = client.Do(t.Context(), Request{Verb: Check})
	if f := ota.FaultOf(err); f.Code != ota.CodeNoSpace || f.Error() != "cannot store it" || f.Hint != "make room" {
		t.Errorf("fault came over as %+v", f)
	}
}

func TestSocketTakesThePlaceOfADeadOne(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "sock")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Dial(path); !errors.Is(err, ErrNoDaemon) {
		t.Errorf("dialling a dead socket: %v", err)
	}
	l, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
}

// A follower sees the state at once, at each change, and the last one when the
// daemon ends.
func TestFollow(t *testing.T) {
	t.Parallel()
	agent := &echo{}
	client, _, end := serve(t, agent)
	seen := 0
	err := client.Follow(t.Context(), func(json.RawMessage) bool {
		switch seen++; seen {
		case 1:
			agent.change()
		case 2:
			end()
		}
		return true
	})
	if !errors.Is(err, io.EOF) || seen != 3 {
		t.Errorf("ended with %v after %d states, want the end of the stream after 3", err, seen)
	}
}
