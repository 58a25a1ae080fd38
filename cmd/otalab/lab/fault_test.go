package lab

import (
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"otad/ota"
)

// The host of a lab misbehaves when it is told to, and stops when it is told.
func TestMisbehave(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	server, err := Start(Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	artifact := filepath.Join(dir, "2.swu")
	if err := os.WriteFile(artifact, []byte("07070 and so on"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := server.Publish(Release{Version: ota.Version{Code: 2}, Type: ota.UpgradeSilent, File: artifact}); err != nil {
		t.Fatal(err)
	}
	fetch := func() (int, string) {
		t.Helper()
		answer, err := http.Get(server.URL + "/fw/2/2.swu")
		if err != nil {
			t.Fatal(err)
		}
		defer answer.Body.Close()
		body, err := io.ReadAll(answer.Body)
		if err != nil {
			t.Fatal(err)
		}
		return answer.StatusCode, string(body)
	}
	for _, c := range []struct {
		fault  string
		status int
		begins string
	}{{"gone", 404, ""}, {"html", 200, "<"}, {"short=9", 200, "07070 "}, {"none", 200, "07070 and so on"}} {
		if _, err := MisbehaveAt(t.Context(), server.URL, 2, []string{c.fault}); err != nil {
			t.Fatal(err)
		}
		if status, body := fetch(); status != c.status || !strings.HasPrefix(body, c.begins) {
			t.Errorf("%s: got %d %q", c.fault, status, body)
		}
	}
	for _, wrong := range []string{"explode", "cut", "cut=x", "slow=-1"} {
		if _, err := MisbehaveAt(t.Context(), server.URL, 2, []string{wrong}); err == nil {
			t.Errorf("fault %q was taken", wrong)
		}
	}
	if _, err := MisbehaveAt(t.Context(), server.URL, 3, []string{"gone"}); err == nil {
		t.Error("a fault for a version that is not there was taken")
	}
}
