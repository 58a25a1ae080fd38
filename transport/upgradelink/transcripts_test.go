package upgradelink

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"otad/ota"
)

type transcript struct {
	Name, Server string
	Request      struct {
		Method, Path string
		Headers      [][2]string
		Body         *string
	}
	Response struct {
		Status  int
		Headers [][2]string
		Body    string
	}
}

func loadTranscripts(t testing.TB) []transcript {
	t.Helper()
	f, err := os.Open("testdata/transcripts.json.gz")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	var rows []transcript
	if err := json.NewDecoder(z).Decode(&rows); err != nil {
		t.Fatal(err)
	}
	return rows
}

// RoundTrip answers every request with the recorded response.
func (r transcript) RoundTrip(req *http.Request) (*http.Response, error) {
	h := http.Header{}
	for _, m := range r.Response.Headers {
		h.Add(m[0], m[1])
	}
	return &http.Response{
		StatusCode: r.Response.Status, Header: h, Request: req,
		Body: io.NopCloser(strings.NewReader(r.Response.Body)),
	}, nil
}

// sentAt is the time on the recorded request, or that of the answer.
func (r transcript) sentAt(t *testing.T) time.Time {
	date := ""
	for _, h := range r.Request.Headers {
		if strings.EqualFold(h[0], "X-Timestamp") {
			if at, err := time.Parse(time.RFC3339, strings.TrimSpace(h[1])); err == nil {
				return at
			}
		}
	}
	for _, h := range r.Response.Headers {
		if h[0] == "Date" {
			date = h[1]
		}
	}
	at, err := http.ParseTime(date)
	if err != nil {
		t.Fatal(err)
	}
	return at
}

// TestTranscripts gives the client each of the recorded answers to a call of
// the recorded route. What must come of it is in outcomes.tsv, which is not
// computed by this package.
func TestTranscripts(t *testing.T) {
	t.Parallel()
	rows := loadTranscripts(t)
	text, err := os.ReadFile("testdata/outcomes.tsv")
	if err != nil {
		t.Fatal(err)
	}
	outcomes := strings.Split(strings.TrimSpace(string(text)), "\n")
	if len(rows) != 694 || len(outcomes) != len(rows) {
		t.Fatalf("%d transcripts and %d outcomes, want 694", len(rows), len(outcomes))
	}
	for i, r := range rows {
		head, want := r.Server+"\t"+r.Name+"\t", ""
		if want, _ = strings.CutPrefix(outcomes[i], head); want == outcomes[i] {
			t.Fatalf("outcome %d is not of %s", i, r.Name)
		}
		at := r.sentAt(t)
		c, err := New(Options{BaseURL: "http://server", AccessKey: "ak", Secret: "sk",
			HTTP: &http.Client{Transport: r}, Now: func() time.Time { return at }})
		if err != nil {
			t.Fatal(err)
		}
		if got := replay(c, r); got != want {
			t.Errorf("%d %s %s: got %q, want %q", i, r.Server, r.Name, got, want)
		}
	}
}

// replay makes the call of a recorded request and words its outcome.
func replay(c *Client, r transcript) string {
	path, _, _ := strings.Cut(r.Request.Path, "?")
	parts := strings.Split(strings.Trim(path, "/"), "/")
	kind, verb := "url", "upgrade"
	if len(parts) == 3 {
		kind, verb = parts[1], parts[2]
	}
	q := Query{Key: "k", VersionCode: 1}
	var body map[string]json.RawMessage
	if r.Request.Body != nil {
		json.NewDecoder(strings.NewReader(*r.Request.Body)).Decode(&body)
	}
	json.Unmarshal(body["versionCode"], &q.VersionCode)
	json.Unmarshal(body["appointVersionCode"], &q.AppointVersionCode)
	json.Unmarshal(body["arch"], &q.Arch)
	found, err := int64(-1), error(nil)
	if kind == "app" {
		err = c.Report(context.Background(), Event{Type: EventUpgrade, AppKey: "k"})
	} else {
		found, err = ask(c, kind, verb, q)
	}
	switch {
	case err == nil && found < 0:
		return "reported"
	case err == nil:
		return fmt.Sprintf("found %d", found)
	case errors.Is(err, ErrNoOffer):
		return "nothing"
	}
	var fault *ota.Fault
	if !errors.As(err, &fault) {
		return "unclassed: " + err.Error()
	}
	return string(fault.Code)
}

