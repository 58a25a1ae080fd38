package upgradelink_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"otad/ota"
	"otad/transport/upgradelink"
	"otad/transport/upgradelink/upgradelinktest"
)

// startServer starts a strict server that offers version 2 of url "k".
func startServer(t *testing.T, o upgradelinktest.Options) *upgradelinktest.Server {
	t.Helper()
	s := upgradelinktest.NewServer(o)
	t.Cleanup(s.Close)
	s.Publish(upgradelinktest.URL, "k",
		upgradelinktest.Version{Code: 2, URL: "https://files.example.com/2.swu", Description: "two"},
		upgradelinktest.Strategy{UpgradeType: 2, Prompt: "快"})
	return s
}

func newClient(t *testing.T, s *upgradelinktest.Server, change func(*upgradelink.Options)) *upgradelink.Client {
	t.Helper()
	o := upgradelink.Options{BaseURL: s.URL, AccessKey: upgradelinktest.DemoAccessKey, Secret: upgradelinktest.DemoSecretKey}
	if change != nil {
		change(&o)
	}
	c, err := upgradelink.New(o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

var v1 = upgradelink.Query{Key: "k", VersionCode: 1}

// wantFault checks class and code, and that the text is made for people.
func wantFault(t *testing.T, err error, class ota.Class, code ota.Code) *ota.Fault {
	t.Helper()
	var f *ota.Fault
	if !errors.As(err, &f) {
		t.Fatalf("error %v (%T), want a fault", err, err)
	}
	if f.Class != class || f.Code != code {
		t.Errorf("fault %s %s, want %s %s: %v", f.Class, f.Code, class, code, err)
	}
	if !strings.HasPrefix(err.Error(), "cannot ") || strings.ContainsAny(err.Error(), "\n\r\x1b") {
		t.Errorf("text %q", err)
	}
	return f
}

func TestEveryRoute(t *testing.T) {
	t.Parallel()
	s := startServer(t, upgradelinktest.Options{})
	const huge = int64(9007199254740993) // 2^53 + 1
	for _, kind := range []upgradelinktest.Kind{upgradelinktest.File, upgradelinktest.APK, upgradelinktest.Linux,
		upgradelinktest.Windows, upgradelinktest.Configuration, upgradelinktest.URL} {
		arch := ""
		if kind == upgradelinktest.Linux || kind == upgradelinktest.Windows {
			arch = "arm64"
		}
		s.Edit(kind, "all", func(a *upgradelinktest.App) { a.PackageName = "org.example" })
		s.Publish(kind, "all", upgradelinktest.Version{Code: huge, Name: "big", Arch: arch, Description: "d",
			URL: "http://h/a b/é.bin", SizeBytes: 5, MD5: "m", Content: json.RawMessage(`{"a":"b"}`)},
			upgradelinktest.Strategy{UpgradeType: 3, Models: []string{"stv1"}, Devices: []string{"mac&<>"}})
	}
	c := newClient(t, s, nil)
	ctx := t.Context()
	q := upgradelink.Query{Key: "all", VersionCode: huge - 1, AppointVersionCode: huge, ModelKey: "stv1", DeviceKey: "mac&<>", Arch: "arm64"}
	release := upgradelink.Release{VersionName: "big", VersionCode: huge, UpgradeType: upgradelink.UpgradeForced}
	pack := upgradelink.Package{PackageName: "org.example", URL: "http://h/a%20b/%C3%A9.bin", SizeBytes: 5, MD5: "m"}
	look := q
	look.VersionCode = huge
	version := upgradelink.Version{VersionName: "big", VersionCode: huge, Description: "d"}
	packaged := version
	packaged.PackageName = "org.example"
	for _, row := range []struct {
		name string
		got  func() (any, error)
		want any
	}{
		{"url/upgrade", func() (any, error) { return c.UpgradeURL(ctx, q) }, &upgradelink.URLOffer{Key: "all", Release: release, URL: pack.URL}},
		{"file/upgrade", func() (any, error) { return c.UpgradeFile(ctx, q) },
			&upgradelink.FileOffer{Key: "all", Release: release, URL: pack.URL, SizeBytes: 5}},
		{"apk/upgrade", func() (any, error) { return c.UpgradeAPK(ctx, q) }, &upgradelink.APKOffer{Key: "all", Release: release, Package: pack}},
		{"lnx/upgrade", func() (any, error) { return c.UpgradeLinux(ctx, q) }, &upgradelink.LinuxOffer{Key: "all", Release: release, Package: pack}},
		{"win/upgrade", func() (any, error) { return c.UpgradeWindows(ctx, q) }, &upgradelink.WindowsOffer{Key: "all", Release: release, Package: pack}},
		{"configuration/upgrade", func() (any, error) { return c.UpgradeConfiguration(ctx, q) },
			&upgradelink.ConfigurationOffer{Key: "all", Release: release, Content: json.RawMessage(`{"a":"b"}`)}},
		{"url/version", func() (any, error) { return c.VersionURL(ctx, look) }, &version},
		{"file/version", func() (any, error) { return c.VersionFile(ctx, look) }, &version},
		{"configuration/version", func() (any, error) { return c.VersionConfiguration(ctx, look) }, &version},
		{"apk/version", func() (any, error) { return c.VersionAPK(ctx, look) }, &packaged},
		{"lnx/version", func() (any, error) { return c.VersionLinux(ctx, look) }, &packaged},
		{"win/version", func() (any, error) { return c.VersionWindows(ctx, look) }, &upgradelink.WindowsVersion{Version: packaged}},
	} {
		got, err := row.got()
		if err != nil {
			t.Errorf("%s: %v", row.name, err)
			continue
		}
		if g, w := fmt.Sprintf("%+v", got), fmt.Sprintf("%+v", row.want); g != w {
			t.Errorf("%s:\n got %s\nwant %s", row.name, g, w)
		}
	}
}

// TestRequestBytes pins what goes over the wire.
func TestRequestBytes(t *testing.T) {
	t.Parallel()
	s := startServer(t, upgradelinktest.Options{})
	c := newClient(t, s, nil)
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.FixedZone("", 3600))
	rich := upgradelink.Query{Key: "<&>", VersionCode: 1, AppointVersionCode: 2, ModelKey: "m", DeviceKey: "机", Arch: "x64", PatchAlgo: 1}
	for _, row := range []struct {
		name string
		send func()
		body string
	}{
		{"optional members are omitted", func() { c.UpgradeURL(t.Context(), v1) }, `{"urlKey":"k","versionCode":1}`},
		{"order, no HTML escapes", func() { c.UpgradeURL(t.Context(), rich) },
			`{"urlKey":"<&>","versionCode":1,"appointVersionCode":2,"devModelKey":"m","devKey":"机"}`},
		{"arch comes second", func() { c.UpgradeLinux(t.Context(), rich) },
			`{"lnxKey":"<&>","arch":"x64","versionCode":1,"appointVersionCode":2,"devModelKey":"m","devKey":"机"}`},
		{"apk has patches", func() { c.UpgradeAPK(t.Context(), rich) },
			`{"apkKey":"<&>","versionCode":1,"appointVersionCode":2,"devModelKey":"m","devKey":"机","patchAlgo":1}`},
		{"a look-up names no device", func() { c.VersionConfiguration(t.Context(), rich) }, `{"configurationKey":"<&>","versionCode":1}`},
		{"app_start", func() {
			c.Report(t.Context(), upgradelink.Event{Type: upgradelink.EventStart, AppKey: "k", Time: at, VersionCode: 1, Target: "linux"})
		}, `{"eventType":"app_start","appKey":"k","timestamp":"2026-01-02T02:04:05Z","eventData":{"launchTime":"2026-01-02T02:04:05Z","versionCode":1,"target":"linux"}}`},
		{"app_upgrade_download", func() {
			c.Report(t.Context(), upgradelink.Event{Type: upgradelink.EventDownload, AppKey: "k", Time: at, VersionCode: 1, TargetVersionCode: 2})
		}, `{"eventType":"app_upgrade_download","appKey":"k","timestamp":"2026-01-02T02:04:05Z","eventData":{"versionCode":1,"downloadVersionCode":2,"code":0}}`},
		{"app_upgrade_upgrade", func() {
			c.Report(t.Context(), upgradelink.Event{Type: upgradelink.EventUpgrade, AppKey: "k", Time: at, VersionCode: 1, TargetVersionCode: 2,
				Code: upgradelink.ResultChecksum, ModelKey: "m", DeviceKey: "d", Arch: "armv7"})
		}, `{"eventType":"app_upgrade_upgrade","appKey":"k","timestamp":"2026-01-02T02:04:05Z","eventData":{"versionCode":1,"devModelKey":"m","devKey":"d","arch":"armv7","upgradeVersionCode":2,"code":1004}}`},
	} {
		row.send()
		all := s.Requests()
		last := all[len(all)-1]
		if last.Body != row.body {
			t.Errorf("%s:\n got %s\nwant %s", row.name, last.Body, row.body)
		}
		if last.Header.Get("Content-Length") != fmt.Sprint(len(row.body)) || last.Header.Get("Content-Type") != "application/json" {
			t.Errorf("%s: header %v", row.name, last.Header)
		}
		if strings.Contains(strings.ToLower(fmt.Sprint(last.Header)), "test:") {
			t.Errorf("%s: a header that opens the server to everybody", row.name)
		}
	}
	if n := len(s.Reports()); n != 3 {
		t.Errorf("%d reports were stored, want 3", n)
	}
}

func TestFaultsAreClassed(t *testing.T) {
	t.Parallel()
	flow := func(s *upgradelinktest.Server) {
		s.Edit(upgradelinktest.URL, "k", func(a *upgradelinktest.App) { a.Strategies[0].Flow = &upgradelinktest.Flow{Per: time.Hour} })
	}
	inject := func(f upgradelinktest.Fault) func(*upgradelinktest.Server) {
		return func(s *upgradelinktest.Server) { s.Inject(f) }
	}
	unknownApp := upgradelink.Query{Key: "other", VersionCode: 1}
	for _, row := range []struct {
		name  string
		setup func(*upgradelinktest.Server)
		opt   func(*upgradelink.Options)
		query upgradelink.Query
		class ota.Class
		code  ota.Code
		hint  string
	}{
		{"wrong secret", nil, func(o *upgradelink.Options) { o.Secret = "wrong" }, v1, ota.Refused, ota.CodeSecret, "secret_key_file"},
		{"unknown access key", nil, func(o *upgradelink.Options) { o.AccessKey = "who" }, v1, ota.Refused, ota.CodeAccessKey, "access_key"},
		{"unknown application", nil, nil, unknownApp, ota.Refused, ota.CodeAppUnknown, "application key"},
		{"no key", nil, nil, upgradelink.Query{VersionCode: 1}, ota.Refused, ota.CodeServerRefused, "did not accept"},
		{"up to date", nil, nil, upgradelink.Query{Key: "k", VersionCode: 2}, ota.Refused, ota.CodeNothing, ""},
		{"flow limit", flow, nil, v1, ota.Transient, ota.CodeRateLimited, "later"},
		{"crash", inject(upgradelinktest.Crash), nil, v1, ota.Transient, ota.CodeServerTrouble, "later"},
		{"breaker", inject(upgradelinktest.BreakerOpen), nil, v1, ota.Transient, ota.CodeServerTrouble, "later"},
		{"captive portal", inject(upgradelinktest.Portal), nil, v1, ota.Transient, ota.CodeServerTrouble, "captive portal"},
		{"empty 200", inject(upgradelinktest.Fault{Status: 200}), nil, v1, ota.Transient, ota.CodeServerTrouble, "captive portal"},
		{"other JSON", inject(upgradelinktest.Fault{Status: 200, Body: `{"ok":true}`}), nil, v1, ota.Transient, ota.CodeServerTrouble, "captive portal"},
		{"offer without data", inject(upgradelinktest.Fault{Status: 200, Body: `{"code":200,"data":null}`}), nil, v1,
			ota.Transient, ota.CodeServerTrouble, ""},
		{"code in an HTTP 200", inject(upgradelinktest.Fault{Status: 200, Body: `{"code":401002,"msg":"x"}`}), nil, v1,
			ota.Refused, ota.CodeSecret, "secret"},
		{"success in an HTTP 502", inject(upgradelinktest.Fault{Status: 502, Body: `{"code":0}`}), nil, v1,
			ota.Transient, ota.CodeServerTrouble, "later"},
		{"terminal escapes", inject(upgradelinktest.Fault{Status: 400, Body: `{"code":400003,"msg":"a\u001b[2Jb\nc"}`}), nil, v1,
			ota.Refused, ota.CodeServerRefused, ""},
		{"forbidden by a proxy", inject(upgradelinktest.Fault{Status: 403, Body: "<html>"}), nil, v1, ota.Transient, ota.CodeServerTrouble, "proxy"},
		{"plain HTTP to the TLS port of a proxy", inject(upgradelinktest.Fault{Status: 400, Body: "<html>"}), nil, v1,
			ota.Transient, ota.CodeServerTrouble, "[server] url"},
		{"no such route", inject(upgradelinktest.Fault{Status: 404, Body: "404 page not found\n"}), nil, v1,
			ota.Refused, ota.CodeNotSupported, "older UpgradeLink"},
		{"answer without end", inject(upgradelinktest.Fault{Status: 200, Body: strings.Repeat(" ", 1<<20+1)}), nil, v1,
			ota.Transient, ota.CodeServerTrouble, ""},
		{"answer of the largest size", inject(upgradelinktest.Fault{Status: 200, Body: `{"code":0}` + strings.Repeat(" ", 1<<20-10)}), nil, v1,
			ota.Refused, ota.CodeNothing, ""},
		{"cut", inject(upgradelinktest.CutOff), nil, v1, ota.Transient, ota.CodeServerUnreachable, "network"},
		{"stalled", inject(upgradelinktest.Stalled), func(o *upgradelink.Options) { o.HTTP = &http.Client{Timeout: 50 * time.Millisecond} }, v1,
			ota.Transient, ota.CodeServerUnreachable, "network"},
		{"nobody listens", nil, func(o *upgradelink.Options) { o.BaseURL = "http://127.0.0.1:1" }, v1, ota.Transient, ota.CodeServerUnreachable, "network"},
		{"TLS to a plain port", nil, func(o *upgradelink.Options) { o.BaseURL = strings.Replace(o.BaseURL, "http", "https", 1) }, v1,
			ota.Transient, ota.CodeServerUnreachable, "TLS"},
		{"long device key", nil, nil, upgradelink.Query{Key: "k", DeviceKey: strings.Repeat("机", 129)}, ota.Refused, ota.CodeConfig, "[device]"},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			s := startServer(t, upgradelinktest.Options{})
			if row.setup != nil {
				row.setup(s)
			}
			o, err := newClient(t, s, row.opt).UpgradeURL(t.Context(), row.query)
			if o != nil {
				t.Errorf("offer %+v", o)
			}
			f := wantFault(t, err, row.class, row.code)
			if !strings.Contains(f.Hint, row.hint) {
				t.Errorf("hint %q does not name %q", f.Hint, row.hint)
			}
			if len(s.Requests()) > 1 {
				t.Errorf("%d requests for one call", len(s.Requests()))
			}
		})
	}
}

