package download_test

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"otad/ota"
	"otad/transport/download"
	"otad/transport/download/downloadtest"
)

// TestNetwork holds the download to what installers are commonly tried with:
// each row is survived by attempts alone, and no answer goes back by more than
// what was unsaved.
func TestNetwork(t *testing.T) {
	t.Parallel()
	const size = 2 * mib
	cut := func(times int, reset bool) downloadtest.Faults {
		return downloadtest.Faults{Cut: &downloadtest.Cut{At: size / 2, Times: times, Reset: reset}}
	}
	everyQuarter := downloadtest.Faults{Cut: &downloadtest.Cut{At: size / 8, After: true, Times: 6, Reset: true}}
	tests := []struct {
		name     string
		faults   downloadtest.Faults
		away     time.Duration // from the first failure on
		failures int           // exactly; -1: at least one
		code     ota.Code
	}{
		{"reset at 50 %, back at once", cut(1, true), 0, 1, ota.CodeDownloadNetwork},
		{"closed at 50 %, back at once", cut(1, false), 0, 1, ota.CodeDownloadNetwork},
		{"reset, away for a while", cut(1, true), 200 * time.Millisecond, -1, ota.CodeDownloadNetwork},
		{"reset 3 times at the same byte", cut(3, true), 0, 3, ota.CodeDownloadNetwork},
		{"reset 8 times at the same byte", cut(8, true), 0, 8, ota.CodeDownloadNetwork},
		{"reset after each eighth", everyQuarter, 0, 6, ota.CodeDownloadNetwork},
		{"silent for less than the limit", downloadtest.Faults{Silence: &downloadtest.Silence{At: size / 2, For: 300 * time.Millisecond}}, 0, 0, ""},
		{"503 to the first 2 requests", downloadtest.Faults{Busy: 2}, 0, 2, ota.CodeDownloadHTTP},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			b := newBox(t, downloadtest.Pattern(size, 30), download.Options{LowSpeedTime: 5 * time.Second})
			b.file.Set(tt.faults)
			failures := 0
			for {
				err := b.attempt()
				if err == nil {
					break
				}
				if fault := ota.FaultOf(err); fault.Class != ota.Transient || fault.Code != tt.code {
					t.Fatalf("attempt %d: %s %s: %v", failures, fault.Class, fault.Code, err)
				}
				if failures++; failures == 1 {
					b.host.Away(tt.away)
				}
				if tt.away > 0 {
					time.Sleep(10 * time.Millisecond) // the caller's backoff
				} else if failures > 20 {
					t.Fatal("does not come to an end")
				}
			}
			b.mustBeWhole()
			if tt.failures >= 0 && failures != tt.failures || tt.failures < 0 && failures == 0 {
				t.Errorf("failed %d times, want %d", failures, tt.failures)
			}
			offsets := b.file.Stats().Offsets
			for i := 1; i < len(offsets); i++ {
				if offsets[i] < offsets[i-1] {
					t.Errorf("answers began at %v", offsets)
				}
			}
		})
	}
}

func TestDeadForGood(t *testing.T) {
	t.Parallel()
	b := newBox(t, downloadtest.Pattern(mib, 31), download.Options{})
	b.half()
	b.host.Away(time.Hour)
	b.mustFail(ota.Transient, ota.CodeDownloadNetwork)
}

func TestConnectionRefused(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	b := newBox(t, downloadtest.Pattern(mib, 32), download.Options{})
	b.req.URL = "http://" + l.Addr().String() + "/x"
	b.mustFail(ota.Transient, ota.CodeDownloadNetwork)
}

func TestStalls(t *testing.T) {
	t.Parallel()
	const window = 150 * time.Millisecond
	for name, spoil := range map[string]func(b *box){
		"no answer": func(b *box) { b.host.Silent(time.Minute) },
		"silent midway": func(b *box) {
			b.file.Set(downloadtest.Faults{Silence: &downloadtest.Silence{At: mib / 2, For: time.Minute}})
		},
		"trickles": func(b *box) { b.file.Set(downloadtest.Faults{Rate: 1000}) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBox(t, downloadtest.Pattern(mib, 33), download.Options{LowSpeedTime: window})
			spoil(b)
			start := time.Now()
			b.mustFail(ota.Transient, ota.CodeDownloadStalled)
			if took := time.Since(start); took < window || took > 20*window {
				t.Errorf("was cut after %v, want about %v", took, window)
			}
			b.host.Silent(0)
			b.file.Set(downloadtest.Faults{})
			b.fetch = download.New(download.Options{})
			b.mustAttempt()
		})
	}
}

