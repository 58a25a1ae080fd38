package agent

import (
	"bytes"
	"context"
	"errors"
	"io"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"otad/agent/config"
	"otad/agent/report"
	"otad/ota"
	"otad/ota/policy"
	"otad/ota/swu"
)

// piecer hands out pieces of a file as read says.
type piecer struct {
	file []byte
	read func(ctx context.Context, p []byte, in io.Reader) (int, error)
	urls []string
}

func (f *piecer) Pieces(ctx context.Context, p Pieces) (io.ReadCloser, error) {
	f.urls = append(f.urls, p.URL)
	var wanted []io.Reader
	for _, s := range p.Wanted {
		wanted = append(wanted, bytes.NewReader(f.file[s.Offset:s.End()]))
	}
	in := io.MultiReader(wanted...)
	return io.NopCloser(readerFunc(func(b []byte) (int, error) { return f.read(ctx, b, in) })), nil
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// steady reads artifacts over a line that never breaks.
type steady struct{ server *fakeServer }

func (s steady) Stream(_ context.Context, r Stream) (Incoming, error) {
	return &crashIncoming{url: r.URL, data: s.server.files[r.URL], resumed: true}, nil
}

// publishDelta offers a delta of an image that shares nothing with what runs.
func (b *testBox) publishDelta(url string) *piecer {
	b.t.Helper()
	d, err := b.authority.PackDelta(swu.Manifest{Version: "2", Model: testModel}, url, system{code: 2, health: "exit 0"}.image(slotBytes))
	must(b.t, err)
	b.server.set(ota.Offer{VersionCode: 2, VersionName: "v2", Type: ota.UpgradeSilent, URL: "http://host/fw/2.swu?key=secret"}, d.Artifact)
	return &piecer{file: d.Chunks}
}

// The fetch of a delta rests while the link is metered, and goes on when it is
// not, with what has come.
func TestDeltaRestsWhenMetered(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{config.ModeStaged, config.ModeStreamed} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			synctest.Test(t, func(t *testing.T) {
				b := newTestBoxIn(t, dir)
				b.config.Policy.CheckEvery *= 1200 // a minute
				b.config.Download.Mode = mode
				p := b.publishDelta("chunks/2.zck")
				var came atomic.Int64
				p.read = func(ctx context.Context, buf []byte, in io.Reader) (int, error) {
					if came.Load() >= slotBytes/2 && !sleep(ctx, 10*time.Minute) {
						return 0, ctx.Err()
					}
					n, err := in.Read(buf)
					came.Add(int64(n))
					return n, err
				}
				a := b.boot()
				defer func() { must(t, journalOf(a).Close()) }()
				var metered atomic.Bool
				a.Board, a.Piecer, a.Streamer = phoneLink{a.Board, &metered}, p, steady{b.server}
				until := make(chan struct{})
				go func() {
					defer close(until)
					b.until(t.Context(), a, func(report.State) bool { return false })
				}()
				for s := a.State(); s.Delta == nil; s = a.State() {
					time.Sleep(time.Second)
				}
				if d := a.State().Delta; d.ImageBytes != slotBytes || d.FetchBytes < slotBytes/2 {
					t.Errorf("told %+v", d)
				}
				metered.Store(true)
				time.Sleep(time.Hour)
				if s := a.State(); s.Why != string(policy.WhyMetered) || s.Phase != ota.PhaseInstalling {
					t.Errorf("while it costs: %s, %q", s.Phase, s.Why)
				}
				metered.Store(false)
				came.Store(0)
				<-until
				if a.rec.Phase != ota.PhaseArmed || a.rec.Attempts != 0 {
					t.Errorf("in the end: %s, %d attempts", a.rec.Phase, a.rec.Attempts)
				}
				if want := []string{"http://host/fw/chunks/2.zck", "http://host/fw/chunks/2.zck"}; !slices.Equal(p.urls, want) {
					t.Errorf("asked for %q", p.urls)
				}
			})
		})
	}
}

// An attempt that brought something makes up for its failure: a line that
// breaks more often than there are attempts brings the delta in all the same.
func TestDeltaGainsByFailing(t *testing.T) {
	t.Parallel()
	b := newTestBox(t)
	p := b.publishDelta("https://cdn.example/2.zck")
	broken := ota.NewTransient(ota.CodeDownloadNetwork, errors.New("cannot download: connection reset by peer"))
	fails, came := 0, 0
	p.read = func(_ context.Context, buf []byte, in io.Reader) (int, error) {
		// Eight attempts in vain, then one that brings more than half, and again.
		if fails%9 != 8 || came > slotBytes*2/3 {
			fails, came = fails+1, 0
			return 0, broken
		}
		n, err := in.Read(buf)
		came += n
		return n, err
	}
	a := b.boot()
	a.Piecer = p
	s, _ := b.until(t.Context(), a, func(s report.State) bool { return s.Last != nil })
	must(t, journalOf(a).Close())
	if s.Last != nil || fails < ota.MaxAttempts+1 {
		t.Errorf("after %d failures it ended with %+v", fails, s.Last)
	}
	if a.rec.Phase != ota.PhaseArmed {
		t.Errorf("phase %s", a.rec.Phase)
	}
	if p.urls[0] != "https://cdn.example/2.zck" {
		t.Errorf("asked for %q", p.urls[0])
	}
}