// ask calls the method of a route and returns the version code that it found.
func ask(c *Client, kind, verb string, q Query) (int64, error) {
	ctx := context.Background()
	if verb == "version" {
		if kind == "win" {
			v, err := c.VersionWindows(ctx, q)
			return codeOf(v, err, func() int64 { return v.VersionCode })
		}
		look := map[string]func(context.Context, Query) (*Version, error){
			"url": c.VersionURL, "file": c.VersionFile, "apk": c.VersionAPK,
			"configuration": c.VersionConfiguration, "lnx": c.VersionLinux,
		}[kind]
		if look == nil {
			look = c.VersionURL // a kind that the client does not know, answered with an error
		}
		v, err := look(ctx, q)
		return codeOf(v, err, func() int64 { return v.VersionCode })
	}
	switch kind {
	case "file":
		o, err := c.UpgradeFile(ctx, q)
		return codeOf(o, err, func() int64 { return o.VersionCode })
	case "apk":
		o, err := c.UpgradeAPK(ctx, q)
		return codeOf(o, err, func() int64 { return o.VersionCode })
	case "lnx":
		o, err := c.UpgradeLinux(ctx, q)
		return codeOf(o, err, func() int64 { return o.VersionCode })
	case "win":
		o, err := c.UpgradeWindows(ctx, q)
		return codeOf(o, err, func() int64 { return o.VersionCode })
	case "configuration":
		o, err := c.UpgradeConfiguration(ctx, q)
		return codeOf(o, err, func() int64 { return o.VersionCode })
	}
	o, err := c.UpgradeURL(ctx, q)
	return codeOf(o, err, func() int64 { return o.VersionCode })
}

func codeOf[T any](v *T, err error, code func() int64) (int64, error) {
	switch {
	case err != nil && v != nil:
		return 0, errors.New("an answer came together with an error")
	case err != nil:
		return 0, err
	}
	return code(), nil
}

// FuzzAnswer gives the client arbitrary answers: it must neither panic nor
// return something beside an error, an offer that makes sense, or both nil.
func FuzzAnswer(f *testing.F) {
	for i, r := range loadTranscripts(f) {
		if i%7 == 0 {
			f.Add(r.Response.Status, []byte(r.Response.Body), "")
		}
	}
	f.Add(429, []byte(`{"code":429001}`), "120")
	f.Add(200, []byte(`{"code":200,"data":{"versionCode":3,"urlPath":"http://h/\u0000"}}`), "Sun, 22 Nov 2026 04:42:09 GMT")
	f.Fuzz(func(t *testing.T, status int, body []byte, header string) {
		resp := func(req *http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: status, Request: req, Body: io.NopCloser(bytes.NewReader(body)),
				Header: http.Header{"Date": {header}, "Retry-After": {header}, "Content-Type": {header}}}, nil
		}
		c, err := New(Options{BaseURL: "http://server", AccessKey: "ak", Secret: "sk",
			HTTP: &http.Client{Transport: roundTrip(resp)}})
		if err != nil {
			t.Fatal(err)
		}
		o, err := c.UpgradeURL(context.Background(), Query{Key: "k", VersionCode: 1})
		if (o == nil) == (err == nil) {
			t.Fatalf("offer %v, error %v", o, err)
		}
		if err == nil && (o.VersionCode <= 1 || !strings.HasPrefix(o.URL, "http")) {
			t.Fatalf("offer %+v", o)
		}
		if fault := ota.FaultOf(err); err != nil && (fault.Code == ota.CodeInternal || fault.RetryAfter < 0) {
			t.Fatalf("fault %+v", fault)
		}
	})
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }
