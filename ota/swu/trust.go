package swu

import (
	"bytes"
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"time"
)

// Trust is what a box believes in: certificates that signers must chain to,
// certificates that were revoked, and bare RSA public keys. Any one of several
// anchors is enough, so that an old and a new one can overlap. It is immutable.
type Trust struct {
	anchors []*x509.Certificate
	roots   *x509.CertPool
	revoked []*x509.RevocationList
	keys    []*rsa.PublicKey
	usages  []x509.ExtKeyUsage
}

// The purposes to which [Trust.For] can narrow a trust, as SWUpdate's option
// --cert-purpose names them.
const (
	PurposeEmailProtection = "emailProtection" // SWUpdate's default
	PurposeCodeSigning     = "codeSigning"
)

// For returns the same trust that believes only certificates made for one
// purpose, or, with "", for either of them. A certificate that names no purpose
// at all may sign too, as in OpenSSL.
func (t *Trust) For(purpose string) (*Trust, error) {
	narrowed := *t
	switch purpose {
	case "":
		narrowed.usages = []x509.ExtKeyUsage{x509.ExtKeyUsageEmailProtection, x509.ExtKeyUsageCodeSigning}
	case PurposeEmailProtection:
		narrowed.usages = []x509.ExtKeyUsage{x509.ExtKeyUsageEmailProtection}
	case PurposeCodeSigning:
		narrowed.usages = []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning}
	default:
		return nil, fmt.Errorf("cannot narrow trust: purpose %q is neither %s nor %s", purpose, PurposeEmailProtection, PurposeCodeSigning)
	}
	return &narrowed, nil
}

// ParseTrust reads PEM bundles: CERTIFICATE (a CA, or the very certificate of a
// signer), X509 CRL, and PUBLIC KEY (for SWUpdate's raw RSA signatures). Text
// between the blocks is ignored; other blocks, a bundle that holds none, and
// private keys are errors.
func ParseTrust(pemBundles ...[]byte) (*Trust, error) {
	t := &Trust{roots: x509.NewCertPool()}
	for i, bundle := range pemBundles {
		found := false
		for block, rest := pem.Decode(bundle); block != nil; block, rest = pem.Decode(rest) {
			if err := t.add(block); err != nil {
				return nil, fmt.Errorf("cannot read trust bundle %d: %w", i+1, err)
			}
			found = true
		}
		if !found {
			return nil, fmt.Errorf("cannot read trust bundle %d: there is no PEM block in it", i+1)
		}
	}
	if len(t.anchors) == 0 && len(t.keys) == 0 {
		return nil, errors.New("cannot read trust bundles: there is no certificate and no public key in them")
	}
	return t.For("")
}

func (t *Trust) add(block *pem.Block) error {
	switch block.Type {
	case "CERTIFICATE", "TRUSTED CERTIFICATE":
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return err
		}
		t.anchors = append(t.anchors, c)
		t.roots.AddCert(c)
	case "X509 CRL":
		list, err := x509.ParseRevocationList(block.Bytes)
		if err != nil {
			return err
		}
		t.revoked = append(t.revoked, list)
	case "PUBLIC KEY":
		key, err := x509.ParsePKIXPublicKey(block.Bytes)
		if err != nil {
			return err
		}
		k, ok := key.(*rsa.PublicKey)
		if !ok || k.N.BitLen() < minRSABits {
			return fmt.Errorf("a bare public key must be RSA with at least %d bits", minRSABits)
		}
		t.keys = append(t.keys, k)
	default:
		return fmt.Errorf("a PEM block of type %q does not belong there", block.Type)
	}
	return nil
}

// verify checks that signature is over description and by somebody trusted at
// the given time. Among several signers one good one is enough: the others may
// be for boxes that trust somebody else.
func (t *Trust) verify(description, signature []byte, at time.Time) (*x509.Certificate, error) {
	if len(t.keys) > 0 && !isCMS(signature) {
		return nil, t.verifyRaw(description, signature)
	}
	m, err := parseMessage(signature)
	if err != nil {
		return nil, badSignature(err)
	}
	var verdict error
	for i := range m.signers {
		signer, err := t.verifySigner(m, &m.signers[i], description, at)
		if err == nil {
			return signer, nil
		}
		// That somebody unknown signed says more than that a signature is wrong.
		if verdict == nil || KindOf(err) == Untrusted {
			verdict = err
		}
	}
	return nil, verdict
}

func badSignature(err error) *Error {
	return &Error{Kind: BadSignature, Entry: SignatureName, Err: err}
}

