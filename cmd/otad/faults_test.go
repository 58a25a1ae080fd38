package main_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"otad/agent/config"
	"otad/agent/report"
	"otad/cmd/internal/cli"
	"otad/ota"
	"otad/ota/swu/swutest"
	"otad/transport/download/downloadtest"
	"otad/transport/upgradelink/upgradelinktest"
)

// world is a box, what it talks to, and a good version 2 that is offered.
type world struct {
	*testing.T
	*box
	site *site
	two  system
	good []byte             // its artifact
	file *downloadtest.File // it on the host
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{T: t, site: newSite(t), two: system{code: 2}}
	w.box = newBox(t, w.site)
	w.good = w.two.artifact(t)
	w.file = w.site.release(t, w.two)
	return w
}

// put replaces the artifact on the host.
func (w *world) put(artifact []byte) { w.file.Replace(downloadtest.Bytes(artifact)) }

// want is what a person sees of a fault.
type want struct {
	exit int
	code ota.Code // "" where nothing but the text tells it
	text string   // in the line that begins with "cannot"
	hint string   // in the hint; "" for whatever it is
}

// faults are the troubles of one `otad upgrade --yes`. After each of them the
// box is as it was, and a good offer installs.
var faults = []struct {
	name  string
	setup func(w *world)
	want  want
}{
	// The API.
	{"wrong secret", func(w *world) { w.write("secret", []byte("not the secret\n")) },
		want{cli.Failed, ota.CodeSecret, "cannot ask", "secret_key_file"}},
	{"unknown access key", func(w *world) { w.configure(func(c *config.Config) { c.Server.AccessKey = "who" }) },
		want{cli.Failed, ota.CodeAccessKey, "cannot ask", "access_key"}},
	{"unknown application key", func(w *world) { w.configure(func(c *config.Config) { c.Firmware.URLKey = "other" }) },
		want{cli.Failed, ota.CodeAppUnknown, `"other"`, "application key"}},
	{"clock off by years, no Date", func(w *world) { w.yearsAhead(); w.site.api.SetDate(noDate) },
		want{cli.Failed, ota.CodeServerClock, "cannot ask", "set the clock"}},
	{"nobody listens", func(w *world) { w.configure(func(c *config.Config) { c.Server.URL = "http://127.0.0.1:1" }) },
		want{cli.Failed, ota.CodeServerUnreachable, "refused", "network"}},
	{"answer cut off", inject(upgradelinktest.CutOff),
		want{cli.Failed, ota.CodeServerUnreachable, "cannot ask", "network"}},
	{"captive portal", inject(upgradelinktest.Portal),
		want{cli.Failed, ota.CodeServerTrouble, "cannot ask", "captive portal"}},
	{"server crashes", inject(upgradelinktest.Crash),
		want{cli.Failed, ota.CodeServerTrouble, "500", "server's end"}},
	{"breaker open", inject(upgradelinktest.BreakerOpen),
		want{cli.Failed, ota.CodeServerTrouble, "503", "server's end"}},
	{"not the API", inject(upgradelinktest.Fault{Status: http.StatusNotFound, Body: "404 page not found\n"}),
		want{cli.Failed, ota.CodeNotSupported, "404", "url"}},
	{"rate limited", func(w *world) {
		w.site.api.Edit(upgradelinktest.URL, urlKey, func(a *upgradelinktest.App) {
			a.Strategies[0].Flow = &upgradelinktest.Flow{Per: time.Hour}
		})
	}, want{cli.Failed, ota.CodeRateLimited, "cannot ask", "later"}},

	// The offer.
	{"no offer", func(w *world) { w.site.api.Edit(upgradelinktest.URL, urlKey, nothing) },
		want{cli.Nothing, ota.CodeNothing, "", ""}},
	{"an offer of the running version", func(w *world) { w.site.offer(1, w.site.url+"/fw/2.swu") },
		want{cli.Nothing, ota.CodeNothing, "", ""}},
	{"a server that offers an older version", offerOf(`"versionCode":0,"urlPath":"http://h/0.swu"`),
		want{cli.Failed, ota.CodeOfferBad, "version 0", ""}},
	{"a server that offers the running version", offerOf(`"versionCode":1,"urlPath":"http://h/1.swu"`),
		want{cli.Failed, ota.CodeOfferBad, "version 1", ""}},
	{"empty URL", func(w *world) { w.site.offer(2, "") },
		want{cli.Failed, ota.CodeOfferBad, "version 2", ""}},
	{"relative URL", func(w *world) { w.site.offer(2, "fw/2.swu") },
		want{cli.Failed, ota.CodeOfferBad, "version 2", ""}},
	{"URL that is not http", func(w *world) { w.site.offer(2, "ftp://host/2.swu") },
		want{cli.Failed, ota.CodeOfferBad, "version 2", ""}},

	// The download.
	{"404 firmware", func(w *world) { w.site.offer(2, w.site.url+"/fw/none.swu") },
		want{cli.Failed, ota.CodeFirmwareMissing, "404 Not Found", "exists"}},
	{"403 firmware", misbehave(downloadtest.Faults{Status: http.StatusForbidden}),
		want{cli.Failed, ota.CodeFirmwareMissing, "403 Forbidden", "may be read"}},
	{"500 firmware", misbehave(downloadtest.Faults{Status: http.StatusInternalServerError}),
		want{cli.Failed, ota.CodeDownloadHTTP, "500", ""}},
	{"HTML instead of firmware", misbehave(downloadtest.Faults{HTML: true}),
		want{cli.Failed, ota.CodeFirmwareHTML, "web page", "captive portal"}},
	{"firmware host gone", func(w *world) { w.site.offer(2, "http://127.0.0.1:1/2.swu") },
		want{cli.Failed, ota.CodeDownloadNetwork, "refused", ""}},
	{"always cut at the same place", misbehave(downloadtest.Faults{Cut: &downloadtest.Cut{At: 600_000, Times: -1}}),
		want{cli.Failed, ota.CodeDownloadNetwork, "closed before the end", ""}},
	{"firmware changes all the time", (*world).restless,
		want{cli.Failed, ota.CodeFirmwareChanged, "changed", ""}},
	{"larger than the staging directory's medium", func(w *world) {
		w.site.host.Add("/fw/2.swu", downloadtest.Pattern(1<<50, 1))
		w.configure(func(c *config.Config) { c.Download.MaxSize, c.Download.Mode = 1<<51, config.ModeStaged })
	}, want{cli.Failed, ota.CodeNoSpace, "no space in the staging directory", ""}},
	{"too slow", func(w *world) {
		w.file.Set(downloadtest.Faults{Rate: 1 << 10})
		w.configure(func(c *config.Config) {
			c.Download.LowSpeed, c.Download.LowSpeedTime = 1<<20, config.Duration(50*time.Millisecond)
		})
	}, want{cli.Failed, ota.CodeDownloadStalled, "stalled", ""}},
	{"larger than allowed", func(w *world) { w.configure(func(c *config.Config) { c.Download.MaxSize = 1 << 20 }) },
		want{cli.Failed, ota.CodeFirmwareTooLarge, "1048576", ""}},
	{"without end", func(w *world) {
		w.file.Set(downloadtest.Faults{Endless: true})
		w.configure(func(c *config.Config) { c.Download.MaxSize = 8 << 20 })
	}, want{cli.Failed, ota.CodeFirmwareTooLarge, "8388608", ""}},

	// The artifact.
	{"truncated", misbehave(downloadtest.Faults{ShortBy: 100_000}),
		want{cli.Failed, ota.CodeArtifactDamaged, "cannot use artifact", ""}},
	{"not an artifact", func(w *world) { w.put(bytes.Repeat([]byte("nonsense "), 100_000)) },
		want{cli.Failed, ota.CodeArtifactDamaged, "07070", ""}},
	{"flipped byte in the description", damage(flipped, "sw-description", 30),
		want{cli.Failed, ota.CodeArtifactDamaged, "sw-description", ""}},
	{"changed description", damage(swapped, "sw-description", 30),
		want{cli.NotTrusted, ota.CodeArtifactSignature, "signs another description", ""}},
	{"flipped byte in the signature", damage(flipped, "sw-description.sig", 300),
		want{cli.Failed, ota.CodeArtifactDamaged, "sw-description.sig", ""}},
	{"changed signature", damage(swapped, "sw-description.sig", -30),
		want{cli.NotTrusted, ota.CodeArtifactSignature, "signature", ""}},
	{"flipped byte in the payload", damage(flipped, "", 500_000),
		want{cli.Failed, ota.CodeArtifactDamaged, "", ""}},
	{"changed payload", damage(swapped, "", 500_000),
		want{cli.NotTrusted, ota.CodeArtifactHash, "", ""}},
	{"flipped byte in a cpio magic", damageHeader(5),
		want{cli.Failed, ota.CodeArtifactDamaged, "cannot use artifact", ""}},
	{"flipped byte in a cpio size", damageHeader(54 + 5),
		want{cli.Failed, ota.CodeArtifactDamaged, "cannot use artifact", ""}},
	{"flipped byte in a cpio check sum", damageHeader(102 + 7),
		want{cli.Failed, ota.CodeArtifactDamaged, "cannot use artifact", ""}},
	{"untrusted signer", func(w *world) {
		other, err := swutest.NewAuthority()
		must(w.T, err)
		w.put(pack(w.T, other, model, "2", w.two.image()))
	}, want{cli.NotTrusted, ota.CodeArtifactUntrusted, "", ""}},
	{"unsigned", func(w *world) { w.put(unsigned(w.T, w.good)) },
		want{cli.NotTrusted, ota.CodeArtifactSignature, "sign", ""}},
	{"wrong model", func(w *world) { w.put(pack(w.T, authority(), "other", "2", w.two.image())) },
		want{cli.Failed, ota.CodeWrongHardware, "stv1", ""}},
	{"image larger than the slot", func(w *world) { w.put(system{code: 2, bytes: slotBytes + 1}.artifact(w.T)) },
		want{cli.Failed, ota.CodeImageTooLarge, fmt.Sprint(slotBytes), ""}},

	// The settings.
	{"unknown key", func(w *world) { w.append("[download]\nlimit_bussy = \"1KiB/s\"\n") },
		want{cli.BadConfig, "", "line", ""}},
	{"misspelt key", func(w *world) { w.rename("check_every", "chek_every") },
		want{cli.BadConfig, "", `did you mean "policy.check_every"?`, ""}},
	{"no configuration", func(w *world) { must(w.T, os.Remove(w.path("otad.toml"))) },
		want{cli.BadConfig, "", "otad.toml", "--config"}},
	{"no secret", func(w *world) { must(w.T, os.Remove(w.path("secret"))) },
		want{cli.BadConfig, "", "secret", ""}},
	{"no trusted CA", func(w *world) { w.configure(func(c *config.Config) { c.Trust.CA = nil }) },
		want{cli.BadConfig, "", "trust.ca", ""}},
	{"a trusted CA that is none", func(w *world) { w.write("ca.pem", []byte("none")) },
		want{cli.BadConfig, "", "trust.ca", ""}},
	{"no version file", func(w *world) { must(w.T, os.Remove(w.path("version"))) },
		want{cli.BadConfig, "", "running version", "version_file"}},
	{"an unknown driver", func(w *world) { w.configure(func(c *config.Config) { c.Board.Driver = "toaster" }) },
		want{cli.BadConfig, "", `"toaster"`, ""}},
}

