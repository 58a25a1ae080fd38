package main

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"otad/agent/control"
	"otad/ota"
	"otad/ota/policy"
	"otad/transport/upgradelink"
	"otad/transport/upgradelink/upgradelinktest"
)

var redraw = flag.Bool("update", false, "draw the plots in docs again")

const groupTopic = "otad/all/cmd"

// countingServer is an UpgradeLink server that remembers who asked when.
type countingServer struct {
	*upgradelinktest.Server

	mu    sync.Mutex
	asked map[string]int // by device
	at    []time.Time    // of all requests
}

func newCountingServer() *countingServer {
	s := &countingServer{Server: upgradelinktest.New(upgradelinktest.Options{}), asked: map[string]int{}}
	s.Edit(upgradelinktest.URL, "firmware", func(*upgradelinktest.App) {})
	return s
}

func (s *countingServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	at := time.Now()
	body, _ := io.ReadAll(r.Body) // what is missing has no device
	r.Body = io.NopCloser(bytes.NewReader(body))
	var who struct {
		Device string `json:"devKey"`
	}
	_ = json.Unmarshal(body, &who)
	s.mu.Lock()
	s.asked[who.Device]++
	s.at = append(s.at, at)
	s.mu.Unlock()
	s.Server.ServeHTTP(w, r)
}

// RoundTrip is the network where there is none.
func (s *countingServer) RoundTrip(r *http.Request) (*http.Response, error) {
	w := httptest.NewRecorder()
	in := httptest.NewRequestWithContext(r.Context(), r.Method, r.URL.RequestURI(), r.Body)
	in.Header, in.ContentLength = r.Header, r.ContentLength
	s.ServeHTTP(w, in)
	return w.Result(), nil
}

func (s *countingServer) requests() []time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]time.Time(nil), s.at...)
}

// mustHaveAsked: each box so often, and nobody else.
func (s *countingServer) mustHaveAsked(t *testing.T, boxes, times int) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range boxes {
		if n := s.asked[deviceName(i)]; n != times {
			t.Errorf("%s asked %d times, want %d", deviceName(i), n, times)
		}
	}
	if len(s.asked) != boxes || len(s.at) != boxes*times {
		t.Errorf("%d requests of %d boxes, want %d of %d", len(s.at), len(s.asked), boxes*times, boxes)
	}
}

// deviceName is a device key as fleets have them: one number after the other.
func deviceName(i int) string { return fmt.Sprintf("STB-%08d", 40_000_000+i) }

// groupCommand is what the operator publishes.
func groupCommand(id, verb string) []byte {
	return fmt.Appendf(nil, `{"v":1,"id":%q,"verb":%q}`, id, verb)
}

// askingBox is a box that does nothing but follow commands, by the real rules,
// and ask the server as they say.
type askingBox struct {
	t      *testing.T
	name   string
	server *upgradelink.Client
	acts   sync.Mutex // held as long as an id is looked up
	seen   map[string]bool
}

func newAskingBox(t *testing.T, name, url string, client *http.Client) *askingBox {
	t.Helper()
	server, err := upgradelink.New(upgradelink.Options{BaseURL: url, HTTP: client,
		AccessKey: upgradelinktest.DemoAccessKey, Secret: upgradelinktest.DemoSecretKey})
	if err != nil {
		t.Fatal(err)
	}
	return &askingBox{t: t, name: name, server: server, seen: map[string]bool{}}
}

// desk makes the box's desk, which runs until ctx ends.
func (b *askingBox) desk(ctx context.Context, spread time.Duration, file string) *control.Desk {
	d := &control.Desk{Verbs: b, Once: b, Now: time.Now, Log: slog.New(slog.DiscardHandler), Own: "otad/stv1/" + b.name + "/cmd",
		Device: b.name, Spread: spread, File: file, Answer: func(r control.Result) {
			if r.Code != ota.CodeNothing {
				b.t.Errorf("%s answers %+v", b.name, r)
			}
		}}
	d.Open()
	go d.Run(ctx)
	return d
}

func (b *askingBox) First(id string) (bool, error) {
	b.acts.Lock()
	defer b.acts.Unlock()
	first := !b.seen[id]
	b.seen[id] = true
	return first, nil
}

func (b *askingBox) Do(ctx context.Context, r control.Request) (any, error) {
	return b.server.UpgradeURL(ctx, upgradelink.Query{Key: "firmware", VersionCode: 1, ModelKey: "stv1", DeviceKey: b.name})
}

