package main

import (
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"

	"otad/ota/swu"
)

// loadSigner reads a PEM private key (PKCS#8, PKCS#1 or SEC 1, not encrypted)
// and a PEM certificate with its intermediates behind it.
func loadSigner(keyFile, certFile string) (swu.Signer, error) {
	key, err := loadKey(keyFile)
	if err != nil {
		return swu.Signer{}, fmt.Errorf("cannot read key %q: %w", keyFile, err)
	}
	certificates, err := loadCertificates(certFile)
	if err != nil {
		return swu.Signer{}, fmt.Errorf("cannot read certificate %q: %w", certFile, err)
	}
	return swu.Signer{Key: key, Certificate: certificates[0], Intermediates: certificates[1:]}, nil
}

func loadKey(name string) (crypto.Signer, error) {
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		var key any
		switch block.Type {
		case "PRIVATE KEY":
			key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
		case "RSA PRIVATE KEY":
			key, err = x509.ParsePKCS1PrivateKey(block.Bytes)
		case "EC PRIVATE KEY":
			key, err = x509.ParseECPrivateKey(block.Bytes)
		case "ENCRYPTED PRIVATE KEY":
			return nil, errors.New("it is encrypted; decrypt it with `openssl pkey` or sign with openssl")
		default:
			continue // EC PARAMETERS stand before an EC key
		}
		if err != nil {
			return nil, err
		}
		signer, ok := key.(crypto.Signer)
		if !ok {
			return nil, fmt.Errorf("a key of type %T cannot sign", key)
		}
		return signer, nil
	}
	return nil, errors.New("there is no PEM private key in it")
}

func loadCertificates(name string) ([]*x509.Certificate, error) {
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	var found []*x509.Certificate
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			continue
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		found = append(found, c)
	}
	if len(found) == 0 {
		return nil, errors.New("there is no PEM certificate in it")
	}
	return found, nil
}
