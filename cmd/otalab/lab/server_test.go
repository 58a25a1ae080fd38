package lab

import (
	"bytes"
	"crypto/tls"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"otad/ota"
	"otad/ota/swu"
	"otad/ota/swu/swutest"
)

func startServer(t *testing.T) *Server {
	t.Helper()
	s, err := Start(Options{Dir: t.TempDir(), CA: []byte("PEM")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func TestPublish(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	name := filepath.Join(t.TempDir(), "f.swu")
	if err := os.WriteFile(name, []byte("the artifact"), 0o644); err != nil {
		t.Fatal(err)
	}
	text, err := PublishTo(t.Context(), s.URL, Release{Version: ota.Version{Code: 7, Name: "v7"}, Type: ota.UpgradeSilent, File: name})
	if err != nil || !strings.Contains(text, "version 7") {
		t.Fatalf("got %q and %v, want version 7 published", text, err)
	}
	stored, err := filepath.Glob(filepath.Join(s.dir, "7-*.swu"))
	if err != nil || len(stored) != 1 {
		t.Fatalf("got files %q and %v, want one", stored, err)
	}
	answer, err := http.Get(s.URL + "/fw/7/" + filepath.Base(stored[0]))
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if got, err := io.ReadAll(answer.Body); err != nil || string(got) != "the artifact" {
		t.Errorf("the host serves %q and %v", got, err)
	}
}

func TestAccess(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	access, ca, err := AccessTo(t.Context(), s.URL)
	if err != nil || !reflect.DeepEqual(access, s.Access()) || string(ca) != "PEM" {
		t.Errorf("got %+v, %q and %v, want %+v", access, ca, err, s.Access())
	}
	if _, _, err := AccessTo(t.Context(), s.URL+"/elsewhere"); err == nil {
		t.Error("from a server that is no lab: got no error")
	}
}

func TestKeysStay(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	first, err := OpenKeys(dir)
	if err != nil {
		t.Fatal(err)
	}
	second, err := OpenKeys(dir)
	if err != nil || !bytes.Equal(first, second) {
		t.Errorf("got another CA, or %v", err)
	}
	if _, err := tls.LoadX509KeyPair(filepath.Join(dir, CertFile), filepath.Join(dir, KeyFile)); err != nil {
		t.Errorf("the signer's files: %v", err)
	}
}

func TestPublishRefuses(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	tests := []struct {
		name    string
		release Release
	}{
		{"no code", Release{Type: ota.UpgradeSilent, File: os.DevNull}},
		{"no type", Release{Version: ota.Version{Code: 1}, File: os.DevNull}},
		{"no file", Release{Version: ota.Version{Code: 1}, Type: ota.UpgradeSilent, File: "nothing"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			if text, err := PublishTo(t.Context(), s.URL, test.release); err == nil {
				t.Errorf("got %q and no error", text)
			}
		})
	}
}

// TestPackTamper reads an artifact with the very code that boxes use.
func TestPackTamper(t *testing.T) {
	t.Parallel()
	authority, err := swutest.NewAuthority()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	image, name := filepath.Join(dir, "image"), filepath.Join(dir, "f.swu")
	if err := os.WriteFile(image, bytes.Repeat([]byte("image "), 100_000), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := Pack(authority, name, image, "stv1", "2"); err != nil {
		t.Fatal(err)
	}
	if err := verify(t, authority, name); err != nil {
		t.Errorf("as packed: %v", err)
	}
	if err := Tamper(name); err != nil {
		t.Fatal(err)
	}
	if err := verify(t, authority, name); swu.KindOf(err) != swu.BadHash {
		t.Errorf("tampered: got %v, want %s", err, swu.BadHash)
	}
}

func verify(t *testing.T, authority swutest.Authority, name string) error {
	t.Helper()
	trust, err := swu.ParseTrust(authority.CA)
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	archive, err := swu.Open(f, info.Size())
	if err != nil {
		return err
	}
	description, _, err := archive.Description(trust, time.Now())
	if err != nil {
		return err
	}
	plan, err := description.Select(swu.Selection{Board: "stv1", Revision: "1.0", Set: "stable", Mode: "copy2"})
	if err != nil {
		return err
	}
	return plan.Verify(t.Context(), archive, nil)
}
