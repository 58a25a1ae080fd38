package main_test

import (
	"bytes"
	"context"
	"math/rand/v2"
	"net/http"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"otad/agent/config"
	"otad/agent/report"
	"otad/cmd/internal/cli"
	"otad/ota"
	"otad/ota/swu"
	"otad/ota/swu/swutest"
	"otad/transport/download/downloadtest"
	"otad/transport/mqtt/mqtttest"
)

// deltaWorld is a box that runs one image, and a delta to the next: a quarter of
// it is new.
type deltaWorld struct {
	*box
	site   *site
	image  []byte
	packed swutest.Delta
	news   int64 // bytes of the image that the box does not have, about
	chunks *downloadtest.File
}

// deltaImages are what runs and what comes, of so many MiB: the last quarter of
// each MiB is new, and all of it lies elsewhere than before.
func deltaImages(mebibytes int) (old, image []byte, news int64) {
	size := mebibytes << 20
	old = system{code: 1, bytes: size}.image()
	noise := rand.NewChaCha8([32]byte{99})
	image = append(make([]byte, 0, size), "2 v2\nexit 0\n"...)
	for at := 1000; len(image)+1<<20 <= size; at += 1 << 20 {
		part := make([]byte, 256<<10)
		noise.Read(part) // never fails
		image = append(append(image, old[at:at+768<<10]...), part...)
		news += int64(len(part))
	}
	return old, image, news
}

func newDeltaWorld(t *testing.T, mebibytes int, edit ...func(*config.Config)) *deltaWorld {
	t.Helper()
	old, image, news := deltaImages(mebibytes)
	packed, err := authority().PackDelta(swu.Manifest{Version: "2", Model: model}, "2.zck", image)
	must(t, err)
	s := newSite(t)
	w := &deltaWorld{box: newBoxOf(t, s, int64(len(old)), edit...), site: s, image: image, packed: packed, news: news}
	w.flash("a", old)
	_, w.chunks = s.serve("2.zck", packed.Chunks)
	url, _ := s.serve("2.swu", packed.Artifact)
	s.offer(2, url)
	return w
}

func (w *deltaWorld) wantArmed() {
	w.t.Helper()
	if !w.holds("b", w.image) {
		w.t.Error("slot b does not hold the image")
	}
	if next := w.condition().boot.Next; next != "b" {
		w.t.Errorf("slot %s is started next, want b", next)
	}
}

// wantFrugal: nothing came twice, and hardly anything that was there.
func (w *deltaWorld) wantFrugal(spare int64) {
	w.t.Helper()
	if n := w.chunks.Stats().BytesServed; n > w.news+w.news/4+spare {
		w.t.Errorf("%d bytes were fetched, of %d that are new", n, w.news)
	}
}

// TestDelta: a delta comes from its host, and the new system is confirmed.
func TestDelta(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{config.ModeStaged, config.ModeStreamed} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			w := newDeltaWorld(t, 6, func(c *config.Config) { c.Download.Mode = mode })
			r := w.otad("upgrade", "--yes").want(cli.RebootNeeded)
			w.wantArmed()
			w.wantFrugal(0)
			if !strings.Contains(r.stderr, "compare") {
				t.Errorf("the progress does not tell of the comparison:\n%s", r.stderr)
			}
			if left := w.staged(); mode == config.ModeStreamed && len(left) > 0 {
				t.Errorf("left in staging: %q", left)
			}
			if slot := w.boot(); slot != "b" {
				t.Fatalf("slot %s was started", slot)
			}
			last, service := w.live(ended(2))
			service.stop()
			if last.Last.Result != ota.PhaseConfirmed {
				t.Errorf("ended with %+v", last.Last)
			}
		})
	}
}

// TestDeltaFromStick: the chunks lie beside the artifact.
func TestDeltaFromStick(t *testing.T) {
	t.Parallel()
	w := newDeltaWorld(t, 6)
	w.write("2.swu", w.packed.Artifact)
	w.otad("install", w.path("2.swu"), "--yes").want(cli.Failed, "2.zck", "beside the artifact")
	w.write("2.zck", w.packed.Chunks[:1000])
	w.otad("install", w.path("2.swu"), "--yes").want(cli.NotTrusted, "1000 bytes", "packed together")
	w.write("2.zck", w.packed.Chunks)
	w.otad("install", w.path("2.swu"), "--yes").want(cli.RebootNeeded)
	w.wantArmed()
	if n := w.chunks.Stats().Requests; n > 0 {
		t.Errorf("%d requests were made", n)
	}
}

