package downloadtest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func read(t *testing.T, c Content, off, n int64) []byte {
	t.Helper()
	b := make([]byte, n)
	m, err := c.ReadAt(b, off)
	if err != nil && !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
	return b[:m]
}

func TestPattern(t *testing.T) {
	t.Parallel()
	const size = 300_001
	p := Pattern(size, 7)
	whole := read(t, p, 0, size+10)
	if len(whole) != size || !strings.HasPrefix(string(whole), Head) {
		t.Fatalf("%d bytes, begins with %q", len(whole), whole[:6])
	}
	for off := int64(0); off < size; off += 4001 {
		if got := read(t, p, off, 5000); !bytes.Equal(got, whole[off:min(off+5000, size)]) {
			t.Fatalf("differs when read from %d", off)
		}
	}
	if !bytes.Equal(whole, read(t, Pattern(size, 7), 0, size)) {
		t.Error("the same seed gives other bytes")
	}
	seen := map[string]int{}
	for i := 1; i+64 < size; i += 64 {
		if at, ok := seen[string(whole[i:i+8])]; ok && i%4096 < 8 {
			t.Errorf("bytes at %d are those at %d", i, at)
		}
		seen[string(whole[i:i+8])] = i
	}
	if bytes.Equal(whole[100:200], read(t, Pattern(size, 8), 100, 100)) {
		t.Error("another seed gives the same bytes")
	}
}

// get asks for path with headers, name and value in turn.
func get(t *testing.T, url string, headers ...string) (*http.Response, []byte, error) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, nil, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return resp, b, err
}

// TestGoodOrder holds the host to RFC 9110 while nothing is wrong.
func TestGoodOrder(t *testing.T) {
	t.Parallel()
	name := filepath.Join(t.TempDir(), "f")
	text := []byte(Head + "0123456789")
	if err := os.WriteFile(name, text, 0o600); err != nil {
		t.Fatal(err)
	}
	disk, err := Disk(name)
	if err != nil {
		t.Fatal(err)
	}
	for kind, content := range map[string]Content{"memory": Bytes(text), "disk": disk} {
		t.Run(kind, func(t *testing.T) {
			h := new(Host)
			f := h.Add("/f", content)
			server := httptest.NewServer(h)
			defer server.Close()
			tests := []struct {
				name    string
				headers []string
				status  int
				body    string
			}{
				{"whole", nil, 200, string(text)},
				{"range", []string{"Range", "bytes=6-"}, 206, string(text[6:])},
				{"If-Range holds", []string{"Range", "bytes=6-", "If-Range", content.ETag}, 206, string(text[6:])},
				{"If-Range does not hold", []string{"Range", "bytes=6-", "If-Range", `"other"`}, 200, string(text)},
			}
			for _, tt := range tests {
				resp, body, err := get(t, server.URL+"/f", tt.headers...)
				if err != nil || resp.StatusCode != tt.status || string(body) != tt.body {
					t.Errorf("%s: %v %q, %v", tt.name, resp, body, err)
				}
			}
			if resp, _, _ := get(t, server.URL+"/f", "Range", "bytes=99-"); resp.StatusCode != 416 {
				t.Errorf("past the end: %s", resp.Status)
			}
			if resp, _, _ := get(t, server.URL+"/g"); resp.StatusCode != 404 {
				t.Errorf("no such file: %s", resp.Status)
			}
			s := f.Stats()
			if s.Requests != 5 || s.BytesServed != 16+10+10+16 || fmt.Sprint(s.Offsets) != "[0 6 6 0]" {
				t.Errorf("stats are %+v", s)
			}
		})
	}
}

func TestCutReachesTransfersUnderWay(t *testing.T) {
	t.Parallel()
	h := new(Host)
	h.Add("/f", Pattern(64<<20, 1)).Set(Faults{Rate: 1 << 20})
	server := httptest.NewServer(h)
	defer server.Close()
	resp, err := http.Get(server.URL + "/f")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	h.Away(time.Hour)
	if _, err := io.Copy(io.Discard, resp.Body); err == nil {
		t.Error("the transfer went on")
	}
	if _, err := http.Get(server.URL + "/f"); err == nil {
		t.Error("the host answers")
	}
}