// TestRateLimitIsNoStall: our own slowness is not the network's, and a new
// limit is heard at once.
func TestRateLimitIsNoStall(t *testing.T) {
	t.Parallel()
	var limit atomic.Int64
	limit.Store(256 * kib)
	b := newBox(t, downloadtest.Pattern(2*mib, 34), download.Options{
		LowSpeedBytes: mib, LowSpeedTime: 400 * time.Millisecond, Limit: limit.Load,
	})
	var started time.Time
	b.req.Progress = func(p download.Progress) {
		if started.IsZero() {
			started = time.Now()
		}
		if p.DoneBytes >= 384*kib {
			limit.Store(0)
		}
	}
	b.mustAttempt()
	if took := time.Since(started); took < 700*time.Millisecond || took > 6*time.Second {
		t.Errorf("took %v: the limit was not kept, or its end was not heard", took)
	}
}

func TestURLs(t *testing.T) {
	t.Parallel()
	for _, u := range []string{"", "/fw/2.swu", "fw.swu", "ftp://h/x", "http://", "http:///x", "file:///etc/passwd", "http://h:bad/x", "://"} {
		b := newBox(t, downloadtest.Pattern(kib, 35), download.Options{})
		b.req.URL = u
		b.mustFail(ota.Permanent, ota.CodeOfferBad)
	}
}

// TestNoSecretInErrors: neither a password nor a signed query shows up, also
// when it comes from a redirect.
func TestNoSecretInErrors(t *testing.T) {
	t.Parallel()
	const secret = "hush"
	b := newBox(t, downloadtest.Pattern(mib, 36), download.Options{LowSpeedTime: 100 * time.Millisecond})
	u, _ := url.Parse(b.req.URL)
	u.User = url.UserPassword(secret, secret)
	u.RawQuery = "token=" + secret
	closed := "http://" + secret + ":" + secret + "@127.0.0.1:1/" + "?token=" + secret
	tests := map[string]downloadtest.Faults{
		"status":       {Status: 500},
		"missing":      {Status: 404},
		"page":         {HTML: true},
		"loop":         {RedirectSelf: true},
		"refused":      {Redirect: closed},
		"bad redirect": {Redirect: "http://" + secret + ":" + secret + "@h:port/"},
		"other scheme": {Redirect: "gopher://" + secret + "@h/"},
		"cut":          {Cut: &downloadtest.Cut{Times: 1}},
		"stall":        {Silence: &downloadtest.Silence{For: time.Minute}},
	}
	for name, faults := range tests {
		for _, raw := range []string{u.String(), "ftp://" + secret + "@h/?" + secret, "http://" + secret + ":" + secret + "@h:port/"} {
			b.req.URL = raw
			b.file.Set(faults)
			err := b.attempt()
			if err == nil || strings.Contains(err.Error(), secret) {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}

func TestDowngradeIsRefused(t *testing.T) {
	t.Parallel()
	b := newBox(t, downloadtest.Pattern(mib, 37), download.Options{})
	plain := b.req.URL
	secure := httptest.NewTLSServer(http.RedirectHandler(plain, http.StatusFound))
	defer secure.Close()
	transport := download.NewTransport()
	defer transport.CloseIdleConnections()
	transport.TLSClientConfig = &tls.Config{RootCAs: secure.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs}
	b.fetch = download.New(download.Options{Transport: transport})
	b.req.URL = secure.URL
	fault := b.mustFail(ota.Transient, ota.CodeDownloadHTTP)
	if !strings.Contains(fault.Error(), "https to http") || b.file.Stats().Requests != 0 {
		t.Errorf("%v, %d requests", fault, b.file.Stats().Requests)
	}
}

// TestRedirectToAnotherHost also sees that no Referer carries the query along.
func TestRedirectToAnotherHost(t *testing.T) {
	t.Parallel()
	b := newBox(t, downloadtest.Pattern(mib, 38), download.Options{})
	var referer atomic.Value
	back := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		referer.Store(r.Referer())
		b.host.ServeHTTP(w, r)
	}))
	defer back.Close()
	front := httptest.NewServer(http.RedirectHandler(back.URL+"/fw/2.swu", http.StatusTemporaryRedirect))
	defer front.Close()
	b.req.URL = front.URL + "/latest?token=hush"
	b.file.Set(downloadtest.Faults{Cut: &downloadtest.Cut{At: mib / 2, Times: 1}})
	b.mustFail(ota.Transient, ota.CodeDownloadNetwork)
	b.mustAttempt()
	b.mustOffsets(0, mib/2)
	if referer.Load() != "" {
		t.Errorf("the Referer was %q", referer.Load())
	}
}

