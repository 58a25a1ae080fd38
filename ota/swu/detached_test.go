package swu_test

import (
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"testing/iotest"
	"time"

	"otad/build/tooltest"
	"otad/ota/swu"
	"otad/ota/swu/swutest"
)

func TestVerifyDetached(t *testing.T) {
	t.Parallel()
	ours, err := swutest.NewAuthority()
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := swutest.NewAuthority()
	if err != nil {
		t.Fatal(err)
	}
	trust, err := swu.ParseTrust(ours.CA)
	if err != nil {
		t.Fatal(err)
	}
	content := bytes.Repeat([]byte("a package that is longer than one buffer "), 5000)
	sign := func(a swutest.Authority, content []byte) []byte {
		signature, err := a.Signer.Sign(content)
		if err != nil {
			t.Fatal(err)
		}
		return signature
	}
	good, now := sign(ours, content), time.Now()
	changed := bytes.Clone(content)
	changed[len(changed)-1] ^= 1
	for _, row := range []struct {
		name      string
		content   []byte
		size      int64
		signature []byte
		at        time.Time
		kind      swu.Kind
	}{
		{"good", content, 0, good, now, ""},
		{"another content", changed, 0, good, now, swu.BadSignature},
		{"cut short", content, int64(len(content) - 1), good, now, swu.BadSignature},
		{"by somebody else", content, 0, sign(theirs, content), now, swu.Untrusted},
		{"expired", content, 0, good, now.AddDate(2, 0, 0), swu.Untrusted},
		{"no message", content, 0, []byte("not a signature"), now, swu.BadSignature},
		{"empty", content, 0, nil, now, swu.BadSignature},
		{"too long", content, 0, make([]byte, swu.MaxSignatureBytes+1), now, swu.BadSignature},
		{"something follows", content, 0, append(bytes.Clone(good), 0), now, swu.BadSignature},
	} {
		size := int64(len(row.content))
		if row.size != 0 {
			size = row.size
		}
		signer, err := trust.VerifyDetached(bytes.NewReader(row.content), size, row.signature, row.at)
		if swu.KindOf(err) != row.kind || (err == nil) != (row.kind == "") {
			t.Errorf("%s: %v, want %q", row.name, err, row.kind)
		}
		if err == nil && signer.Subject.CommonName != "otad lab signer" {
			t.Errorf("%s: signed by %q", row.name, signer.Subject.CommonName)
		}
	}
	broken := errors.New("the medium is worn out")
	if _, err := trust.VerifyDetached(failing{broken}, 10, good, now); !errors.Is(err, broken) || swu.KindOf(err) != "" {
		t.Errorf("unreadable: %v", err)
	}
}

type failing struct{ err error }

func (f failing) ReadAt(p []byte, _ int64) (int, error) {
	return io.ReadFull(iotest.ErrReader(f.err), p)
}

// What openssl signs is taken, and openssl takes what we sign.
func TestDetachedWithOpenSSL(t *testing.T) {
	t.Parallel()
	openssl := tooltest.Path(t, "openssl")
	dir := t.TempDir()
	run := func(args ...string) {
		t.Helper()
		cmd := exec.Command(openssl, args...)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("openssl %q: %v\n%s", args, err, out)
		}
	}
	content := bytes.Repeat([]byte("\x00\r\npackage\n"), 999)
	if err := os.WriteFile(filepath.Join(dir, "launcher.apk"), content, 0o644); err != nil {
		t.Fatal(err)
	}
	run("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "key.pem", "-out", "cert.pem", "-days", "2", "-subj", "/CN=packager",
		"-addext", "keyUsage=digitalSignature", "-addext", "extendedKeyUsage=codeSigning")
	run("cms", "-sign", "-binary", "-in", "launcher.apk", "-signer", "cert.pem", "-inkey", "key.pem", "-outform", "DER", "-nosmimecap", "-out", "launcher.apk.sig")
	certificate, err1 := os.ReadFile(filepath.Join(dir, "cert.pem"))
	signature, err2 := os.ReadFile(filepath.Join(dir, "launcher.apk.sig"))
	trust, err3 := swu.ParseTrust(certificate)
	if err := errors.Join(err1, err2, err3); err != nil {
		t.Fatal(err)
	}
	if _, err := trust.VerifyDetached(bytes.NewReader(content), int64(len(content)), signature, time.Now()); err != nil {
		t.Error(err)
	}
}
