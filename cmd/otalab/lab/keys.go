package lab

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"otad/ota/swu/swutest"
)

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
	a, err := swutest.NewAuthority()
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