func TestFaults(t *testing.T) {
	t.Parallel()
	for _, f := range faults {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			f.setup(w)
			before := w.condition()
			r := w.otad("upgrade", "--yes", "--json")
			w.wantFault(r, f.want)
			w.restore()
			s := w.wantUntouched(before)
			switch code := f.want.code; {
			case s.Last != nil: // an update was begun
				if s.Last.Result != ota.PhaseFailed || s.Last.Failure == nil || s.Last.Failure.Code != code {
					t.Errorf("the last update is %+v, failure %+v, want code %s", s.Last, s.Last.Failure, code)
				}
			case code != "" && code != ota.CodeNothing:
				if got := decode[struct{ Code ota.Code }](r).Code; got != code {
					t.Errorf("code %q, want %q", got, code)
				}
			}
			w.wantInstalls()
		})
	}
}

// troubles are those that otad overcomes by itself.
var troubles = []struct {
	name  string
	setup func(w *world)
}{
	{"none", func(*world) {}},
	{"clock off by years, with a Date", (*world).yearsAhead},
	{"firmware changes half-way, once", (*world).changesOnce},
	{"connection cut now and then", misbehave(downloadtest.Faults{Cut: &downloadtest.Cut{At: 300_000, After: true, Times: 3}})},
	{"connection reset", misbehave(downloadtest.Faults{Cut: &downloadtest.Cut{At: 1 << 20, Times: 3, Reset: true}})},
	{"busy host", misbehave(downloadtest.Faults{Busy: 4})},
	{"no ranges, and a cut", misbehave(downloadtest.Faults{NoRanges: true, Cut: &downloadtest.Cut{At: 1 << 20, Times: 1}})},
	{"no validators, and a cut", misbehave(downloadtest.Faults{NoValidators: true, Cut: &downloadtest.Cut{At: 1 << 20, Times: 1}})},
	{"chunked", misbehave(downloadtest.Faults{NoLength: true})},
	{"wrong ranges, and a cut", misbehave(downloadtest.Faults{WrongContentRange: true, Cut: &downloadtest.Cut{At: 1 << 20, Times: 1}})},
}

