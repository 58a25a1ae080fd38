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
	"io"
	"math/big"
	"os"
	"time"

	"otad/ota/swu"
)

// Authority is a certificate authority with one signer, both made for the day.
type Authority struct {
	CA     []byte // PEM: what boxes trust
	Signer swu.Signer
}

// NewAuthority makes fresh keys, which are never written anywhere.
func NewAuthority() (Authority, error) {
	now := time.Now()
	caKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return Authority{}, fmt.Errorf("cannot make a key: %w", err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return Authority{}, fmt.Errorf("cannot make a key: %w", err)
	}
	ca := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "otad lab CA"},
		NotBefore: now.Add(-time.Hour), NotAfter: now.AddDate(1, 0, 0),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	caDER, err := x509.CreateCertificate(rand.Reader, ca, ca, caKey.Public(), caKey)
	if err != nil {
		return Authority{}, fmt.Errorf("cannot make a certificate: %w", err)
	}
	signer := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "otad lab signer"},
		NotBefore: ca.NotBefore, NotAfter: ca.NotAfter, BasicConstraintsValid: true,
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageEmailProtection},
	}
	signerDER, err := x509.CreateCertificate(rand.Reader, signer, ca, key.Public(), caKey)
	if err != nil {
		return Authority{}, fmt.Errorf("cannot make a certificate: %w", err)
	}
	certificate, err := x509.ParseCertificate(signerDER)
	if err != nil {
		return Authority{}, fmt.Errorf("cannot make a certificate: %w", err)
	}
	return Authority{
		CA:     pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: caDER}),
		Signer: swu.Signer{Key: key, Certificate: certificate},
	}, nil
}

// Pack makes the signed artifact name for the boxes of a model from an image.
func (a Authority) Pack(name, image, model, version string) (err error) {
	fail := func(err error) error { return fmt.Errorf("cannot pack %q: %w", name, err) }
	content, err := os.Open(image)
	if err != nil {
		return fail(err)
	}
	defer content.Close()
	stored, err := swu.Compress(io.Discard, content, swu.KindNone)
	if err != nil {
		return fail(err)
	}
	if _, err := content.Seek(0, io.SeekStart); err != nil {
		return fail(err)
	}
	out, err := os.Create(name)
	if err != nil {
		return fail(err)
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	err = swu.Pack(out, swu.Manifest{
		Version: version, Model: model,
		Payloads: []swu.Payload{{Filename: "rootfs.squashfs", Name: "rootfs", Stored: stored, Content: content}},
	}, a.Signer)
	if err != nil {
		return fail(err)
	}
	return nil
}

// Tamper changes the artifact as an attacker would who cannot sign: it swaps
// two bytes in its middle, so that even cpio's check sum still fits.
func Tamper(name string) error {
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("cannot tamper with %q: %w", name, err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("cannot tamper with %q: %w", name, err)
	}
	var pair [2]byte
	for at := info.Size() / 2; ; at++ {
		if _, err := f.ReadAt(pair[:], at); err != nil {
			return fmt.Errorf("cannot tamper with %q: %w", name, err)
		}
		if pair[0] != pair[1] {
			pair[0], pair[1] = pair[1], pair[0]
			_, err := f.WriteAt(pair[:], at)
			return err
		}
	}
}
