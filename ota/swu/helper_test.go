package swu

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"otad/build/tooltest"
)

// now is the time at which the tests judge certificates.
var now = time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)

var box = Selection{Board: "stv1", Revision: "1.0", Set: "stable", Mode: "copy2"}

// identity is a key with its certificate.
type identity struct {
	key  crypto.Signer
	cert *x509.Certificate
}

func (i identity) pem() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: i.cert.Raw})
}

func (i identity) keyPEM(t testing.TB) []byte {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(i.key)
	must(t, err)
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}

func newKey(t testing.TB, kind string) crypto.Signer {
	t.Helper()
	var key crypto.Signer
	var err error
	switch kind {
	case "rsa":
		key, err = rsa.GenerateKey(rand.Reader, 2048)
	case "p384":
		key, err = ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	default:
		key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	}
	must(t, err)
	return key
}

// issue makes a certificate for cn, valid for 2026, signed by parent or by
// itself; change may alter the template.
func issue(t testing.TB, cn string, key crypto.Signer, parent *identity, change func(*x509.Certificate)) identity {
	t.Helper()
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	must(t, err)
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: cn},
		NotBefore: now.AddDate(0, -6, 0), NotAfter: now.AddDate(0, 6, 0),
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageEmailProtection},
	}
	if change != nil {
		change(template)
	}
	issuer, issuerKey := template, key
	if parent != nil {
		issuer, issuerKey = parent.cert, parent.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, issuer, key.Public(), issuerKey)
	must(t, err)
	cert, err := x509.ParseCertificate(der)
	must(t, err)
	return identity{key, cert}
}

func asCA(c *x509.Certificate) {
	c.IsCA = true
	c.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageCRLSign
	c.ExtKeyUsage = nil
}

// world is one CA with one signer, made once for all tests.
type world struct {
	ca, signer identity
	trust      *Trust
}

var theWorld = sync.OnceValue(func() world {
	t := &testing.T{}
	ca := issue(t, "Test CA", newKey(t, "p256"), nil, asCA)
	trust, err := ParseTrust(ca.pem())
	must(t, err)
	return world{ca: ca, signer: issue(t, "Release Signer", newKey(t, "p256"), &ca, nil), trust: trust}
})

func (w world) sign(t testing.TB, description string) []byte {
	t.Helper()
	b, err := Signer{Key: w.signer.key, Certificate: w.signer.cert}.Sign([]byte(description))
	must(t, err)
	return b
}

func must(t testing.TB, err error) {
	if err != nil {
		t.Helper()
		t.Fatal(err)
	}
}

func hashOf(s string) string {
	h := sha256.Sum256([]byte(s))
	return hex.EncodeToString(h[:])
}

// file is an entry for build.
type file struct{ name, data string }

// build writes an archive of the given files in the given form, with no regard
// for what is in them.
func build(magic string, files ...file) []byte {
	var b bytes.Buffer
	put := func(name, data string) {
		sum := uint32(0)
		if magic == magicChecksum {
			sum = byteSum([]byte(data))
		}
		fmt.Fprintf(&b, "%s%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%s\x00",
			magic, 7, 0o100644, 0, 0, 1, 0x65000000, len(data), 8, 1, 0, 0, len(name)+1, sum, name)
		b.Write(make([]byte, -b.Len()&3))
		b.WriteString(data)
		b.Write(make([]byte, -b.Len()&3))
	}
	for _, f := range files {
		put(f.name, f.data)
	}
	put(trailerName, "")
	b.Write(make([]byte, -b.Len()&511))
	return b.Bytes()
}

func open(t testing.TB, b []byte) *Archive {
	t.Helper()
	a, err := Open(bytes.NewReader(b), int64(len(b)))
	must(t, err)
	return a
}

// artifact builds a signed artifact of one raw image.
func artifact(t testing.TB, payload string) []byte {
	t.Helper()
	d := describe(`filename = "rootfs.ext4"; sha256 = "` + hashOf(payload) + `";`)
	return build(magicChecksum, file{DescriptionName, d}, file{SignatureName, string(theWorld().sign(t, d))}, file{"rootfs.ext4", payload})
}

// describe wraps the fields of one image into a description for the test box.
func describe(image string) string {
	return `software = {
	version = "2.0.0";
	stv1 = {
		hardware-compatibility = [ "1.0" ];
		images = ( { ` + image + ` } );
	};
};
`
}

// wantError checks kind and words of an error.
func wantError(t testing.TB, err error, kind Kind, words ...string) {
	t.Helper()
	if KindOf(err) != kind {
		t.Fatalf("error is %q (%v), want kind %q", KindOf(err), err, kind)
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("error %q does not say %q", err, w)
		}
	}
}

// run runs an outside program in dir and returns what it wrote.
func run(t testing.TB, dir, stdin, name string, args ...string) []byte {
	t.Helper()
	cmd := exec.Command(tooltest.Path(t, name), args...)
	cmd.Dir, cmd.Stdin = dir, strings.NewReader(stdin)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s %v: %v\n%s", name, args, err, errs.String())
	}
	return out.Bytes()
}

func write(t testing.TB, dir, name string, b []byte) string {
	t.Helper()
	path := filepath.Join(dir, name)
	must(t, os.WriteFile(path, b, 0o600))
	return path
}

// install does what a box does: open, verify, select, check every payload.
func install(t testing.TB, b []byte, trust *Trust, s Selection) (*Plan, *Archive, error) {
	a, err := Open(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		return nil, nil, err
	}
	d, _, err := a.Description(trust, now)
	if err != nil {
		return nil, nil, err
	}
	p, err := d.Select(s)
	if err != nil {
		return nil, nil, err
	}
	return p, a, p.Verify(context.Background(), a, nil)
}