func TestTroubles(t *testing.T) {
	t.Parallel()
	for _, f := range troubles {
		for _, mode := range []string{config.ModeStaged, config.ModeStreamed} {
			t.Run(f.name+", "+mode, func(t *testing.T) {
				t.Parallel()
				w := newWorld(t)
				w.config.Download.Mode = mode
				w.configure()
				f.setup(w)
				w.otad("upgrade", "--yes").want(cli.RebootNeeded)
				w.wantArmed(w.two)
				if left := w.staged(); mode == config.ModeStreamed && len(left) > 0 {
					t.Errorf("left in staging: %q", left)
				}
			})
		}
	}
}

// complaint is the line that tells a person of an error.
var complaint = regexp.MustCompile(`(?m)^otad \w+: cannot `)

// wantFault checks what a person sees.
func (w *world) wantFault(r result, f want) {
	w.Helper()
	r.want(f.exit, "cannot ", f.text, f.hint)
	if n := len(complaint.FindAllString(r.stderr, -1)); n != 1 {
		w.Errorf("the error is told %d times:\n%s", n, r.stderr)
	}
	if f.hint != "" && !strings.Contains(r.stderr, "\nhint: ") {
		w.Errorf("no hint:\n%s", r.stderr)
	}
	if strings.Contains(r.stderr+r.stdout, secret) {
		w.Errorf("the secret is told:\n%s\n%s", r.stdout, r.stderr)
	}
}

