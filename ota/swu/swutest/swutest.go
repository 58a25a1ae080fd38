// Package swutest makes keys and signed artifacts for tests and for the lab:
// a certificate authority that lives for the day, and artifacts of one image.
package swutest

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"time"

	"otad/ota/swu"
)

// Authority is a certificate authority with one signer.
type Authority struct {
	CA     []byte // PEM: what boxes trust
	Signer swu.Signer
}

// NewAuthority makes an authority with fresh ECDSA keys, valid from an hour
// ago for a year.
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
	der, err := x509.CreateCertificate(rand.Reader, signer, ca, key.Public(), caKey)
	if err != nil {
		return Authority{}, err
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		return Authority{}, err
	}
	return Authority{
		CA:     pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: caDER}),
		Signer: swu.Signer{Key: key, Certificate: certificate},
	}, nil
}

// Pack writes a signed artifact with one uncompressed image for the boxes of a
// model.
func (a Authority) Pack(w io.Writer, model, version string, image io.ReadSeeker) error {
	return a.PackAs(w, swu.Manifest{Version: version, Model: model}, swu.KindNone, image)
}

// PackAs writes a signed artifact after a manifest without payloads; the image
// is compressed as kind says, in memory.
func (a Authority) PackAs(w io.Writer, m swu.Manifest, kind string, image io.ReadSeeker) error {
	payload := swu.Payload{Filename: "rootfs.img", Name: "rootfs"}
	var compressed bytes.Buffer
	content, sink := io.ReadSeeker(image), io.Discard
	if kind != swu.KindNone {
		sink = &compressed
	}
	stored, err := swu.Compress(sink, image, kind)
	if err != nil {
		return err
	}
	if kind == swu.KindNone {
		_, err = image.Seek(0, io.SeekStart)
	} else {
		content = bytes.NewReader(compressed.Bytes())
	}
	if err != nil {
		return err
	}
	payload.Stored, payload.Content = stored, content
	m.Payloads = []swu.Payload{payload}
	return swu.Pack(w, m, a.Signer)
}