// TestMishandledAnswers are made by hand: no host of ours would send them.
func TestMishandledAnswers(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		answer string
		code   ota.Code
	}{
		{"no length", "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n0707abc", ota.CodeDownloadHTTP},
		{"compressed", "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 5\r\n\r\n07070", ota.CodeDownloadHTTP},
		{"206 unasked", "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 0-4/9\r\nContent-Length: 5\r\n\r\n07070", ota.CodeDownloadHTTP},
		{"203 from a proxy that transforms", "HTTP/1.1 203 Whatever\r\nContent-Length: 5\r\n\r\n07070", ota.CodeDownloadHTTP},
		{"204", "HTTP/1.1 204 No Content\r\n\r\n", ota.CodeDownloadHTTP},
		{"page without a type", "HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\n\r\n <!doctype", ota.CodeFirmwareHTML},
		{"short of its length", "HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n07070", ota.CodeDownloadNetwork},
		{"not HTTP", "SSH-2.0-x\r\n", ota.CodeDownloadNetwork},
		{"nothing", "", ota.CodeDownloadNetwork},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			b := newBox(t, downloadtest.Pattern(kib, 39), download.Options{})
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				conn, _, err := http.NewResponseController(w).Hijack()
				if err == nil {
					conn.Write([]byte(tt.answer))
					conn.Close()
				}
			}))
			defer server.Close()
			b.req.URL = server.URL
			b.mustFail(ota.Transient, tt.code)
		})
	}
}

// TestShortRange: a server may send less of a range than asked for; what came
// counts and the next attempt goes on.
func TestShortRange(t *testing.T) {
	t.Parallel()
	want := downloadtest.Pattern(mib, 40)
	b := newBox(t, want, download.Options{})
	b.half()
	capped := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if from, ok := strings.CutSuffix(r.Header.Get("Range"), "-"); ok && from == "bytes=524288" {
			r.Header.Set("Range", from+"-700000")
		}
		b.host.ServeHTTP(w, r)
	}))
	defer capped.Close()
	b.req.URL = capped.URL + "/fw/2.swu"
	b.req.From.URL = b.req.URL
	b.mustFail(ota.Transient, ota.CodeDownloadNetwork)
	b.mustAttempt()
	b.mustOffsets(0, 524288, 700001)
}

func TestTruncatedAndFlippedAreStoredAsTheyCome(t *testing.T) {
	t.Parallel() // the artifact's reader finds them by its hashes
	b := newBox(t, downloadtest.Pattern(mib, 41), download.Options{})
	b.file.Set(downloadtest.Faults{ShortBy: 100, Flip: []int64{5000}})
	n, err := b.fetch.Fetch(t.Context(), b.req)
	if err != nil || n != mib-100 {
		t.Fatalf("Fetch: %d, %v", n, err)
	}
	if at := differs(t, b.req.Path, b.want); at != 5000 {
		t.Errorf("differs at %d, want 5000", at)
	}
}

func TestDeadlineIsTheCallers(t *testing.T) {
	t.Parallel()
	b := newBox(t, downloadtest.Pattern(mib, 42), download.Options{})
	b.host.Silent(time.Minute)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := b.fetch.Fetch(ctx, b.req); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Fetch: %v", err)
	}
}

func TestFileIsNotWorldReadable(t *testing.T) {
	t.Parallel()
	b := newBox(t, downloadtest.Pattern(kib, 43), download.Options{})
	b.req.Path = filepath.Join(t.TempDir(), "new")
	b.mustAttempt()
	if info, err := os.Stat(b.req.Path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
}