// wantUntouched checks that the box is as it was: both slots, the boot
// environment, nothing under way and nothing left lying about. It returns the
// state.
func (w *world) wantUntouched(before condition) report.State {
	w.Helper()
	if after := w.condition(); after != before {
		w.Errorf("the box was changed:\n%+v\nbefore\n%+v", after, before)
	}
	if reason := w.rebootWanted(); reason != "" {
		w.Errorf("otad asks for a restart: %s", reason)
	}
	if left := w.staged(); len(left) > 0 {
		w.Errorf("left in staging: %q", left)
	}
	s := w.status()
	if s.Phase != ota.PhaseIdle || s.Update != nil || s.Version.Code != 1 || s.Slot != "a" {
		w.Errorf("the state is %+v", s)
	}
	return s
}

// restore puts everything but the offer in order.
func (w *world) restore() {
	w.configure()
	w.write("secret", []byte(secret+"\n"))
	w.write("ca.pem", authority().CA)
	w.write("version", []byte("1 v1\n"))
	w.site.api.ClearFaults()
	w.site.api.SetClock(time.Now)
	w.site.api.SetDate(nil)
}

// wantInstalls offers the good version as it should be and takes it.
func (w *world) wantInstalls() {
	w.Helper()
	w.site.release(w.T, w.two)
	w.otad("upgrade", "--yes").want(cli.RebootNeeded)
	w.wantArmed(w.two)
}

