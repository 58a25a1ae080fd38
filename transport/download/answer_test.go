package download

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"
)

func TestStrongValidator(t *testing.T) {
	t.Parallel()
	const date, old, fresh = "Sun, 22 Nov 2026 12:00:00 GMT", "Sun, 22 Nov 2026 11:59:00 GMT", "Sun, 22 Nov 2026 11:59:01 GMT"
	tests := []struct {
		name           string
		etag, modified string
		date           string
		want           string
	}{
		{"none", "", "", date, ""},
		{"strong ETag", `"a"`, "", "", `"a"`},
		{"strong ETag wins", `"a"`, old, date, `"a"`},
		{"weak ETag", `W/"a"`, "", date, ""},
		{"weak ETag, old Last-Modified", `W/"a"`, old, date, old},
		{"not quoted", `a`, "", date, ""},
		{"half quoted", `"`, "", date, ""},
		{"not printable", "\"\xff\"", "", date, ""},
		{"too long", `"` + strings.Repeat("a", 600) + `"`, "", date, ""},
		{"old Last-Modified", "", old, date, old},
		{"fresh Last-Modified", "", fresh, date, ""},
		{"Last-Modified without Date", "", old, "", ""},
		{"Last-Modified ahead of Date", "", date, old, ""},
		{"no date at all", "", "yesterday", date, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := http.Header{"Etag": {tt.etag}, "Last-Modified": {tt.modified}, "Date": {tt.date}}
			if got := strongValidator(h); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestRetryAfter(t *testing.T) {
	t.Parallel()
	const date = "Sun, 22 Nov 2026 12:00:00 GMT"
	now := time.Date(1970, 1, 1, 0, 0, 0, 0, time.UTC) // a box without a clock
	tests := []struct {
		text, date string
		want       time.Duration
	}{
		{"", date, 0},
		{"0", date, 0},
		{"120", date, 2 * time.Minute},
		{"4294967295", date, 24 * time.Hour},
		{"-1", date, 0},
		{"soon", date, 0},
		{"Sun, 22 Nov 2026 12:00:30 GMT", date, 30 * time.Second},
		{"Sun, 22 Nov 2026 11:00:00 GMT", date, 0},
		{"Thu, 01 Jan 1970 00:00:09 GMT", "", 9 * time.Second},
		{"Sun, 22 Nov 2099 12:00:30 GMT", date, 24 * time.Hour},
	}
	for _, tt := range tests {
		h := http.Header{"Retry-After": {tt.text}, "Date": {tt.date}}
		if got := retryAfter(h, now); got != tt.want {
			t.Errorf("%q at %q: got %v, want %v", tt.text, tt.date, got, tt.want)
		}
	}
}

func TestContinues(t *testing.T) {
	t.Parallel()
	byTag := Checkpoint{Validator: `"a"`, SyncedBytes: 5, TotalBytes: 9}
	byTime := Checkpoint{Validator: "Sun, 22 Nov 2026 12:00:00 GMT", SyncedBytes: 5, TotalBytes: 9}
	unknown := Checkpoint{Validator: `"a"`, SyncedBytes: 5}
	tests := []struct {
		name                    string
		from                    Checkpoint
		rng, etag, lastModified string
		length                  int64
		ok                      bool
	}{
		{"the rest", byTag, "bytes 5-8/9", `"a"`, "", 4, true},
		{"a part of the rest", byTag, "bytes 5-6/9", `"a"`, "", 2, true},
		{"chunked", byTag, "bytes 5-8/9", `"a"`, "", -1, true},
		{"total learnt now", unknown, "bytes 5-8/9", `"a"`, "", 4, true},
		{"no Content-Range", byTag, "", `"a"`, "", 4, false},
		{"total unknown", byTag, "bytes 5-8/*", `"a"`, "", 4, false},
		{"from elsewhere", byTag, "bytes 4-8/9", `"a"`, "", 5, false},
		{"another total", byTag, "bytes 5-9/10", `"a"`, "", 5, false},
		{"length and range disagree", byTag, "bytes 5-8/9", `"a"`, "", 3, false},
		{"another ETag", byTag, "bytes 5-8/9", `"b"`, "", 4, false},
		{"weak ETag", byTag, "bytes 5-8/9", `W/"a"`, "", 4, false},
		{"no ETag", byTag, "bytes 5-8/9", "", "", 4, false},
		{"Last-Modified left out", byTime, "bytes 5-8/9", "", "", 4, true},
		{"same Last-Modified", byTime, "bytes 5-8/9", "", byTime.Validator, 4, true},
		{"another Last-Modified", byTime, "bytes 5-8/9", "", "Sun, 22 Nov 2026 12:00:01 GMT", 4, false},
	}
	for _, tt := range tests {
		h := http.Header{"Content-Range": {tt.rng}, "Etag": {tt.etag}, "Last-Modified": {tt.lastModified}}
		err := continues(&http.Response{Header: h, ContentLength: tt.length}, tt.from)
		if (err == nil) != tt.ok {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}

func FuzzContentRange(f *testing.F) {
	for _, s := range []string{"bytes 0-4/9", "bytes 5-8/9", "bytes 0-4/*", "bytes */9", "bytes 4-0/9", "bytes 0-9/9", "",
		"bytes -1-4/9", "items 0-4/9", "bytes 0-4", "bytes 0-9223372036854775807/9223372036854775808", "bytes +1-4/9"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		first, last, total, err := parseContentRange(s)
		if err != nil {
			return
		}
		if first < 0 || first > last || last >= total {
			t.Fatalf("%q: %d-%d/%d", s, first, last, total)
		}
		a, b, c, err := parseContentRange(fmt.Sprintf("bytes %d-%d/%d", first, last, total))
		if err != nil || a != first || b != last || c != total {
			t.Fatalf("%q does not come back", s)
		}
	})
}

func TestRedact(t *testing.T) {
	t.Parallel()
	tests := map[string]string{
		"http://u:p@h:1/a/b?q=s#f": "http://h:1/a/b",
		"https://h/x":              "https://h/x",
		"http://h:port/":           "unreadable URL",
		"":                         "",
	}
	for in, want := range tests {
		if got := redact(in); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
}
