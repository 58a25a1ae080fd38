package upgradelinktest_test

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"otad/transport/upgradelink"
	"otad/transport/upgradelink/upgradelinktest"
)

// row is one recorded exchange with a real server.
type row struct {
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

func recorded(t *testing.T, server string) []row {
	t.Helper()
	f, err := os.Open("../testdata/transcripts.json.gz")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	var all, rows []row
	if err := json.NewDecoder(z).Decode(&all); err != nil {
		t.Fatal(err)
	}
	for _, r := range all {
		if r.Server == server {
			rows = append(rows, r)
		}
	}
	return rows
}

func header(headers [][2]string, name string) string {
	for _, h := range headers {
		if strings.EqualFold(h[0], name) {
			return h[1]
		}
	}
	return ""
}

// unmatched are the rows that this server does not answer like the real one.
var unmatched = map[string]string{
	"url/debug-header-test-still-bypasses":  "a door without any check is not rebuilt",
	"version-route/tauri":                   "tauri is out of scope",
	"download/tauri-upgrade-GET-unknown":    "tauri is out of scope",
	"download/latest-linux.yml-unknown":     "electron is out of scope",
	"download/url-versionId-of-another-app": "versions have no id here",
	"download/url-versionId-unknown":        "versions have no id here",
}

// TestConformance sends every request that was recorded with the real server
// v2.3.1+, byte for byte with its signature, to this server, whose clock is
// set to the moment of the recording. Status, headers and body must be the
// same, but for the random trace ids.
func TestConformance(t *testing.T) {
	t.Parallel()
	now := time.Time{}
	s := upgradelinktest.NewServer(upgradelinktest.Options{
		Keys:    map[string]string{ak: sk, ak2: sk2},
		Lenient: true,
		Now:     func() time.Time { return now },
	})
	t.Cleanup(s.Close)
	stock(s)
	rows := recorded(t, "v2.3.1+ 757dd1f lenient-sql")
	matched := 0
	for i, r := range rows {
		prepare(s, r.Name)
		at, err := http.ParseTime(header(r.Response.Headers, "Date"))
		if err != nil {
			t.Fatal(err)
		}
		s.SetClock(func() time.Time { return at })
		got := exchange(t, s, r)
		want := r.outcome()
		reason, excused := unmatched[r.Name]
		switch {
		case got == want && excused:
			t.Errorf("%d %s: matches, yet is excused: %s", i, r.Name, reason)
		case got == want:
			matched++
		case !excused:
			t.Errorf("%d %s:\n got %s\nwant %s", i, r.Name, got, want)
		}
	}
	if share := float64(matched) / float64(len(rows)); share < 0.95 || matched+len(unmatched) != len(rows) {
		t.Errorf("%d of %d rows match", matched, len(rows))
	}
	t.Logf("%d of %d rows match", matched, len(rows))
}

var traceID = regexp.MustCompile(`"traceId":"[0-9a-f]{32}"`)

func outcome(status int, body string, header func(string) string) string {
	text := fmt.Sprintf("%d", status)
	for _, name := range []string{"Content-Type", "Allow", "Location", "Date", "Connection", "Content-Length"} {
		if v := header(name); v != "" {
			text += fmt.Sprintf(" %s=%q", name, v)
		}
	}
	return text + "\n" + traceID.ReplaceAllString(body, `"traceId":"TRACE"`)
}

func (r row) outcome() string {
	return outcome(r.Response.Status, r.Response.Body, func(name string) string {
		return header(r.Response.Headers, name)
	})
}

// exchange sends the recorded request as raw bytes on its own connection.
func exchange(t *testing.T, s *upgradelinktest.Server, r row) string {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(s.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(10 * time.Second))
	go conn.Write(r.bytes(t)) // a server that says 413 does not read to the end
	in := bufio.NewReader(conn)
	for {
		resp, err := http.ReadResponse(in, &http.Request{Method: r.Request.Method})
		if err != nil {
			t.Fatalf("%s: %v", r.Name, err)
		}
		if resp.StatusCode == http.StatusContinue {
			continue
		}
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatalf("%s: %v", r.Name, err)
		}
		return outcome(resp.StatusCode, string(body), func(name string) string {
			if name == "Connection" && resp.Close && r.version() == "HTTP/1.1" {
				return "close" // ReadResponse takes it out of the header
			}
			return resp.Header.Get(name)
		})
	}
}

func (r row) version() string {
	if r.Name == "enc/http1.0" {
		return "HTTP/1.0"
	}
	return "HTTP/1.1"
}

func (r row) bytes(t *testing.T) []byte {
	body := r.body()
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s %s %s\r\n", r.Request.Method, r.Request.Path, r.version())
	for _, h := range r.Request.Headers {
		if h[0] == "X-Signature" && header(r.Request.Headers, "X-AccessKey") == ak2 {
			// The secret of the second tenant was not recorded.
			h[1] = upgradelink.Sign(body, header(r.Request.Headers, "X-Nonce"), sk2,
				header(r.Request.Headers, "X-Timestamp"), r.Request.Path)
		}
		fmt.Fprintf(&b, "%s: %s\r\n", h[0], h[1])
	}
	b.WriteString("\r\n")
	if header(r.Request.Headers, "Transfer-Encoding") == "" {
		b.Write(body)
		return b.Bytes()
	}
	chunks := httputil.NewChunkedWriter(&b)
	chunks.Write(body)
	chunks.Close()
	b.WriteString("\r\n")
	return b.Bytes()
}

var rawByte = regexp.MustCompile(`\\x[0-9a-f]{2}`)

// body restores the bytes that were sent: long bodies were recorded abridged,
// bytes that are no UTF-8 as \xNN.
func (r row) body() []byte {
	if r.Request.Body == nil {
		return nil
	}
	text := *r.Request.Body
	length, _ := strconv.Atoi(header(r.Request.Headers, "Content-Length"))
	switch {
	case strings.HasPrefix(text, "<") && strings.HasSuffix(text, "...>"):
		head := `{"urlKey":"url-plain","versionCode":1,"pad":"`
		text = head + strings.Repeat("x", length-len(head)-len(`"}`)) + `"}`
	case length > 0 && length != len(text):
		text = rawByte.ReplaceAllStringFunc(text, func(s string) string {
			n, _ := strconv.ParseUint(s[2:], 16, 8)
			return string([]byte{byte(n)})
		})
	}
	return []byte(text)
}