func TestAPIErrorIsKept(t *testing.T) {
	t.Parallel()
	s := startServer(t, upgradelinktest.Options{})
	_, err := newClient(t, s, nil).VersionURL(t.Context(), upgradelink.Query{Key: "k", VersionCode: 9})
	var said *upgradelink.APIError
	if !errors.As(err, &said) {
		t.Fatalf("error %v", err)
	}
	if said.HTTPStatus != 404 || said.Code != 404001 || said.Msg != "No available version was found" ||
		!strings.Contains(said.Docs, "app-version.html") || len(said.TraceID) != 32 {
		t.Errorf("said %+v", said)
	}
}

func TestRetryAfter(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 11, 22, 4, 0, 0, 0, time.UTC)
	for text, want := range map[string]time.Duration{
		"":                              0,
		"soon":                          0,
		"-5":                            0,
		"120":                           2 * time.Minute,
		"9223372036854775807":           24 * time.Hour,
		"Sun, 22 Nov 2026 04:10:00 GMT": 10 * time.Minute,
		"Sun, 22 Nov 2026 03:10:00 GMT": 0,
		"Sun, 22 Nov 2037 04:10:00 GMT": 24 * time.Hour,
	} {
		t.Run(text, func(t *testing.T) {
			t.Parallel()
			s := startServer(t, upgradelinktest.Options{Now: func() time.Time { return at }})
			s.Inject(upgradelinktest.Fault{Status: 429, Body: `{"code":429001}`, RetryAfter: text})
			_, err := newClient(t, s, func(o *upgradelink.Options) { o.Now = func() time.Time { return at } }).UpgradeURL(t.Context(), v1)
			if f := wantFault(t, err, ota.Transient, ota.CodeRateLimited); f.RetryAfter != want {
				t.Errorf("RetryAfter %s, want %s", f.RetryAfter, want)
			}
		})
	}
}

