package mqtttest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// Authority is a private CA for one test run, with a certificate for brokers
// on loopback ("localhost", 127.0.0.1, ::1) and one for clients.
type Authority struct {
	root           *x509.Certificate
	rootKey        *ecdsa.PrivateKey
	server, client tls.Certificate
}

// NewAuthority makes the keys and certificates, valid for a day.
func NewAuthority() (*Authority, error) {
	a := &Authority{}
	if err := a.generate(); err != nil {
		return nil, fmt.Errorf("cannot make test certificates: %w", err)
	}
	return a, nil
}

// ClientTLS trusts only this CA; with a certificate it also shows the client's.
func (a *Authority) ClientTLS(certificate bool) *tls.Config {
	config := &tls.Config{RootCAs: a.pool(), MinVersion: tls.VersionTLS12}
	if certificate {
		config.Certificates = []tls.Certificate{a.client}
	}
	return config
}

func (a *Authority) serverTLS(mutual bool) *tls.Config {
	config := &tls.Config{Certificates: []tls.Certificate{a.server}, MinVersion: tls.VersionTLS12}
	if mutual {
		config.ClientAuth, config.ClientCAs = tls.RequireAndVerifyClientCert, a.pool()
	}
	return config
}

func (a *Authority) pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.root)
	return pool
}

// writeFiles puts ca.pem, server.pem and server.key into dir.
func (a *Authority) writeFiles(dir string) error {
	key, err := x509.MarshalPKCS8PrivateKey(a.server.PrivateKey)
	if err != nil {
		return err
	}
	for name, block := range map[string]*pem.Block{
		"ca.pem":     {Type: "CERTIFICATE", Bytes: a.root.Raw},
		"server.pem": {Type: "CERTIFICATE", Bytes: a.server.Certificate[0]},
		"server.key": {Type: "PRIVATE KEY", Bytes: key},
	} {
		if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(block), 0o600); err != nil {
			return err
		}
	}
	return nil
}

func (a *Authority) generate() error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	a.rootKey = key
	root := template("test CA")
	root.IsCA, root.BasicConstraintsValid = true, true
	root.KeyUsage = x509.KeyUsageCertSign
	der, err := x509.CreateCertificate(rand.Reader, root, root, key.Public(), key)
	if err != nil {
		return err
	}
	if a.root, err = x509.ParseCertificate(der); err != nil {
		return err
	}

	server := template("test broker")
	server.DNSNames = []string{"localhost"}
	server.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback}
	server.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	if a.server, err = a.issue(server); err != nil {
		return err
	}
	client := template("test box")
	client.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	a.client, err = a.issue(client)
	return err
}

func (a *Authority) issue(leaf *x509.Certificate) (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	leaf.KeyUsage = x509.KeyUsageDigitalSignature
	der, err := x509.CreateCertificate(rand.Reader, leaf, a.root, key.Public(), a.rootKey)
	if err != nil {
		return tls.Certificate{}, err
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, nil
}

func template(name string) *x509.Certificate {
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		panic(err) // crypto/rand does not fail
	}
	return &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: name},
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(24 * time.Hour),
	}
}

// RootPEM is the CA's certificate.
func (a *Authority) RootPEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.root.Raw})
}

// ServerPEM is the broker's certificate and its key.
func (a *Authority) ServerPEM() (certificate, key []byte, err error) { return encodePair(a.server) }

// ClientPEM makes a certificate and its key for a client called name.
func (a *Authority) ClientPEM(name string) (certificate, key []byte, err error) {
	client := template(name)
	client.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	pair, err := a.issue(client)
	if err != nil {
		return nil, nil, err
	}
	return encodePair(pair)
}

func encodePair(pair tls.Certificate) (certificate, key []byte, err error) {
	der, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	if err != nil {
		return nil, nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: pair.Certificate[0]}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}
