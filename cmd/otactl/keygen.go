package main

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"os"
	"path/filepath"
	"time"

	"otad/cmd/internal/cli"
)

// How long the certificates are good. Boxes judge them at install time, so the
// CA outlives a product, and a signer a few years of releases.
const (
	caYears     = 20
	signerYears = 5
)

const keygenAdvice = `For products keep the CA key offline and the signer's key in an HSM. The same
with openssl, for a key that is made elsewhere:
  openssl req -new -key signer.key -subj "/CN=NAME" -out signer.csr
  printf 'keyUsage=critical,digitalSignature\nextendedKeyUsage=emailProtection,codeSigning\n' > ext
  openssl x509 -req -in signer.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 1825 -extfile ext -out signer.pem
  openssl cms -sign -in sw-description -out sw-description.sig -signer signer.pem -inkey signer.key \
    -outform DER -nosmimecap -binary        # with an HSM: -engine or -provider pkcs11
`

func keygenCommand() cli.Command {
	return cli.Command{
		Name: "keygen", Args: "--out DIR [--type rsa|ecdsa] [--cn NAME]",
		Summary: "make a CA and a signer certificate to start with", Run: keygen,
	}
}

func keygen(_ context.Context, env cli.Env, args []string) error {
	fs := cli.Flags("keygen")
	dir := fs.String("out", "", "directory to write to; made if it is not there")
	kind := fs.String("type", "ecdsa", "kind of keys: ecdsa (P-256) or rsa (3072 bits)")
	name := fs.String("cn", "otad signer", "common name of the signer")
	if _, err := cli.Parse(fs, args, 0, 0); err != nil {
		return err
	}
	if *dir == "" {
		return cli.Usagef("--out is missing")
	}
	if *kind != "rsa" && *kind != "ecdsa" {
		return cli.Usagef("--type is %q, not rsa or ecdsa", *kind)
	}
	ca, err := issue(*kind, *name+" CA", caYears, nil)
	if err != nil {
		return err
	}
	signer, err := issue(*kind, *name, signerYears, ca)
	if err != nil {
		return err
	}
	files, err := keyFiles(ca, signer)
	if err != nil {
		return err
	}
	if err := writeNew(*dir, files); err != nil {
		return err
	}
	for _, f := range files {
		fmt.Fprintf(env.Stdout, "%s  %s\n", filepath.Join(*dir, f.name), f.purpose)
	}
	fmt.Fprint(env.Stderr, "\n"+keygenAdvice)
	return nil
}

// issued is a key with its certificate.
type issued struct {
	key  crypto.Signer
	cert *x509.Certificate
}

// issue makes a key and its certificate: a CA if there is no parent, else a
// signer below it.
func issue(kind, name string, years int, parent *issued) (*issued, error) {
	key, err := newKey(kind)
	if err != nil {
		return nil, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, err
	}
	now := time.Now().UTC().Truncate(time.Second)
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: name},
		NotBefore: now.Add(-time.Hour), NotAfter: now.AddDate(years, 0, 0),
		BasicConstraintsValid: true,
	}
	if parent == nil {
		template.IsCA, template.KeyUsage = true, x509.KeyUsageCertSign|x509.KeyUsageCRLSign
		parent = &issued{key: key, cert: template}
	} else {
		template.KeyUsage = x509.KeyUsageDigitalSignature
		template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageEmailProtection, x509.ExtKeyUsageCodeSigning}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent.cert, key.Public(), parent.key)
	if err != nil {
		return nil, fmt.Errorf("cannot make certificate %q: %w", name, err)
	}
	cert, err := x509.ParseCertificate(der)
	return &issued{key: key, cert: cert}, err
}

func newKey(kind string) (crypto.Signer, error) {
	if kind == "rsa" {
		return rsa.GenerateKey(rand.Reader, 3072)
	}
	return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
}

// newFile is a file that must not be there yet.
type newFile struct {
	name, purpose string
	block         *pem.Block
	mode          fs.FileMode
}

func keyFiles(ca, signer *issued) ([]newFile, error) {
	caKey, err := x509.MarshalPKCS8PrivateKey(ca.key)
	if err != nil {
		return nil, err
	}
	signerKey, err := x509.MarshalPKCS8PrivateKey(signer.key)
	if err != nil {
		return nil, err
	}
	return []newFile{
		{"ca.pem", "the CA certificate: goes into [trust] ca of every box", &pem.Block{Type: "CERTIFICATE", Bytes: ca.cert.Raw}, 0o644},
		{"ca.key", "the CA key: issues signers; keep it offline", &pem.Block{Type: "PRIVATE KEY", Bytes: caKey}, 0o600},
		{"signer.pem", "the signer's certificate: otactl pack --cert", &pem.Block{Type: "CERTIFICATE", Bytes: signer.cert.Raw}, 0o644},
		{"signer.key", "the signer's key: otactl pack --key", &pem.Block{Type: "PRIVATE KEY", Bytes: signerKey}, 0o600},
	}, nil
}

// writeNew writes all files or, if one of them is there already, none.
func writeNew(dir string, files []newFile) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for _, f := range files {
		path := filepath.Join(dir, f.name)
		if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("cannot write %q: it is there already, and keys are never overwritten", path)
		}
	}
	for _, f := range files {
		path := filepath.Join(dir, f.name)
		out, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, f.mode)
		if err != nil {
			return err
		}
		if err := errors.Join(pem.Encode(out, f.block), out.Sync(), out.Close()); err != nil {
			return fmt.Errorf("cannot write %q: %w", path, err)
		}
	}
	return nil
}
