package packages

import (
	"bytes"
	"context"
	"crypto/md5"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"otad/ota"
	"otad/ota/durable"
	"otad/ota/journal"
	"otad/ota/swu"
	"otad/ota/swu/swutest"
)

const address = "http://host/apps/launcher.apk?token=1"

// world is a server, a file host and a box with an installer.
type world struct {
	t         *testing.T
	dir       string
	journal   *journal.Journal
	authority swutest.Authority

	mu        sync.Mutex
	offer     Offer
	details   Details
	detailErr error
	files     map[string][]byte
	faults    []error // of the next fetches
	fetches   []string
	busy      string
}

func newWorld(t *testing.T) *world {
	t.Helper()
	authority, err := swutest.NewAuthority()
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, dir: t.TempDir(), authority: authority, files: map[string][]byte{}}
	w.journal = w.open()
	t.Cleanup(func() { w.journal.Close() })
	// The installer keeps what it got, and what it was told.
	w.write("install", "#!/bin/sh\ncat > "+w.path("facts")+"\ncp \"$1\" "+w.path("app")+"\necho \"$1\" >> "+w.path("calls")+
		"\n[ -e "+w.path("refuse")+" ] && { echo 'no such feature' >&2; exit 3; }\n[ -e "+w.path("kill")+" ] && kill -9 $$\nexit 0\n", 0o755)
	return w
}

func (w *world) open() *journal.Journal {
	w.t.Helper()
	j, _, err := journal.Open(w.path("journal.db"), time.Now())
	if err != nil {
		w.t.Fatal(err)
	}
	return j
}

func (w *world) path(name string) string { return filepath.Join(w.dir, name) }

func (w *world) write(name, text string, perm os.FileMode) {
	w.t.Helper()
	if err := durable.WriteFile(durable.OS, w.path(name), []byte(text), perm); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) read(name string) string {
	data, err := os.ReadFile(w.path(name))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		w.t.Fatal(err)
	}
	return string(data)
}

func (w *world) Offer(_ context.Context, installed int64) (Offer, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.offer.Version.Code <= installed {
		return Offer{}, ota.NewRefused(ota.CodeNothing, errors.New("nothing"))
	}
	return w.offer, nil
}

func (w *world) Details(context.Context, int64) (Details, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.details, w.detailErr
}

func (w *world) Fetch(_ context.Context, f Fetch) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.fetches = append(w.fetches, fmt.Sprintf("%s from %d", f.URL, f.From.SyncedBytes))
	data, is := w.files[f.URL]
	if !is {
		return ota.NewPermanent(ota.CodeFirmwareMissing, errors.New("404"))
	}
	if len(w.faults) > 0 {
		fault := w.faults[0]
		w.faults = w.faults[1:]
		half := int64(len(data) / 2)
		if err := errors.Join(os.WriteFile(f.Path, data[:half], 0o600), f.Save(ota.Checkpoint{URL: f.URL, SyncedBytes: half, TotalBytes: int64(len(data))})); err != nil {
			return err
		}
		return fault
	}
	f.Progress(int64(len(data)), int64(len(data)))
	return os.WriteFile(f.Path, data, 0o600)
}

// publish offers a version with a content under an address.
func (w *world) publish(code int64, url string, content []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	sum := md5.Sum(content)
	w.files[url] = content
	w.offer = Offer{Version: ota.Version{Code: code, Name: fmt.Sprintf("v%d", code)}, Type: ota.UpgradeSilent, URL: url,
		SizeBytes: int64(len(content)), MD5: hex.EncodeToString(sum[:])}
}