func TestBadOffers(t *testing.T) {
	t.Parallel()
	for _, row := range []struct{ name, url, cause string }{
		{"empty", "", "empty"},
		{"blank", " \n", "empty"},
		{"relative", "fw.bin", "relative"},
		{"absolute path", "/fw.bin", "relative"},
		{"no scheme", "//host/fw.bin", "relative"},
		{"ftp", "ftp://host/fw.bin", "neither http nor https"},
		{"file", "file:///etc/passwd", "neither http nor https"},
		{"javascript", "javascript:alert(1)", "neither http nor https"},
		{"no host", "http:///fw.bin", "no host"},
		{"port only", "http://:80/fw.bin", "no host"},
		{"opaque", "http:fw.bin", "no host"},
		{"control character", "http://host/\x01", "cannot be read"},
		{"space in the host", "http://ho st/", "cannot be read"},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			s := startServer(t, upgradelinktest.Options{})
			s.Edit(upgradelinktest.URL, "k", func(a *upgradelinktest.App) { a.Versions[0].URL = row.url })
			_, err := newClient(t, s, nil).UpgradeURL(t.Context(), v1)
			wantFault(t, err, ota.Permanent, ota.CodeOfferBad)
			if !strings.Contains(err.Error(), row.cause) || !strings.Contains(err.Error(), "version 2") {
				t.Errorf("error %v does not say %q", err, row.cause)
			}
		})
	}
	for _, row := range []struct {
		name  string
		data  string
		query upgradelink.Query
	}{
		{"same version", `{"versionCode":1,"urlPath":"http://h/"}`, v1},
		{"older version", `{"versionCode":0,"urlPath":"http://h/"}`, v1},
		{"another than appointed", `{"versionCode":3,"urlPath":"http://h/"}`, upgradelink.Query{Key: "k", VersionCode: 1, AppointVersionCode: 2}},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			s := startServer(t, upgradelinktest.Options{})
			s.Inject(upgradelinktest.Fault{Status: 200, Body: `{"code":200,"data":` + row.data + `}`})
			_, err := newClient(t, s, nil).UpgradeURL(t.Context(), row.query)
			wantFault(t, err, ota.Permanent, ota.CodeOfferBad)
		})
	}
}