func (w *world) wantArmed(sys system) {
	w.Helper()
	if !w.holds("b", sys.image()) {
		w.Error("slot b does not hold the image")
	}
	if next := w.condition().boot.Next; next != "b" {
		w.Errorf("slot %s is started next, want b", next)
	}
	if w.rebootWanted() == "" {
		w.Error("otad asked for no restart")
	}
}

// The ways to be wrong.

func (w *world) yearsAhead() {
	w.site.api.SetClock(func() time.Time { return time.Now().AddDate(7, 0, 0) })
}

func noDate(time.Time) string { return "" }

func nothing(a *upgradelinktest.App) { *a = upgradelinktest.App{} }

func inject(f upgradelinktest.Fault) func(*world) {
	return func(w *world) { w.site.api.Inject(f) }
}

// offerOf makes the server answer with an offer of its own making.
func offerOf(members string) func(*world) {
	body := `{"code":200,"msg":"ok","data":{"urlKey":"` + urlKey + `","versionName":"v","upgradeType":2,` + members + `}}`
	return inject(upgradelinktest.Fault{Status: http.StatusOK, ContentType: "application/json", Body: body})
}

func misbehave(f downloadtest.Faults) func(*world) {
	return func(w *world) { w.file.Set(f) }
}

// changesOnce serves something else until the middle of it.
func (w *world) changesOnce() {
	w.put(system{code: 2, bytes: imageBytes - 1}.artifact(w.T))
	w.file.Set(downloadtest.Faults{Change: &downloadtest.Change{At: 1 << 20, To: downloadtest.Bytes(w.good)}})
}

// restless makes the host serve another content for each request, and cut it
// in the middle.
func (w *world) restless() {
	seed := uint64(0)
	const size = 1 << 20
	url := hostFunc(w.T, func(rw http.ResponseWriter, _ *http.Request) {
		seed++ // one request at a time
		rw.Header().Set("ETag", fmt.Sprintf(`"%d"`, seed))
		rw.Header().Set("Content-Length", fmt.Sprint(size))
		io.Copy(rw, io.NewSectionReader(downloadtest.Pattern(size, seed), 0, size/2))
		panic(http.ErrAbortHandler)
	})
	w.site.offer(2, url+"/2.swu")
}

// damage changes one place of the good artifact: in an entry (the payload when
// it has no name), at bytes after the beginning of its data, or, when negative,
// before its end.
func damage(how func([]byte, int64) []byte, entry string, at int64) func(*world) {
	return func(w *world) {
		e := entryOf(w.T, w.good, entry)
		if at < 0 {
			at += e.SizeBytes
		}
		w.put(how(w.good, e.OffsetBytes+at))
	}
}

// damageHeader flips a byte of the cpio header of the payload.
func damageHeader(at int64) func(*world) {
	return func(w *world) {
		e := entryOf(w.T, w.good, "")
		header := e.OffsetBytes - (110+int64(len(e.Name))+1+3)&^3
		w.put(flipped(w.good, header+at))
	}
}

// append adds text to the settings file.
func (w *world) append(text string) {
	data := w.read(w.path("otad.toml"))
	// A table may be opened once: the lines go behind its head.
	head, lines, _ := strings.Cut(text, "\n")
	i := bytes.Index(data, []byte(head+"\n")) + len(head) + 1
	w.write("otad.toml", slices.Concat(data[:i], []byte(lines), data[i:]))
}

// rename renames a key of the settings file.
func (w *world) rename(key, to string) {
	data := w.read(w.path("otad.toml"))
	w.write("otad.toml", bytes.Replace(data, []byte(key), []byte(to), 1))
}
