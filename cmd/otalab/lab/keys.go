package lab

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
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

	"otad/ota/swu"
)

// Authority is a certificate authority with one signer.
type Authority struct {
	CA     []byte // PEM: what boxes trust
	Signer swu.Signer
}

// NewAuthority makes one with fresh keys.
func NewAuthority() (Authority, error) {
	a, err := newAuthority()
	if err != nil {
		return Authority{}, fmt.Errorf("cannot make keys: %w", err)
	}
	return a, nil
}

func newAuthority() (Authority, error) {
	caKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return Authority{}, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return Authority{}, err
	}
	now := time.Now()
	ca := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "otad lab CA"},
		NotBefore: now.Add(-time.Hour), NotAfter: now.AddDate(1, 0, 0),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	signer := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "otad lab signer"},
		NotBefore: ca.NotBefore, NotAfter: ca.NotAfter, BasicConstraintsValid: true,
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageEmailProtection},
	}
	caDER, err := x509.CreateCertificate(rand.Reader, ca, ca, caKey.Public(), caKey)
	if err != nil {
		return Authority{}, err
	}
	signerDER, err := x509.CreateCertificate(rand.Reader, signer, ca, key.Public(), caKey)
	if err != nil {
		return Authority{}, err
	}
	certificate, err := x509.ParseCertificate(signerDER)
	if err != nil {
		return Authority{}, err
	}
	return Authority{CA: pemOf("CERTIFICATE", caDER), Signer: swu.Signer{Key: key, Certificate: certificate}}, nil
}

func pemOf(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

// The files of a lab's keys, all PEM.
const (
	CAFile   = "ca.pem"
	CertFile = "signer.pem"
	KeyFile  = "signer.key" // PKCS #8; the CA's own key is not kept
)

// OpenKeys makes a lab's keys in dir, if there are none, and returns the CA,
// so that boxes and artifacts of yesterday are still good today.
func OpenKeys(dir string) (ca []byte, err error) {
	ca, err = os.ReadFile(filepath.Join(dir, CAFile))
	if !errors.Is(err, fs.ErrNotExist) {
		return ca, err
	}
	a, err := NewAuthority()
	if err != nil {
		return nil, err
	}
	key, err := x509.MarshalPKCS8PrivateKey(a.Signer.Key)
	if err == nil {
		err = errors.Join(
			os.WriteFile(filepath.Join(dir, KeyFile), pemOf("PRIVATE KEY", key), 0o600),
			os.WriteFile(filepath.Join(dir, CertFile), pemOf("CERTIFICATE", a.Signer.Certificate.Raw), 0o644),
			os.WriteFile(filepath.Join(dir, CAFile), a.CA, 0o644),
		)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot keep keys in %q: %w", dir, err)
	}
	return a.CA, nil
}