// TestNoStampedeInAnHour: a group command with a spread of an hour. Each of
// 2,000 boxes asks once, whatever the broker repeats and though every tenth box
// is restarted while it waits; no minute has more than twice its share.
func TestNoStampedeInAnHour(t *testing.T) {
	t.Parallel()
	const boxes = 2000
	for _, c := range []struct {
		name   string
		spread time.Duration
		herd   bool // the counter-proof
	}{
		{"an hour", time.Hour, false},
		{"without a spread", 0, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			synctest.Test(t, func(t *testing.T) {
				server := newCountingServer()
				begin := time.Now()
				followInAnHour(t, server, boxes, c.spread, dir)
				server.mustHaveAsked(t, boxes, 1)
				h := newHistogram("requests", begin, time.Hour, time.Minute, 2*boxes/60, server.requests())
				limit, even := h.withinLimit(0), h.even()
				if (limit != nil) != c.herd || (even != nil) != c.herd {
					t.Errorf("limit: %v, even: %v", limit, even)
				}
				t.Logf("chi-square %.0f, bound %.0f\n%s", h.chiSquare(), chiSquareBound(len(h.count)-1), h)
				if !c.herd {
					compareWithDocs(t, h)
				}
			})
		})
	}
}

// followInAnHour lets boxes follow a group command. Every tenth one is
// restarted after twenty minutes.
func followInAnHour(t *testing.T, server *countingServer, boxes int, spread time.Duration, dir string) {
	ctx, end := context.WithCancel(t.Context())
	tenth, restart := context.WithCancel(ctx)
	client := &http.Client{Transport: server}
	var restarted []func()
	for i := range boxes {
		box, life, file := newAskingBox(t, deviceName(i), "http://server", client), ctx, ""
		if i%10 == 0 {
			life, file = tenth, filepath.Join(dir, deviceName(i))
			restarted = append(restarted, func() { box.desk(ctx, spread, file) })
		}
		desk := box.desk(life, spread, file)
		for range 2 { // the broker brings it again
			desk.Take(ctx, groupTopic, groupCommand("spring", control.Check))
		}
	}
	time.Sleep(20 * time.Minute)
	restart()
	synctest.Wait()
	for _, again := range restarted {
		again()
	}
	time.Sleep(2 * time.Hour) // enough for another round, if there were one
	end()
	synctest.Wait()
}

// Whatever a share is about, a fleet's shares are even; and the order is
// another one each time, so that no box is always among the last.
func TestSharesAreEven(t *testing.T) {
	t.Parallel()
	const boxes = 2000
	begin, alwaysLate := time.Unix(0, 0), map[int]int{}
	about := []string{"poll", "download", "apply", "spring", "01JD0000", "01JD0001", "01JD0002", "01JD0003"}
	for _, word := range about {
		var turns []time.Time
		for i := range boxes {
			share := policy.Share(time.Hour, deviceName(i), word)
			turns = append(turns, begin.Add(share))
			if share > 54*time.Minute {
				alwaysLate[i]++
			}
		}
		h := newHistogram(word, begin, time.Hour, time.Minute, 2*boxes/60, turns)
		if err := h.even(); err != nil {
			t.Error(err)
		}
		if err := h.withinLimit(0); err != nil {
			t.Error(err)
		}
	}
	for i, n := range alwaysLate { // by chance: one box in 20,000
		if n > len(about)/2 {
			t.Errorf("%s is in the last tenth in %d of %d spreads", deviceName(i), n, len(about))
		}
	}
}

// compareWithDocs holds the page to what the test draws, or draws it again.
func compareWithDocs(t *testing.T, h *histogram) {
	t.Helper()
	const page, begin, end = "../../docs/reliability.md", "<!-- no stampede -->\n```\n", "```\n"
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, found := strings.Cut(string(text), begin)
	drawn, after, closed := strings.Cut(rest, end)
	switch {
	case !found || !closed:
		t.Errorf("%s has no place for the plot", page)
	case *redraw:
		writePlot(t, "no-stampede.png", h)
		if err := os.WriteFile(page, []byte(before+begin+h.String()+end+after), 0o644); err != nil {
			t.Fatal(err)
		}
	case drawn != h.String():
		t.Errorf("%s has another plot; `go test ./cmd/otactl -run NoStampedeInAnHour -update` draws it again", page)
	}
}