func (t *Trust) verifySigner(m *message, s *signerInfo, description []byte, at time.Time) (*x509.Certificate, error) {
	c := s.certificateOf(m.certificates)
	if c == nil {
		c = s.certificateOf(t.anchors)
	}
	if c == nil {
		return nil, badSignature(errors.New("the signer's certificate is not in it")).
			withHint("sign without -nocerts")
	}
	if err := s.verifyContent(description, c); err != nil {
		return nil, badSignature(fmt.Errorf("signer %q: %w", nameOf(c), err)).
			withHint("likely causes: the description was changed after it was signed, or the file was damaged on its way")
	}
	return c, t.judge(c, m.certificates, at)
}

// judge decides whether a certificate may sign artifacts for us at the given
// time: a chain to an anchor, every certificate of it within its time, its
// purpose and not revoked.
func (t *Trust) judge(c *x509.Certificate, others []*x509.Certificate, at time.Time) error {
	if at.IsZero() {
		return untrusted("the time at which to judge %q is not known", nameOf(c))
	}
	const mayNotSign = "the certificate of %q is not for signing: its key usage lacks digitalSignature"
	if c.KeyUsage != 0 && c.KeyUsage&(x509.KeyUsageDigitalSignature|x509.KeyUsageContentCommitment) == 0 {
		return untrusted(mayNotSign, nameOf(c))
	}
	intermediates := x509.NewCertPool()
	for _, o := range others {
		intermediates.AddCert(o)
	}
	chains, err := c.Verify(x509.VerifyOptions{
		Roots: t.roots, Intermediates: intermediates, CurrentTime: at, KeyUsages: t.usages,
	})
	if err != nil {
		return explainChain(c, err, at)
	}
	for _, chain := range chains {
		if err = t.checkRevoked(chain); err == nil {
			return nil
		}
	}
	return err
}

func untrusted(format string, args ...any) *Error {
	return archiveError(Untrusted, "", format, args...)
}

// nameOf names a certificate's holder for people.
func nameOf(c *x509.Certificate) string {
	if c.Subject.CommonName != "" {
		return c.Subject.CommonName
	}
	return c.Subject.String()
}

// explainChain turns x509's verdict into words for the person who has to act.
func explainChain(c *x509.Certificate, err error, at time.Time) error {
	var invalid x509.CertificateInvalidError
	if errors.As(err, &invalid) && invalid.Cert != nil {
		day := func(t time.Time) string { return t.UTC().Format("2006-01-02 15:04") }
		switch bad := invalid.Cert; {
		case invalid.Reason == x509.Expired && at.Before(bad.NotBefore):
			return untrusted("the certificate of %q is not valid before %s, judged at %s", nameOf(bad), day(bad.NotBefore), day(at)).
				withHint("likely cause: the clock of the box or of the signing machine is wrong")
		case invalid.Reason == x509.Expired:
			return untrusted("the certificate of %q expired on %s, judged at %s", nameOf(bad), day(bad.NotAfter), day(at)).
				withHint("sign the artifact again with a current certificate, or set the clock if it is wrong")
		case invalid.Reason == x509.IncompatibleUsage:
			return untrusted("the certificate of %q is not for signing: its extended key usage is not what this trust wants (emailProtection or codeSigning)", nameOf(bad))
		}
	}
	return untrusted("it is signed by %q, issued by %q, whom this trust does not know: %w", nameOf(c), issuerOf(c), err).
		withHint("likely causes: signed with a test key, the CA is not among the trusted ones, or an intermediate certificate is missing in the signature")
}

func issuerOf(c *x509.Certificate) string {
	if c.Issuer.CommonName != "" {
		return c.Issuer.CommonName
	}
	return c.Issuer.String()
}

// checkRevoked holds every certificate of a chain against the lists of its
// issuer. A list past its next update still counts: a box that was off for
// long must not forget what it knew.
func (t *Trust) checkRevoked(chain []*x509.Certificate) error {
	for i, c := range chain[:len(chain)-1] {
		issuer := chain[i+1]
		for _, list := range t.revoked {
			if !bytes.Equal(list.RawIssuer, c.RawIssuer) || list.CheckSignatureFrom(issuer) != nil {
				continue
			}
			revoked := func(e x509.RevocationListEntry) bool { return e.SerialNumber.Cmp(c.SerialNumber) == 0 }
			if slices.ContainsFunc(list.RevokedCertificateEntries, revoked) {
				return untrusted("the certificate of %q was revoked by %q", nameOf(c), nameOf(issuer))
			}
		}
	}
	return nil
}

// verifyRaw checks SWUpdate's other signature: RSA over the sha256 of the
// description, PKCS#1 v1.5 or PSS.
func (t *Trust) verifyRaw(description, signature []byte) error {
	digest := sha256.Sum256(description)
	for _, k := range t.keys {
		if rsa.VerifyPKCS1v15(k, crypto.SHA256, digest[:], signature) == nil ||
			rsa.VerifyPSS(k, crypto.SHA256, digest[:], signature, &rsa.PSSOptions{Hash: crypto.SHA256}) == nil {
			return nil
		}
	}
	return badSignature(errors.New("it is no CMS message and matches none of the trusted public keys"))
}