// TestDeltaFails: with an error that is told, in the old system.
func TestDeltaFails(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		spoil func(w *deltaWorld)
		want  want
	}{
		{"no ranges, and the whole is too dear", func(w *deltaWorld) {
			w.chunks.Set(downloadtest.Faults{NoRanges: true})
			w.configure(func(c *config.Config) { c.Download.DeltaWhole = 1 << 20 })
		}, want{cli.Failed, ota.CodeFirmwareNoRanges, "has no ranges", "download.delta_whole"}},
		{"another file in its place", func(w *deltaWorld) {
			other := bytes.Clone(w.packed.Chunks)
			for i := len(other) / 8; i < len(other); i++ {
				other[i] ^= 1
			}
			w.chunks.Replace(downloadtest.Bytes(other))
		}, want{cli.NotTrusted, ota.CodeArtifactHash, "is not what was signed", "never replace"}},
		{"a shorter file in its place", func(w *deltaWorld) {
			w.chunks.Replace(downloadtest.Bytes(w.packed.Chunks[:1<<20]))
		}, want{cli.NotTrusted, ota.CodeArtifactHash, "describes a file of", "never replace"}},
		{"not there", func(w *deltaWorld) { w.chunks.Set(downloadtest.Faults{Status: http.StatusNotFound}) },
			want{cli.Failed, ota.CodeFirmwareMissing, "404", "exists"}},
		{"captive portal", func(w *deltaWorld) { w.chunks.Set(downloadtest.Faults{HTML: true}) },
			want{cli.Failed, ota.CodeFirmwareHTML, "web page", "portal"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newDeltaWorld(t, 6)
			tt.spoil(w)
			boot := w.condition().boot
			r := w.otad("upgrade", "--yes")
			r.want(tt.want.exit, "cannot ", tt.want.text, tt.want.hint)
			s := w.status()
			if s.Last == nil || s.Last.Failure == nil || s.Last.Failure.Code != tt.want.code || s.Slot != "a" {
				t.Errorf("the last update is %+v, want code %s", s.Last, tt.want.code)
			}
			if after := w.condition().boot; after != boot {
				t.Errorf("the bootloader says %+v, it was %+v", after, boot)
			}
			w.wantNothingUnsigned()
			w.chunks = w.site.host.Add("/fw/2.zck", downloadtest.Bytes(w.packed.Chunks))
			w.configure()
			w.otad("upgrade", "--yes").want(cli.RebootNeeded)
			w.wantArmed()
		})
	}
}

// wantNothingUnsigned: each block of the slot is as it was, or of the image.
func (w *deltaWorld) wantNothingUnsigned() {
	w.t.Helper()
	slot := w.read(w.slot("b"))
	for at := 0; at < len(w.image); at += 4096 {
		end := min(at+4096, len(w.image))
		block := slot[at:end]
		if !bytes.Equal(block, w.image[at:end]) && !bytes.Equal(block, make([]byte, len(block))) {
			w.t.Fatalf("what is at %d of the slot was never signed", at)
		}
	}
}

// TestDeltaFaultMatrix puts a delta through what other installers fail: the
// faults of the matrix, with an image of the same size in `make faults` and one of
// 12 MiB otherwise.
func TestDeltaFaultMatrix(t *testing.T) {
	t.Parallel()
	mebibytes := 12
	if lighter == 1 {
		mebibytes = fullBytes >> 20
	}
	turn := make(chan struct{}, 3)
	for _, f := range networkFaults {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			turn <- struct{}{}
			defer func() { <-turn }()
			w := newDeltaWorld(t, mebibytes, func(c *config.Config) {
				lightRetries(c)
				if f.dead {
					c.Download.RetryFirst, c.Download.RetryMax = config.Duration(10*time.Millisecond), config.Duration(50*time.Millisecond)
				}
			})
			line := f.lightly()
			// An answer has a quarter of the image at most.
			line.After = int64(float64(f.line.After) / fullBytes * float64(min(w.news, 12<<20)))
			proxy, err := downloadtest.NewProxy(strings.TrimPrefix(w.site.url, "http://"), line)
			must(t, err)
			t.Cleanup(func() { proxy.Close() })
			w.site.offer(2, proxy.URL()+"/fw/2.swu")
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
			defer cancel()
			began := time.Now()
			r := w.finish(w.command(ctx, "upgrade", "--yes"))
			fetched, answers := int64(0), 0
			for _, p := range proxy.Passed() {
				if p.Range != "" {
					fetched += p.BodyBytes
					answers++
				}
			}
			t.Logf("%.1f s, %d bytes in %d answers, %d are new", time.Since(began).Seconds(), fetched, answers, w.news)
			if f.dead {
				r.want(cli.Failed, "cannot download")
				w.wantNothingUnsigned()
				if s := w.status(); s.Last == nil || s.Last.Failure == nil || s.Last.Failure.Code != ota.CodeDownloadNetwork {
					t.Errorf("the last update is %+v", s.Last)
				}
				return
			}
			r.want(cli.RebootNeeded)
			w.wantArmed()
			// What lay in the buffers of a connection that was reset comes again.
			if most := w.news + w.news/4 + int64(line.Times)*(256<<10); fetched > most {
				t.Errorf("%d bytes were fetched, want %d at most", fetched, most)
			}
		})
	}
}