func (w *world) sign(url string, content []byte) {
	w.t.Helper()
	signature, err := w.authority.Signer.Sign(content)
	if err != nil {
		w.t.Fatal(err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.files[url] = signature
}

// channel opens the package as a start of otad does.
func (w *world) channel(trust string, change ...func(*Parts)) *Channel {
	w.t.Helper()
	anchors, err := swu.ParseTrust(w.authority.CA)
	if err != nil {
		w.t.Fatal(err)
	}
	p := Parts{Name: "launcher", Kind: "apk", Key: "K", Trust: trust, Install: w.path("install"), Timeout: time.Minute, Dir: w.path("staging"),
		FS: durable.OS, Server: w, Fetcher: w, Journal: w.journal, Anchors: func() (*swu.Trust, error) { return anchors, nil },
		Box: swu.Selection{Board: "stv1", Revision: "1.0", Set: "stable", Mode: "copy1"}, Now: time.Now, Report: true, Result: func(*ota.Failure) int64 { return 1 },
		Log: slog.New(slog.DiscardHandler),
		May: func(context.Context, ota.UpgradeType, time.Time) (string, time.Duration) { return w.busy, time.Minute },
		Tell: func(o ota.Outcome) journal.Event {
			return journal.Event{Payload: []byte(`{"type":"package"}`), Outcome: true}
		}}
	for _, f := range change {
		f(&p)
	}
	c, err := Open(p)
	if err != nil {
		w.t.Fatal(err)
	}
	return c
}

// ended checks the newest end in the history.
func (w *world) ended(want ota.Phase, code ota.Code) {
	w.t.Helper()
	history, err := w.journal.History(1)
	if err != nil || len(history) == 0 {
		w.t.Fatalf("no end in the history: %v", err)
	}
	o := history[0]
	got := ota.Code("")
	if o.Failure != nil {
		got = o.Failure.Code
	}
	if o.Result != want || got != code || o.Kind != ota.KindPackage || o.Name != "launcher" {
		w.t.Errorf("it ended %+v, %+v; want %s %s", o, o.Failure, want, code)
	}
	if names, _ := durable.OS.ReadDir(w.path("staging")); len(names) > 0 {
		w.t.Errorf("left behind: %v", names)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestHashOnly(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	content := bytes.Repeat([]byte("PK launcher 2"), 1000)
	w.publish(2, address, content)
	sum := sha256.Sum256(content)
	w.details = Details{Name: "v2", Description: "the new one", SHA256: strings.ToUpper(hex.EncodeToString(sum[:]))}
	c := w.channel(TrustHashOnly)
	must(t, c.Round(t.Context()))
	w.ended(ota.PhaseConfirmed, "")
	if w.read("app") != string(content) || !strings.HasSuffix(strings.TrimSpace(w.read("calls")), "package-launcher.apk") {
		t.Errorf("installed %d bytes by %q", len(w.read("app")), w.read("calls"))
	}
	for _, want := range []string{`"version_code":2`, `"version_name":"v2"`, `"description":"the new one"`, `"from_code":0`, `"name":"launcher"`} {
		if !strings.Contains(w.read("facts"), want) {
			t.Errorf("the installer was told %s, not %s", w.read("facts"), want)
		}
	}
	if s := c.State(); s.Record.Installed.Code != 2 || s.Record.Work != nil || s.Trouble != nil {
		t.Errorf("state %+v", s)
	}
	reports, err := w.journal.Reports()
	must(t, err)
	if len(reports.Queue) != 2 || reports.Queue[0].Report.Type != "app_upgrade_download" || reports.Queue[1].Report.Running != 2 {
		t.Errorf("reports %+v", reports.Queue)
	}
	// Nothing newer: nothing happens.
	must(t, w.channel(TrustHashOnly).Round(t.Context()))
	if strings.Count(w.read("calls"), "\n") != 1 {
		t.Errorf("installed again: %q", w.read("calls"))
	}
}

// What does not match is never given to the installer, and is remembered.
func TestRefusals(t *testing.T) {
	t.Parallel()
	content := []byte("a package")
	for _, row := range []struct {
		name, trust string
		prepare     func(w *world)
		code        ota.Code
	}{
		{"md5", TrustHashOnly, func(w *world) { w.offer.MD5 = strings.Repeat("0", 32) }, ota.CodeArtifactHash},
		{"size", TrustHashOnly, func(w *world) { w.offer.SizeBytes++ }, ota.CodeArtifactHash},
		{"sha256 of the look-up", TrustHashOnly, func(w *world) { w.details.SHA256 = strings.Repeat("0", 64) }, ota.CodeArtifactHash},
		{"no hash", TrustHashOnly, func(w *world) { w.offer.MD5 = "" }, ota.CodePackageUnchecked},
		{"hash of a signed one", TrustCMS, func(w *world) {
			w.sign("http://host/apps/launcher.apk.sig?token=1", content)
			w.offer.MD5 = strings.Repeat("0", 32)
		}, ota.CodeArtifactHash},
		{"no signature", TrustCMS, func(*world) {}, ota.CodePackageUnchecked},
		{"signature of another file", TrustCMS, func(w *world) { w.sign("http://host/apps/launcher.apk.sig?token=1", []byte("other")) }, ota.CodeArtifactSignature},
		{"signed by somebody else", TrustCMS, func(w *world) {
			other, err := swutest.NewAuthority()
			must(w.t, err)
			signature, err := other.Signer.Sign(content)
			must(w.t, err)
			w.files["http://host/apps/launcher.apk.sig?token=1"] = signature
		}, ota.CodeArtifactUntrusted},
		{"no artifact", TrustSWU, func(*world) {}, ota.CodeArtifactDamaged},
		{"artifact of something else", TrustSWU, func(w *world) { w.publish(2, address, w.pack("rootfs", "2", "stv1", content)) }, ota.CodeArtifactUnsupported},
		{"artifact for another box", TrustSWU, func(w *world) { w.publish(2, address, w.pack("launcher", "2", "other", content)) }, ota.CodeWrongHardware},
		{"installer says no", TrustHashOnly, func(w *world) { w.write("refuse", "", 0o644) }, ota.CodePackageHook},
		{"no file there", TrustHashOnly, func(w *world) { clear(w.files) }, ota.CodeFirmwareMissing},
		{"no room", TrustHashOnly, func(w *world) { w.faults = []error{ota.NewTransient(ota.CodeNoSpace, errors.New("full"))} }, ota.CodeNoSpace},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.publish(2, address, content)
			row.prepare(w)
			c := w.channel(row.trust)
			must(t, c.Round(t.Context()))
			w.ended(ota.PhaseFailed, row.code)
			if calls := w.read("calls"); (calls != "") != (row.code == ota.CodePackageHook) {
				t.Errorf("the installer was called: %q", calls)
			}
			if s := c.State(); s.Record.Bad == nil || s.Record.Bad.Version.Code != 2 || s.Record.Installed.Code != 0 {
				t.Errorf("state %+v", s)
			}
			before := len(w.fetches)
			must(t, w.channel(row.trust).Round(t.Context())) // also after a restart
			if len(w.fetches) != before {
				t.Errorf("it was tried again: %q", w.fetches)
			}
		})
	}
}

func (w *world) pack(name, version, model string, content []byte) []byte {
	w.t.Helper()
	var out bytes.Buffer
	stored, err := swu.Compress(&bytes.Buffer{}, bytes.NewReader(content), swu.KindNone)
	must(w.t, err)
	m := swu.Manifest{Version: version, Model: model,
		Payloads: []swu.Payload{{Filename: "launcher.apk", Name: name, Stored: stored, Content: bytes.NewReader(content)}}}
	must(w.t, swu.Pack(&out, m, w.authority.Signer))
	return out.Bytes()
}

func TestSignedBeside(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	content := []byte("signed package")
	w.publish(2, address, content)
	w.sign("http://host/apps/launcher.apk.sig?token=1", content)
	must(t, w.channel(TrustCMS).Round(t.Context()))
	w.ended(ota.PhaseConfirmed, "")
	// A signature elsewhere.
	content = []byte("the next one")
	w.publish(3, address, content)
	w.sign("http://elsewhere/sig", content)
	must(t, w.channel(TrustCMS, func(p *Parts) { p.Signature = "http://elsewhere/sig" }).Round(t.Context()))
	w.ended(ota.PhaseConfirmed, "")
	if w.read("app") != string(content) {
		t.Errorf("installed %q", w.read("app"))
	}
}

func TestInAnArtifact(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.publish(2, "http://host/launcher-2.swu", w.pack("launcher", "2.0", "stv1", []byte("two")))
	must(t, w.channel(TrustSWU).Round(t.Context()))
	w.ended(ota.PhaseConfirmed, "")
	if w.read("app") != "two" || !strings.HasSuffix(strings.TrimSpace(w.read("calls")), ".apk") {
		t.Errorf("installed %q by %q", w.read("app"), w.read("calls"))
	}
	// The signed version is below the floor, whatever the server calls it.
	w.publish(3, "http://host/launcher-3.swu", w.pack("launcher", "1.9", "stv1", []byte("three")))
	must(t, w.channel(TrustSWU).Round(t.Context()))
	w.ended(ota.PhaseFailed, ota.CodeBelowFloor)
}

// A download that breaks goes on from its checkpoint, at the next round or after
// a restart; the offer is not asked for again.
func TestResume(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.publish(2, address, bytes.Repeat([]byte("x"), 1000))
	broken := ota.NewTransient(ota.CodeDownloadNetwork, errors.New("reset"))
	w.faults = []error{broken, broken}
	c := w.channel(TrustHashOnly)
	if err := c.Round(t.Context()); ota.FaultOf(err) == nil || c.State().Trouble == nil {
		t.Errorf("round: %v", err)
	}
	w.offer = Offer{} // the rollout is full
	c = w.channel(TrustHashOnly)
	if err := c.Round(t.Context()); err == nil {
		t.Error("no fault")
	}
	must(t, c.Round(t.Context()))
	w.ended(ota.PhaseConfirmed, "")
	if got := strings.Join(w.fetches, "; "); got != address+" from 0; "+address+" from 500; "+address+" from 500" {
		t.Errorf("fetched %s", got)
	}
}

func TestGivesUp(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.publish(2, address, []byte("xy"))
	for range maxFetches + 1 { // the first brings something
		w.faults = append(w.faults, ota.NewTransient(ota.CodeDownloadNetwork, errors.New("reset")))
	}
	c := w.channel(TrustHashOnly)
	for range maxFetches + 2 {
		_ = c.Round(t.Context())
	}
	w.ended(ota.PhaseFailed, ota.CodeDownloadNetwork)
	if bad := c.State().Record.Bad; bad == nil || bad.Until.IsZero() {
		t.Errorf("it rests for ever: %+v", bad)
	}
}

// Nobody is disturbed: it waits, whole, and goes on when it may.
func TestWaits(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.publish(2, address, []byte("x"))
	w.busy = "the box is in use: watching"
	c := w.channel(TrustHashOnly)
	f := ota.FaultOf(c.Round(t.Context()))
	if f == nil || f.Code != ota.CodeNotNow || f.RetryAfter != time.Minute || c.State().Reason != w.busy || c.State().Trouble != nil {
		t.Errorf("fault %+v, state %+v", f, c.State())
	}
	w.busy = ""
	c = w.channel(TrustHashOnly)
	must(t, c.Round(t.Context()))
	w.ended(ota.PhaseConfirmed, "")
	if len(w.fetches) != 1 {
		t.Errorf("fetched %q", w.fetches)
	}
}

// An installer that is killed, as by a power cut, is called again, not for ever.
func TestInterruptedInstaller(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.publish(2, address, []byte("x"))
	w.write("kill", "", 0o644)
	for range maxInstalls {
		c := w.channel(TrustHashOnly)
		if err := c.Round(t.Context()); err == nil {
			t.Error("no fault")
		}
		if !w.channel(TrustHashOnly).Pending() {
			t.Error("nothing is pending")
		}
	}
	must(t, w.channel(TrustHashOnly).Round(t.Context()))
	w.ended(ota.PhaseFailed, ota.CodeAttempts)
	if n := strings.Count(w.read("calls"), "\n"); n != maxInstalls {
		t.Errorf("%d calls", n)
	}
}

// The package itself says what is installed.
func TestVersionSource(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.publish(5, address, []byte("x"))
	says := int64(4)
	source := func(p *Parts) { p.Installed = func(context.Context) (int64, error) { return says, nil } }
	must(t, w.channel(TrustHashOnly, source).Round(t.Context()))
	w.ended(ota.PhaseFailed, ota.CodeVersionMismatch) // it goes on saying 4
	w.publish(6, address, []byte("y"))
	w.write("kill", "", 0o644)
	c := w.channel(TrustHashOnly, source)
	if err := c.Round(t.Context()); err == nil {
		t.Error("no fault")
	}
	says = 6 // the power went after the installer's work
	must(t, c.Round(t.Context()))
	w.ended(ota.PhaseConfirmed, "")
	if n := strings.Count(w.read("calls"), "\n"); n != 2 {
		t.Errorf("%d calls", n)
	}
	broken := func(p *Parts) {
		p.Installed = func(context.Context) (int64, error) { return 0, errors.New("no such program") }
	}
	if f := ota.FaultOf(w.channel(TrustHashOnly, broken).Round(t.Context())); f == nil || f.Code != ota.CodePackageHook {
		t.Errorf("fault %+v", f)
	}
}

// A staged file that disappeared is fetched again.
func TestStagedFileGone(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.publish(2, address, []byte("x"))
	w.busy = "busy"
	c := w.channel(TrustHashOnly)
	_ = c.Round(t.Context())
	must(t, os.Remove(filepath.Join(w.dir, "staging", "package-launcher.apk")))
	w.busy = ""
	_ = c.Round(t.Context())
	must(t, c.Round(t.Context()))
	w.ended(ota.PhaseConfirmed, "")
	if len(w.fetches) != 2 {
		t.Errorf("fetched %q", w.fetches)
	}
}