// A redirected call would carry a signature over another target, and a portal
// would get to read it.
func TestRedirectsAreNotFollowed(t *testing.T) {
	t.Parallel()
	hits := 0
	portal := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		hits++
		http.Redirect(w, r, "/login", http.StatusTemporaryRedirect)
	}))
	t.Cleanup(portal.Close)
	c, err := upgradelink.New(upgradelink.Options{BaseURL: portal.URL + "/", AccessKey: "a", Secret: "s"})
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.UpgradeURL(t.Context(), v1)
	wantFault(t, err, ota.Transient, ota.CodeServerTrouble)
	if !strings.Contains(err.Error(), "redirect") || hits != 1 {
		t.Errorf("%d hits, error %v", hits, err)
	}
}

// The hint names the likely cause of a certificate that is not accepted.
func TestCertificateHints(t *testing.T) {
	t.Parallel()
	server := httptest.NewUnstartedServer(upgradelinktest.New(upgradelinktest.Options{}))
	server.Config.ErrorLog = log.New(io.Discard, "", 0) // it would tell of each refused handshake
	server.StartTLS()
	t.Cleanup(server.Close)
	trusting := func(change func(*tls.Config)) *http.Client {
		own := server.Client().Transport.(*http.Transport).Clone()
		change(own.TLSClientConfig)
		return &http.Client{Transport: own}
	}
	for _, row := range []struct {
		name string
		http *http.Client
		hint string
	}{
		{"unknown authority", nil, "authority"},
		{"clock in 2100", trusting(func(c *tls.Config) { c.Time = func() time.Time { return time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC) } }), "clock of this box"},
		{"another name", trusting(func(c *tls.Config) { c.ServerName = "other.invalid" }), "another name"},
	} {
		t.Run(row.name, func(t *testing.T) {
			c, err := upgradelink.New(upgradelink.Options{BaseURL: server.URL, AccessKey: "a", Secret: "s", HTTP: row.http})
			if err != nil {
				t.Fatal(err)
			}
			_, err = c.UpgradeURL(t.Context(), v1)
			if f := wantFault(t, err, ota.Transient, ota.CodeServerUnreachable); !strings.Contains(f.Hint, row.hint) {
				t.Errorf("hint %q", f.Hint)
			}
		})
	}
}

