package main

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"otad/ota/swu"
)

// keyring holds the signers of the matrix, all in PEM files for openssl.
type keyring struct {
	dir    string
	caFile string
	trust  *swu.Trust
	holder map[string]keyHolder
}

// keyHolder is a key with its certificate.
type keyHolder struct {
	key       crypto.Signer
	cert      *x509.Certificate
	keyFile   string
	certFile  string
	chainFile string // of the intermediate, if there is one
}

func newKeyring(t *testing.T) *keyring {
	t.Helper()
	k := &keyring{dir: t.TempDir(), holder: map[string]keyHolder{}}
	ca := func(c *x509.Certificate) { c.IsCA, c.KeyUsage, c.ExtKeyUsage = true, x509.KeyUsageCertSign, nil }
	k.add(t, "ca", "rsa", "", ca)
	k.add(t, "foreign-ca", "rsa", "", ca)
	k.add(t, "middle-ca", "rsa", "ca", ca)
	k.add(t, "release", "rsa", "ca", nil)
	k.add(t, "p256", "p256", "ca", nil)
	k.add(t, "p384", "p384", "ca", nil)
	k.add(t, "below", "rsa", "middle-ca", nil)
	k.add(t, "stranger", "rsa", "foreign-ca", nil)
	k.add(t, "expired", "rsa", "ca", func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) })
	k.add(t, "early", "rsa", "ca", func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Hour) })
	k.add(t, "code", "rsa", "ca", func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning} })
	k.add(t, "server", "rsa", "ca", func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} })
	k.add(t, "any", "rsa", "ca", func(c *x509.Certificate) { c.ExtKeyUsage = nil })
	k.caFile = k.holder["ca"].certFile
	bundle, err := os.ReadFile(k.caFile)
	if err == nil {
		k.trust, err = swu.ParseTrust(bundle)
	}
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// add makes a key and its certificate, signed by parent or by itself.
func (k *keyring) add(t *testing.T, name, kind, parent string, change func(*x509.Certificate)) {
	t.Helper()
	var key crypto.Signer
	var err error
	switch kind {
	case "rsa":
		key, err = rsa.GenerateKey(rand.Reader, 2048)
	case "p256":
		key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	default:
		key, err = ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	}
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(int64(len(k.holder) + 1)), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-2 * time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageEmailProtection},
		SubjectKeyId: []byte(name),
	}
	if change != nil {
		change(template)
	}
	issuer, issuerKey := template, key
	if parent != "" {
		issuer, issuerKey = k.holder[parent].cert, k.holder[parent].key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, issuer, key.Public(), issuerKey)
	if err != nil {
		t.Fatal(err)
	}
	h := keyHolder{key: key, keyFile: filepath.Join(k.dir, name+".key"), certFile: filepath.Join(k.dir, name+".pem")}
	if h.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	if parent != "" && parent != "ca" {
		h.chainFile = k.holder[parent].certFile
	}
	for file, block := range map[string]*pem.Block{
		h.keyFile: {Type: "PRIVATE KEY", Bytes: keyDER}, h.certFile: {Type: "CERTIFICATE", Bytes: der},
	} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	k.holder[name] = h
}

type signFunc func(t *testing.T, k *keyring, description []byte) []byte

// signedBy signs with our own code.
func signedBy(name string) signFunc {
	return func(t *testing.T, k *keyring, description []byte) []byte {
		t.Helper()
		h := k.holder[name]
		b, err := swu.Signer{Key: h.key, Certificate: h.cert}.Sign(description)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
}

// openssl signs as producers do, with further options.
func openssl(name string, options ...string) signFunc {
	return func(t *testing.T, k *keyring, description []byte) []byte {
		t.Helper()
		dir, h := t.TempDir(), k.holder[name]
		in, out := filepath.Join(dir, "in"), filepath.Join(dir, "out")
		if err := os.WriteFile(in, description, 0o600); err != nil {
			t.Fatal(err)
		}
		args := []string{"cms", "-sign", "-in", in, "-out", out, "-signer", h.certFile, "-inkey", h.keyFile, "-outform", "DER", "-nosmimecap", "-binary"}
		for _, option := range options {
			switch option {
			case "+chain":
				args = append(args, "-certfile", h.chainFile)
			case "+stranger":
				args = append(args, "-signer", k.holder["stranger"].certFile, "-inkey", k.holder["stranger"].keyFile)
			default:
				args = append(args, option)
			}
		}
		if b, err := exec.Command("openssl", args...).CombinedOutput(); err != nil {
			t.Fatalf("openssl: %v\n%s", err, b)
		}
		b, err := os.ReadFile(out)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
}

func unsigned(*testing.T, *keyring, []byte) []byte { return nil }

// signedOther signs another text than the description.
func signedOther(t *testing.T, k *keyring, description []byte) []byte {
	return signedBy("release")(t, k, append([]byte("# "), description...))
}

// bareRSA signs without CMS.
func bareRSA(t *testing.T, k *keyring, description []byte) []byte {
	t.Helper()
	digest := sha256.Sum256(description)
	b, err := k.holder["release"].key.Sign(rand.Reader, digest[:], crypto.SHA256)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
