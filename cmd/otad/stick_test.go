package main_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"otad/agent"
	"otad/agent/config"
	"otad/agent/report"
	"otad/cmd/internal/cli"
	"otad/ota"
)

// media are the sticks of a box.
func media(b *box) func(*config.Config) {
	return func(c *config.Config) { c.USB.Dir = b.path("media") }
}

// plug puts files on a stick and the stick into the box.
func plug(b *box, files map[string][]byte) string {
	b.t.Helper()
	must(b.t, os.MkdirAll(b.path("media/sda1"), 0o755))
	for name, data := range files {
		b.write("media/sda1/"+name, data)
	}
	return b.path("media/sda1")
}

// TestStick: of all that lies on a stick the newest good artifact becomes an
// offer, which waits for consent.
func TestStick(t *testing.T) {
	t.Parallel()
	b := newBox(t, newSite(t), quiet)
	b.configure(quiet, media(b))
	two, three, four := system{code: 2}, system{code: 3}, system{code: 4}
	foreign := pack(t, authority(), "another-model", "9", two.image())
	newest := four.artifact(t)
	dir := plug(b, map[string][]byte{
		"two.swu": two.artifact(t), "a-three.SWU": three.artifact(t), "foreign.swu": foreign, "._two.swu": []byte("a shadow"),
		"unsigned.swu": unsigned(t, newest), "readme.txt": []byte("hello"), "empty.swu": nil,
		"tampered.swu": swapped(newest, entryOf(t, newest, "").OffsetBytes+4096), "one.swu": system{code: 1}.artifact(t),
	})
	must(t, os.Symlink(b.path("elsewhere.swu"), filepath.Join(dir, "link.swu")))
	b.write("elsewhere.swu", newest)

	b.otad("install", "--scan", dir).want(cli.Failed, "no daemon")
	s := b.start()
	s.await(inPhase(ota.PhaseIdle))
	found := decode[agent.Scan](b.otad("install", "--scan", dir, "--json").want(cli.Done))
	if filepath.Base(found.Taken) != "a-three.SWU" || found.Version != "3" || !found.Asks {
		t.Errorf("found %+v", found)
	}
	codes := map[string]ota.Code{}
	for _, skipped := range found.Skipped {
		codes[filepath.Base(skipped.File)] = skipped.Code
	}
	for name, code := range map[string]ota.Code{"foreign.swu": ota.CodeWrongHardware, "unsigned.swu": ota.CodeArtifactSignature,
		"tampered.swu": ota.CodeArtifactHash, "one.swu": ota.CodeNothing, "empty.swu": ota.CodeArtifactDamaged} {
		if codes[name] != code {
			t.Errorf("%s is skipped for %q, want %q", name, codes[name], code)
		}
	}
	if len(codes) != 5 {
		t.Errorf("skipped %v", codes)
	}
	s.await(func(s report.State) bool { return s.Phase == ota.PhaseOffered && strings.Contains(s.Reason, "consent") })
	b.otad("install", "--scan", dir).want(cli.Failed, "cannot begin")
	b.otad("consent", "accept").want(cli.Done)
	if r := s.wait(); r.code != cli.RebootNeeded {
		t.Fatalf("otad run ended with %d", r.code)
	}
	b.boot()
	_, s = b.live(func(s report.State) bool { return s.Last != nil && s.Phase == ota.PhaseIdle })
	if !b.holds("b", three.image()) {
		t.Error("the newest good system is not installed")
	}
	// The stick is still there at the next boot.
	b.otad("install", "--scan", dir).want(cli.Nothing).said("nothing to install", `version "2" is below the floor`, `"3" is installed`)
	if s := b.status(); s.Phase != ota.PhaseIdle || s.Last.Result != ota.PhaseConfirmed {
		t.Errorf("the box is %+v", s)
	}
	s.stop().want(cli.Done)
}

// What was declined is not offered again, until it is another version or another
// file in its place.
func TestStickDeclined(t *testing.T) {
	t.Parallel()
	b := newBox(t, newSite(t), quiet)
	b.configure(quiet, media(b))
	dir := plug(b, map[string][]byte{"fw.swu": system{code: 2}.artifact(t)})
	s := b.start()
	s.await(inPhase(ota.PhaseIdle))
	b.otad("install", "--scan", dir).want(cli.Done).said("version 2: it waits for `otad consent accept`")
	b.otad("consent", "decline").want(cli.Done)
	s.await(inPhase(ota.PhaseIdle))
	b.otad("install", "--scan", dir).want(cli.Nothing).said("tried before", "(bad-offer)")
	plug(b, map[string][]byte{"fw.swu": system{code: 2, health: "exit 1"}.artifact(t)})
	b.otad("install", "--scan", dir).want(cli.Done).said("version 2")
	b.otad("consent", "decline").want(cli.Done)
	s.await(inPhase(ota.PhaseIdle))
	b.otad("install", "--scan", dir).want(cli.Nothing).said("tried before")
	plug(b, map[string][]byte{"fw.swu": system{code: 3}.artifact(t)})
	b.otad("install", "--scan", dir).want(cli.Done).said("version 3")
	b.otad("cancel").want(cli.Done)
	b.otad("install", "--scan", b.dir).want(cli.Usage, "not below usb.dir")
	b.otad("install", "--scan", b.path("media/none")).want(cli.Failed, "cannot look into")
	b.otad("install", "--scan", dir, "--yes").want(cli.Usage)
}

// Where the settings say so nobody is asked.
func TestStickUnasked(t *testing.T) {
	t.Parallel()
	b := newBox(t, newSite(t), quiet)
	b.configure(quiet, media(b), func(c *config.Config) { c.USB.Ask = false })
	dir := plug(b, map[string][]byte{"fw.swu": system{code: 2}.artifact(t)})
	s := b.start()
	s.await(inPhase(ota.PhaseIdle))
	b.otad("install", "--scan", dir).want(cli.Done).said("taken ")
	if r := s.wait(); r.code != cli.RebootNeeded || !b.holds("b", system{code: 2}.image()) {
		t.Errorf("otad run ended with %d", r.code)
	}
}