func TestCancelledCall(t *testing.T) {
	t.Parallel()
	s := startServer(t, upgradelinktest.Options{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := newClient(t, s, nil).UpgradeURL(ctx, v1); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}

func TestBadOptions(t *testing.T) {
	t.Parallel()
	good := upgradelink.Options{BaseURL: "https://h:8443", AccessKey: "a", Secret: "s"}
	for name, change := range map[string]func(*upgradelink.Options){
		"no address":        func(o *upgradelink.Options) { o.BaseURL = "" },
		"no scheme":         func(o *upgradelink.Options) { o.BaseURL = "api.example.com" },
		"path":              func(o *upgradelink.Options) { o.BaseURL = "https://h/api" },
		"query":             func(o *upgradelink.Options) { o.BaseURL = "https://h?x=1" },
		"password":          func(o *upgradelink.Options) { o.BaseURL = "https://user:hunter2@h" },
		"no URL":            func(o *upgradelink.Options) { o.BaseURL = "https://u:hunter2@h:port" },
		"no access key":     func(o *upgradelink.Options) { o.AccessKey = "" },
		"access key spaced": func(o *upgradelink.Options) { o.AccessKey = "a b" },
		"access key line":   func(o *upgradelink.Options) { o.AccessKey = "a\r\nX: y" },
		"no secret":         func(o *upgradelink.Options) { o.Secret = "" },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := good
			change(&o)
			_, err := upgradelink.New(o)
			if f := wantFault(t, err, ota.Refused, ota.CodeConfig); f.Hint == "" || strings.Contains(err.Error(), "hunter2") {
				t.Errorf("error %v, hint %q", err, f.Hint)
			}
		})
	}
	if _, err := upgradelink.New(good); err != nil {
		t.Error(err)
	}
}

