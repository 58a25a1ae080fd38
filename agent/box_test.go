package agent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"otad/agent/config"
	"otad/agent/control"
	"otad/agent/report"
	"otad/board/sim"
	"otad/ota"
	"otad/ota/durable"
	"otad/ota/journal"
	"otad/ota/swu"
	"otad/ota/swu/swutest"
)

const (
	testModel = "stv1"
	slotBytes = 2 << 20
)

// testBox is a simulated box with a machine that "mounts" tiny images: the
// first line of an image is its version, the second what its health hook does.
type testBox struct {
	t         *testing.T
	dir       string
	machine   *sim.Machine
	authority swutest.Authority
	server    *fakeServer
	config    config.Config
	boots     int
	ended     chan struct{} // of the agent that starting made
}

// system is the content of a slot.
type system struct {
	code   int64
	health string // shell script
}

func (s system) image(size int) []byte {
	head := fmt.Sprintf("%d v%d\n%s\n", s.code, s.code, s.health)
	r := rand.New(rand.NewPCG(uint64(s.code), 1))
	image := make([]byte, size)
	for i := range image {
		image[i] = byte(r.Uint32())
	}
	copy(image, head)
	return image
}

func newTestBox(t *testing.T) *testBox {
	t.Helper()
	return newTestBoxIn(t, t.TempDir())
}

// newTestBoxIn is for a test in a bubble, whose own directory would be removed
// outside of it.
func newTestBoxIn(t *testing.T, dir string) *testBox {
	t.Helper()
	authority, err := swutest.NewAuthority()
	must(t, err)
	must(t, sim.Create(durable.OS, filepath.Join(dir, "box"), slotBytes, "a", "b"))
	machine, err := sim.NewMachine(durable.OS, filepath.Join(dir, "box"))
	must(t, err)
	b := &testBox{t: t, dir: dir, machine: machine, authority: authority, server: &fakeServer{files: map[string][]byte{}}}
	must(t, os.WriteFile(b.slot("a"), system{code: 1, health: "exit 0"}.image(slotBytes), 0o644))
	c := config.Default()
	c.Device = config.Device{Model: testModel, Key: "02:00:00:00:00:01", Revision: "1.0"}
	c.State.Dir = filepath.Join(dir, "state")
	c.Download.Dir = filepath.Join(dir, "staging")
	c.Download.RetryFirst, c.Download.RetryMax = config.Duration(time.Millisecond), config.Duration(5*time.Millisecond)
	c.Health.Hooks = filepath.Join(dir, "health.d")
	c.Health.Timeout = config.Duration(10 * time.Second)
	c.Policy.CheckEvery = config.Duration(50 * time.Millisecond)
	b.config = c
	return b
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (b *testBox) slot(name string) string {
	path, err := b.machine.SlotPath(name)
	must(b.t, err)
	return path
}

// publish packs a system and offers it.
func (b *testBox) publish(s system) ota.Offer {
	b.t.Helper()
	return b.publishImage(s.code, s.image(slotBytes))
}

func (b *testBox) publishImage(code int64, image []byte) ota.Offer {
	b.t.Helper()
	var artifact bytes.Buffer
	must(b.t, b.authority.Pack(&artifact, testModel, fmt.Sprint(code), bytes.NewReader(image)))
	offer := ota.Offer{VersionCode: code, VersionName: fmt.Sprintf("v%d", code), Type: ota.UpgradeSilent,
		URL: fmt.Sprintf("http://host/%d.swu", code)}
	b.server.set(offer, artifact.Bytes())
	return offer
}

// boot runs the bootloader, "mounts" the slot and returns the agent of the
// system that runs.
func (b *testBox) boot() *Agent {
	b.t.Helper()
	_, image, err := b.machine.PowerOn()
	must(b.t, err)
	b.boots++
	return b.open(image)
}

// open is otad's start in the running system.
func (b *testBox) open(image string) *Agent {
	b.t.Helper()
	data, err := os.ReadFile(image)
	must(b.t, err)
	lines := strings.SplitN(string(data), "\n", 3)
	var running ota.Version
	_, err = fmt.Sscan(lines[0], &running.Code, &running.Name)
	must(b.t, err)
	must(b.t, os.MkdirAll(b.config.Health.Hooks, 0o755))
	hook := filepath.Join(b.config.Health.Hooks, "10-app")
	must(b.t, durable.WriteFile(durable.OS, hook, []byte("#!/bin/sh\n"+lines[1]+"\n"), 0o755))
	must(b.t, os.MkdirAll(b.config.State.Dir, 0o755))
	j, recovered, err := journal.Open(filepath.Join(b.config.State.Dir, "journal.db"), time.Now())
	must(b.t, err)
	board, err := sim.Open(durable.OS, filepath.Join(b.dir, "box"))
	must(b.t, err)
	trust, err := swu.ParseTrust(b.authority.CA)
	must(b.t, err)
	a, err := New(Parts{
		Config: &b.config, Journal: j, Recovered: recovered, Board: board, FS: durable.OS, Server: b.server, Fetcher: b.server, Trust: func() (*swu.Trust, error) { return trust, nil },
		Running: running, Clock: &Clock{Local: time.Now}, Log: testLog(b.t), Version: "test", Poll: true,
	})
	must(b.t, err)
	return a
}

func testLog(t *testing.T) *slog.Logger {
	if !testing.Verbose() {
		return slog.New(slog.DiscardHandler)
	}
	return slog.New(slog.NewTextHandler(t.Output(), nil))
}

// live boots the box again and again until done says so, and returns the last
// state.
func (b *testBox) live(done func(report.State) bool) report.State {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.t.Context(), 30*time.Second)
	defer cancel()
	for ctx.Err() == nil {
		a := b.boot()
		s, finished := b.until(ctx, a, done)
		must(b.t, journalOf(a).Close())
		if finished {
			return s
		}
	}
	b.t.Fatalf("did not come to an end in time")
	return report.State{}
}

