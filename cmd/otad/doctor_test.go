package main_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"otad/agent/config"
	"otad/agent/report"
	"otad/board/sim"
	"otad/cmd/internal/cli"
	"otad/cmd/otad/doctor"
	"otad/ota/durable"
)

// finding looks for a check of which one finding has this verdict and text.
func finding(r doctor.Report, check string, verdict doctor.Verdict, text string) bool {
	for _, f := range r.Findings {
		if f.Check == check && f.Verdict == verdict && strings.Contains(f.Subject+": "+f.Text, text) {
			return true
		}
	}
	return false
}

// updated is a box that went from 1 to 2, with all that a doctor may want.
func updated(t *testing.T, edit ...func(*config.Config)) *box {
	t.Helper()
	s := newSite(t)
	b := newBox(t, s, append([]func(*config.Config){quiet}, edit...)...)
	must(t, os.Chmod(b.path("secret"), 0o600))
	s.release(t, system{code: 2})
	b.otad("upgrade", "--yes").want(cli.RebootNeeded)
	b.boot()
	b.otad("confirm").want(cli.Done)
	return b
}

// TestDoctorOnBrokenBoxes breaks a box in one way each and holds the doctor to
// finding that and nothing else that fails.
func TestDoctorOnBrokenBoxes(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    string
		harm    func(b *box)
		check   string
		verdict doctor.Verdict
		text    string
	}{
		{"nothing", func(*box) {}, "slot", doctor.OK, "b: version 2, as it was installed"},
		{"no service", func(*box) {}, "service", doctor.Warn, "no service"},
		{"settings", func(b *box) { b.write("otad.toml", []byte("[devise]\nmodel=1\n")) }, "configuration", doctor.Fail, "devise"},
		{"no settings", func(b *box) { must(b.t, os.Remove(b.path("otad.toml"))) }, "configuration", doctor.Fail, "otad.toml"},
		{"version", func(b *box) { must(b.t, os.Remove(b.path("version"))) }, "identity", doctor.Fail, "version"},
		{"journal gone", func(b *box) { must(b.t, os.Remove(b.path("state/journal.db"))) }, "journal", doctor.Warn, "not there"},
		{"journal damaged", func(b *box) {
			b.scribble(b.path("state/journal.db"), 16)
			b.scribble(b.path("state/journal.db"), int64(os.Getpagesize())+16)
		}, "journal", doctor.Fail, "damaged"},
		{"journal cut", func(b *box) { must(b.t, os.Truncate(b.path("state/journal.db"), 5000)) }, "journal", doctor.Fail, "damaged"},
		{"journal was damaged", func(b *box) { b.write("state/journal.db.damaged-20260101-000000", []byte("x")) }, "journal", doctor.Warn, "before"},
		{"floor gone", func(b *box) { must(b.t, os.Remove(b.path("state/floor"))) }, "floor", doctor.Warn, `the journal says "2"`},
		{"floor damaged", func(b *box) { b.write("state/floor", []byte("9\n")) }, "floor", doctor.Warn, "damaged"},
		{"floor and journal", func(b *box) {
			b.write("state/floor", []byte("9\n"))
			must(b.t, os.Remove(b.path("state/journal.db")))
		}, "floor", doctor.Fail, "damaged"},
		{"active slot", func(b *box) { b.scribble(b.slot("b"), 1<<20) }, "slot", doctor.Fail, "b: cannot trust the slot"},
		{"slot gone", func(b *box) {
			must(b.t, os.Remove(b.slot("a")))
			must(b.t, os.Mkdir(b.slot("a"), 0o755))
		}, "slot", doctor.Fail, "a"},
		{"one environment", func(b *box) { b.write("board/env.0", []byte("noise")) }, "boot-environment", doctor.Warn, "env.0"},
		{"both environments", func(b *box) {
			b.write("board/env.0", []byte("noise"))
			b.write("board/env.1", nil)
		}, "boot-environment", doctor.Fail, "env.1"},
		{"board", func(b *box) { b.configure(func(c *config.Config) { c.Board.Dir = b.path("none") }) }, "board", doctor.Fail, "none"},
		{"armed by hand", func(b *box) { b.armByHand("a") }, "record", doctor.Warn, "journal knows of no update"},
		{"anchor gone", func(b *box) { must(b.t, os.Remove(b.path("ca.pem"))) }, "trust", doctor.Fail, "ca.pem"},
		{"anchor is noise", func(b *box) { b.write("ca.pem", []byte("noise")) }, "trust", doctor.Fail, "no PEM block"},
		{"anchor ended", func(b *box) { b.write("ca.pem", anchor(b.t, -time.Hour)) }, "trust", doctor.Fail, "every anchor has ended"},
		{"anchor ends", func(b *box) { b.write("ca.pem", anchor(b.t, 24*time.Hour)) }, "trust", doctor.Warn, "ends on"},
		{"anchor for all to write", func(b *box) { must(b.t, os.Chmod(b.path("ca.pem"), 0o666)) }, "trust", doctor.Fail, "others can write"},
		{"secret for all to read", func(b *box) { must(b.t, os.Chmod(b.path("secret"), 0o644)) }, "key-file", doctor.Warn, "others can read"},
		{"secret gone", func(b *box) { must(b.t, os.Remove(b.path("secret"))) }, "key-file", doctor.Fail, "secret"},
		{"staging is a file", func(b *box) {
			must(b.t, os.RemoveAll(b.path("staging")))
			b.write("staging", nil)
		}, "staging", doctor.Fail, "staging"},
		{"hook not executable", func(b *box) { must(b.t, os.Chmod(b.path("health.d/10-app"), 0o644)) }, "health", doctor.Warn, "passed over"},
		{"hook for all to write", func(b *box) { must(b.t, os.Chmod(b.path("health.d/10-app"), 0o777)) }, "health", doctor.Fail, "everybody"},
		{"no hooks", func(b *box) { must(b.t, os.RemoveAll(b.path("health.d"))) }, "health", doctor.Warn, "no health hooks"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			b := updated(t)
			c.harm(b)
			before := b.tree()
			r := b.otad("doctor", "--json")
			found := decode[doctor.Report](r)
			if !finding(found, c.check, c.verdict, c.text) {
				t.Errorf("no %s of %s with %q:\n%s", c.verdict, c.check, c.text, r.stdout)
			}
			fails := 0
			for _, f := range found.Findings {
				if f.Verdict == doctor.Fail {
					fails++
				}
				if f.Verdict != doctor.OK && f.Hint == "" {
					t.Errorf("%s says not what to do: %s", f.Check, f.Text)
				}
				if f.Verdict == doctor.Fail && f.Check != c.check && f.Check != "board" {
					t.Errorf("%s fails, too: %s: %s", f.Check, f.Subject, f.Text)
				}
			}
			want := cli.Done
			if c.verdict == doctor.Fail {
				want = cli.Failed
			}
			r.want(want)
			if found.OK != (fails == 0) || r.code == cli.Done != found.OK {
				t.Errorf("%d fail, and ok is %v, the exit code %d", fails, found.OK, r.code)
			}
			if after := b.tree(); after != before {
				t.Errorf("the doctor changed the box:\n%s\n%s", before, after)
			}
			text := b.otad("doctor", "--quick")
			if c.verdict != doctor.OK && c.check != "slot" && !strings.Contains(text.stdout, "\n      hint: ") {
				t.Errorf("the text has no hint:\n%s", text.stdout)
			}
		})
	}
}

