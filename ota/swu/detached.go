package swu

import (
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"time"
)

// signatureEntry is what errors about a detached signature name.
const signatureEntry = "the detached signature"

// VerifyDetached checks that signature is a detached CMS message over the first
// size bytes of content, by somebody trusted at the given time, and returns the
// signer's certificate. The content is read once for each digest that the
// message uses, and never held in memory. Bare public keys count for
// descriptions only. Errors: BadSignature, Untrusted, or those of content.
//
// It is what `openssl cms -sign -binary -outform DER` makes.
func (t *Trust) VerifyDetached(content io.ReaderAt, size int64, signature []byte, at time.Time) (*x509.Certificate, error) {
	if len(signature) > MaxSignatureBytes {
		return nil, detached(fmt.Errorf("%d bytes are more than the limit of %d", len(signature), MaxSignatureBytes))
	}
	m, err := parseMessage(signature)
	if err != nil {
		return nil, detached(err)
	}
	digests := map[crypto.Hash][]byte{}
	var unreadable error
	digestBy := func(hash crypto.Hash) ([]byte, error) {
		if digests[hash] == nil {
			h := hash.New()
			n, err := io.Copy(h, io.NewSectionReader(content, 0, size))
			if err == nil && n < size {
				err = io.ErrUnexpectedEOF
			}
			if err != nil {
				unreadable = err
				return nil, err
			}
			digests[hash] = h.Sum(nil)
		}
		return digests[hash], nil
	}
	verdict := error(detached(errors.New("it has no signer")))
	for i := range m.signers {
		signer, err := t.verifyDetachedSigner(m, &m.signers[i], digestBy, at)
		if unreadable != nil {
			return nil, unreadable
		}
		if err == nil {
			return signer, nil
		}
		// As for descriptions: that somebody unknown signed says more.
		if i == 0 || KindOf(err) == Untrusted {
			verdict = err
		}
	}
	return nil, verdict
}

func (t *Trust) verifyDetachedSigner(m *message, s *signerInfo, digestBy func(crypto.Hash) ([]byte, error), at time.Time) (*x509.Certificate, error) {
	c := s.certificateOf(m.certificates)
	if c == nil {
		c = s.certificateOf(t.anchors)
	}
	if c == nil {
		return nil, detached(errors.New("the signer's certificate is not in it"))
	}
	if err := s.verifyDigest(digestBy, c); err != nil {
		return nil, detached(fmt.Errorf("signer %q: %w", nameOf(c), err))
	}
	return c, t.judge(c, m.certificates, at)
}

func detached(err error) *Error {
	return &Error{Kind: BadSignature, Entry: signatureEntry, Err: err}
}