// until runs a until done says so (true) or it wants a reboot (false).
func (b *testBox) until(ctx context.Context, a *Agent, done func(report.State) bool) (report.State, bool) {
	b.t.Helper()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- a.Run(ctx) }()
	changed, stop := a.Watch()
	defer stop()
	for {
		select {
		case <-changed:
			if s := a.State(); done(s) {
				cancel()
				<-ended
				return s, true
			}
		case err := <-ended:
			if !errors.Is(err, ErrRebooting) {
				b.t.Fatalf("agent ended: %v; state %+v", err, a.State())
			}
			return a.State(), false
		}
	}
}

// ended tells whether an update to code is over.
func ended(code int64) func(report.State) bool {
	return func(s report.State) bool {
		return s.Last != nil && s.Last.Offer.VersionCode == code && s.Phase == ota.PhaseIdle
	}
}

// fakeServer is a catalogue and a file host in memory.
type fakeServer struct {
	mu     sync.Mutex
	offer  ota.Offer
	files  map[string][]byte
	checks int
	free   atomic.Int64
	faults []error                                  // given to the next fetches, one each
	err    error                                    // given to every check
	fetch  func(ctx context.Context, f Fetch) error // in place of the usual
}

func (s *fakeServer) set(o ota.Offer, artifact []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.offer, s.files[o.URL] = o, artifact
}

func (s *fakeServer) asked() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.checks
}

func (s *fakeServer) Offset() (time.Duration, bool) { return 0, false }

func (s *fakeServer) Offer(_ context.Context, running ota.Version, appoint int64) (ota.Offer, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.checks++
	if s.err != nil {
		return ota.Offer{}, s.err
	}
	if s.offer.VersionCode <= running.Code || (appoint != 0 && appoint != s.offer.VersionCode) {
		return ota.Offer{}, ota.NewRefused(ota.CodeNothing, errors.New("nothing for this box"))
	}
	return s.offer, nil
}

func (s *fakeServer) FreeBytes(string) (int64, error) { return s.free.Load(), nil }

func (s *fakeServer) Fetch(ctx context.Context, f Fetch) error {
	s.mu.Lock()
	data, fetch := s.files[f.URL], s.fetch
	var fault error
	if len(s.faults) > 0 {
		fault, s.faults = s.faults[0], s.faults[1:]
	}
	s.mu.Unlock()
	if fetch != nil {
		return fetch(ctx, f)
	}
	half := int64(len(data) / 2)
	if err := os.WriteFile(f.Path, data[:half], 0o644); err != nil {
		return err
	}
	f.Progress(half, int64(len(data)), 1000)
	if err := f.Save(ota.Checkpoint{URL: f.URL, SyncedBytes: half, TotalBytes: int64(len(data))}); err != nil {
		return err
	}
	if fault != nil {
		return fault
	}
	return os.WriteFile(f.Path, data, 0o644)
}

// do asks the agent for a verb as a door would.
func do(t *testing.T, a *Agent, r control.Request) control.Reply {
	t.Helper()
	r.V, r.By = control.Version, "test"
	return control.Answer(t.Context(), a, r)
}

// slotHolds compares a slot with an image.
func (b *testBox) slotHolds(name string, image []byte) bool {
	b.t.Helper()
	data, err := os.ReadFile(b.slot(name))
	must(b.t, err)
	return bytes.Equal(data, image)
}

// journalOf is the real journal that open gave to the agent.
func journalOf(a *Agent) *journal.Journal { return a.Journal.(*journal.Journal) }