// The doctor works beside the service, which holds the journal.
func TestDoctorBesideTheService(t *testing.T) {
	t.Parallel()
	b := updated(t)
	s := b.start()
	s.await(func(s report.State) bool { return s.Slot == "b" })
	r := b.otad("doctor").want(cli.Done).said("ok    service: it runs", "ok    journal: whole, schema 1, 1 outcomes", "ok    slot b: version 2")
	if strings.Contains(r.stdout, "fail") {
		t.Error(r.stdout)
	}
}

// The slot that a rollback needs is compared, too: a changed one is no danger.
func TestDoctorOnTheSlotBefore(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	b := newBox(t, s, quiet)
	for code := int64(2); code <= 3; code++ {
		s.release(t, system{code: code})
		b.otad("upgrade", "--yes").want(cli.RebootNeeded)
		b.boot()
		b.otad("confirm").want(cli.Done)
	}
	b.otad("doctor").want(cli.Done).said("ok    slot a: version 3", "ok    slot b: version 2")
	b.scribble(b.slot("b"), 1<<20)
	b.otad("doctor").want(cli.Done).said("warn  slot b: ", "rollback")
	b.otad("rollback", "--yes").want(cli.Failed, "no-way-back", "does not hold")
}

func (b *box) scribble(path string, offset int64) {
	b.t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	must(b.t, err)
	_, err = f.WriteAt(bytes.Repeat([]byte("scribble"), 16), offset)
	must(b.t, err)
	must(b.t, f.Close())
}

// armByHand makes the bootloader start slot on trial, past otad.
func (b *box) armByHand(slot string) {
	b.t.Helper()
	driver, err := sim.Open(durable.OS, b.path("board"))
	must(b.t, err)
	must(b.t, driver.Arm(b.t.Context(), slot))
	b.boot()
}

// tree is what the box's files are, but for their times of reading.
func (b *box) tree() string {
	b.t.Helper()
	var all strings.Builder
	must(b.t, filepath.Walk(b.dir, func(path string, info os.FileInfo, err error) error {
		if err == nil {
			fmt.Fprintln(&all, strings.TrimPrefix(path, b.dir), info.Mode(), info.Size(), info.ModTime().UnixNano())
		}
		return err
	}))
	return all.String()
}

// anchor is a CA that ends in so long.
func anchor(t *testing.T, ends time.Duration) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	c := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "old CA"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-48 * time.Hour), NotAfter: time.Now().Add(ends)}
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	must(t, err)
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}