// TestSecretNeverShows prints everything that holds the secret in every way
// that Go knows, and provokes the errors that come near it.
func TestSecretNeverShows(t *testing.T) {
	t.Parallel()
	const secret = "hunter2-hunter2"
	o := upgradelink.Options{BaseURL: "http://127.0.0.1:1", AccessKey: "ak", Secret: secret}
	c, err := upgradelink.New(o)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	for _, v := range []any{o.Secret, &o.Secret, o, &o, c, struct{ C *upgradelink.Client }{c}, []upgradelink.Secret{o.Secret}, map[string]any{"s": o.Secret}} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%t"} {
			fmt.Fprintf(&out, verb+"\n", v)
		}
		text, _ := json.Marshal(v)
		out.Write(text)
		slog.New(slog.NewJSONHandler(&out, nil)).Info("x", "v", v)
		slog.New(slog.NewTextHandler(&out, nil)).Info("x", "v", v)
	}
	_, err = c.UpgradeURL(t.Context(), v1)
	fmt.Fprintf(&out, "%+v %#v", err, err)
	s := startServer(t, upgradelinktest.Options{})
	_, err = newClient(t, s, func(o *upgradelink.Options) { o.Secret = secret }).UpgradeURL(t.Context(), v1)
	fmt.Fprintf(&out, "%+v %#v %v", err, err, s.Requests())
	text := strings.ToLower(out.String())
	for name, form := range map[string]string{"plain": secret, "hex": fmt.Sprintf("%x", secret)} {
		if strings.Contains(text, form) {
			t.Errorf("the secret shows, %s", name)
		}
	}
}

func TestReadSecret(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		text string
		want string
	}{
		"plain":     {"key", "key"},
		"newline":   {"key\r\n", "key"},
		"inner":     {"k e=y\n", "k e=y"},
		"empty":     {"\n", ""},
		"too large": {strings.Repeat("x", 5000), ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "secret")
			if err := os.WriteFile(path, []byte(row.text), 0o600); err != nil {
				t.Fatal(err)
			}
			got, err := upgradelink.ReadSecret(path)
			if string(got) != row.want {
				t.Errorf("secret %q", string(got))
			}
			if row.want == "" {
				wantFault(t, err, ota.Refused, ota.CodeConfig)
			} else if err != nil {
				t.Error(err)
			}
		})
	}
	_, err := upgradelink.ReadSecret(filepath.Join(t.TempDir(), "none"))
	wantFault(t, err, ota.Refused, ota.CodeConfig)
}

func TestReportRefusesUnknownEvents(t *testing.T) {
	t.Parallel()
	s := startServer(t, upgradelinktest.Options{})
	err := newClient(t, s, nil).Report(t.Context(), upgradelink.Event{Type: "app_rollback", AppKey: "k"})
	wantFault(t, err, ota.Refused, ota.CodeUsage)
	if len(s.Requests()) != 0 {
		t.Error("it was sent")
	}
}