// TestDeltaKilled kills otad again and again while a delta is installed: what
// came does not come again, and the box ends with version 2.
func TestDeltaKilled(t *testing.T) {
	t.Parallel()
	seed := uint64(time.Now().UnixNano())
	if text := os.Getenv("KILL_SEED"); text != "" {
		n, err := strconv.ParseUint(text, 10, 64)
		must(t, err)
		seed = n
	}
	t.Logf("again: KILL_SEED=%d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	w := newDeltaWorld(t, 24, func(c *config.Config) { c.Policy.CheckEvery = config.Duration(20 * time.Millisecond) })
	w.chunks.Set(downloadtest.Faults{Rate: 4 << 20})
	var hits []string
	for range 12 {
		hits = append(hits, w.killAfter(time.Duration(random.Int64N(int64(900*time.Millisecond)))))
	}
	w.chunks.Set(downloadtest.Faults{})
	last, service := w.live(ended(2))
	service.stop().want(cli.Done)
	if last.Last.Result != ota.PhaseConfirmed || last.Slot != "b" || !w.holds("b", w.image) {
		t.Errorf("ended with %+v in slot %s", last.Last, last.Slot)
	}
	stats := w.chunks.Stats()
	t.Logf("killed in %q; %d bytes in %d answers, %d are new", hits, stats.BytesServed, stats.Requests, w.news)
	// What a process had read ahead and not handed to the slot, and what the line
	// still held, comes again.
	if most := w.news + w.news/4 + stats.Requests*(8<<20); stats.BytesServed > most {
		t.Errorf("%d bytes were fetched, want %d at most", stats.BytesServed, most)
	}
}

// TestDeltaMemory holds a delta to the budget of the service, connected to a
// broker. OTAD_MEMORY_MIB makes it larger. Not parallel: others would be
// measured by the medium.
func TestDeltaMemory(t *testing.T) {
	mebibytes := 64
	if text := os.Getenv("OTAD_MEMORY_MIB"); text != "" {
		n, err := strconv.Atoi(text)
		must(t, err)
		mebibytes = n
	}
	broker, err := mqtttest.StartMosquitto(mqtttest.Config{})
	if err != nil {
		t.Skip(err)
	}
	defer broker.Close()
	w := newDeltaWorld(t, mebibytes, func(c *config.Config) {
		c.MQTT.Brokers = []string{broker.URL()}
		c.Policy.CheckEvery = config.Duration(time.Hour)
	})
	if !raced {
		w.limitMemory()
	}
	service := w.start()
	service.await(inPhase(ota.PhaseIdle))
	began := time.Now()
	w.wrap = nil
	must(t, w.command(t.Context(), "install", w.site.url+"/fw/2.swu", "--yes").Start())
	peak, anon, seen := 0, 0, (*report.Delta)(nil)
	service.until(func(r report.State) bool {
		peak, anon = max(peak, statusOf(t, service, "VmHWM")), max(anon, statusOf(t, service, "RssAnon"))
		if r.Delta != nil {
			seen = r.Delta
		}
		return r.Phase == ota.PhaseArmed
	})
	w.wantArmed()
	t.Logf("%d MiB in %.1f s: peak %.1f MiB, %.1f of them its own; told %+v", len(w.image)>>20, time.Since(began).Seconds(), float64(peak)/1024, float64(anon)/1024, seen)
	if limit := budgets[swu.KindZstd]; (anon > limit.own || peak > limit.resident) && !raced {
		t.Errorf("otad took %d KiB, %d of its own; more than %d or %d", peak, anon, limit.resident, limit.own)
	}
	if seen == nil || seen.ImageBytes != int64(len(w.image)) || seen.FetchBytes > w.news+w.news/4 {
		t.Errorf("the state told %+v, %d bytes are new", seen, w.news)
	}
}
