package main_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"path/filepath"
	"testing"

	"otad/agent/config"
	"otad/agent/report"
	"otad/cmd/internal/cli"
	"otad/ota"
	"otad/ota/swu/swutest"
)

// described packs a description, in which %s stands for the hash of each
// payload in turn, and the payloads, signed by a.
func described(t *testing.T, a swutest.Authority, description string, payloads ...[]byte) []byte {
	t.Helper()
	var hashes []any
	for _, p := range payloads {
		sum := sha256.Sum256(p)
		hashes = append(hashes, hex.EncodeToString(sum[:]))
	}
	text := fmt.Appendf(nil, description, hashes...)
	signature, err := a.Signer.Sign(text)
	must(t, err)
	var out bytes.Buffer
	writeEntry(&out, "sw-description", text)
	writeEntry(&out, "sw-description.sig", signature)
	for i, p := range payloads {
		writeEntry(&out, fmt.Sprintf("payload%d", i), p)
	}
	writeEntry(&out, "TRAILER!!!", nil)
	return out.Bytes()
}

const withAnchor = `software = { version = "2"; hardware-compatibility = ["#RE:.*"];
	images: ( { filename = "payload0"; sha256 = "%s"; } );
	files: ( { filename = "payload1"; device = "trust"; path = "/new.pem"; sha256 = "%s"; } ); }`

// A signed artifact brings a new anchor. It counts when the update is
// confirmed, not before, and not when the new system is rolled back.
func TestArtifactBringsAnAnchor(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, health string
		result       ota.Phase
		code         int // of installing what the new anchor signed, afterwards
	}{
		{"confirmed", "exit 0", ota.PhaseConfirmed, cli.RebootNeeded},
		{"rolled back", "exit 1", ota.PhaseRolledBack, cli.NotTrusted},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.configure(quiet, func(cfg *config.Config) { cfg.Trust.Dir = w.path("anchors") })
			successor, err := swutest.NewAuthority()
			must(t, err)
			w.write("3.swu", pack(t, successor, model, "3", system{code: 3}.image()))
			w.write("2.swu", described(t, authority(), withAnchor, system{code: 2, health: c.health}.image(), successor.CA))

			w.otad("install", "3.swu", "--yes").want(cli.NotTrusted)
			w.otad("install", "2.swu", "--yes").want(cli.RebootNeeded)
			if counted, _ := filepath.Glob(w.path("anchors/*.pem")); len(counted) > 0 {
				t.Errorf("the anchor counts before the update is confirmed: %q", counted)
			}
			w.boot()
			s, service := w.live(func(s report.State) bool {
				return s.Last != nil && s.Last.Result != ota.PhaseFailed && s.Phase == ota.PhaseIdle
			})
			if s.Last.Result != c.result {
				t.Fatalf("got %+v", s.Last)
			}
			service.stop()
			w.otad("install", "3.swu", "--yes").want(c.code)
		})
	}
}

const withScript = `software = { version = "2"; hardware-compatibility = ["#RE:.*"];
	images: ( { filename = "payload0"; sha256 = "%s"; } );
	scripts: ( { filename = "payload1"; type = "shellscript"; sha256 = "%s"; } ); }`

// Scripts run where the settings have a place for them, and are refused where not.
func TestArtifactRunsAScript(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.configure(quiet)
	script := fmt.Sprintf("#!/bin/sh\necho \"$1\" >> %s\n", w.path("said"))
	w.write("2.swu", described(t, authority(), withScript, system{code: 2}.image(), []byte(script)))
	w.otad("install", "2.swu", "--yes").want(cli.Failed, "runs none")
	w.configure(quiet, func(cfg *config.Config) { cfg.Install.Scripts = w.path("scripts") })
	w.otad("install", "2.swu", "--yes").want(cli.RebootNeeded)
	if got := string(w.read(w.path("said"))); got != "preinst\npostinst\n" {
		t.Errorf("the script was called with %q", got)
	}
}
