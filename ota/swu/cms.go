package swu

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	_ "crypto/sha256" // the digests that signatures may use
	_ "crypto/sha512"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"math/big"
	"slices"
)

// This file reads and verifies the detached CMS message of RFC 5652 that
// `openssl cms -sign -binary -outform DER` writes. It is our own because the
// library at hand (smallstep/pkcs7) leaves the content-type attribute
// unchecked, takes SHA-1, goes on after a failed parse, judges no key usage
// and knows no RSA-PSS; what is left of it to use is less than what stands here.

var (
	oidData          = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 1}
	oidSignedData    = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 2}
	oidContentType   = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 3}
	oidMessageDigest = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 4}

	oidSHA256 = asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 2, 1}
	oidSHA384 = asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 2, 2}
	oidSHA512 = asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 2, 3}

	oidMGF1            = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 8}
	oidRSA             = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 1}
	oidRSAPSS          = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 10}
	oidSHA256WithRSA   = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 11}
	oidSHA384WithRSA   = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 12}
	oidSHA512WithRSA   = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 13}
	oidECDSAWithSHA256 = asn1.ObjectIdentifier{1, 2, 840, 10045, 4, 3, 2}
	oidECDSAWithSHA384 = asn1.ObjectIdentifier{1, 2, 840, 10045, 4, 3, 3}
	oidECDSAWithSHA512 = asn1.ObjectIdentifier{1, 2, 840, 10045, 4, 3, 4}
)

const (
	// minRSABits is the smallest RSA key whose signature counts.
	minRSABits = 2048
	// maxCertificates and maxSigners bound the work that a message can ask for.
	maxCertificates = 16
	maxSigners      = 8
)

// The ASN.1 of RFC 5652, as far as it is used.
type (
	contentInfo struct {
		ContentType asn1.ObjectIdentifier
		Content     asn1.RawValue `asn1:"explicit,tag:0"`
	}
	signedData struct {
		Version          int
		DigestAlgorithms asn1.RawValue
		Encapsulated     encapsulated
		Certificates     asn1.RawValue `asn1:"optional,tag:0"`
		CRLs             asn1.RawValue `asn1:"optional,tag:1"`
		SignerInfos      []signerInfo  `asn1:"set"`
	}
	encapsulated struct {
		ContentType asn1.ObjectIdentifier
		Content     asn1.RawValue `asn1:"optional,explicit,tag:0"`
	}
	signerInfo struct {
		Version            int
		ID                 asn1.RawValue // issuerAndSerial, or [0] a subject key identifier
		DigestAlgorithm    pkix.AlgorithmIdentifier
		SignedAttributes   asn1.RawValue `asn1:"optional,tag:0"`
		SignatureAlgorithm pkix.AlgorithmIdentifier
		Signature          []byte
		UnsignedAttributes asn1.RawValue `asn1:"optional,tag:1"`
	}
	issuerAndSerial struct {
		Issuer asn1.RawValue
		Serial *big.Int
	}
	attribute struct {
		Type   asn1.ObjectIdentifier
		Values []asn1.RawValue `asn1:"set"`
	}
	pssParameters struct {
		Hash         pkix.AlgorithmIdentifier `asn1:"explicit,tag:0"`
		MGF          pkix.AlgorithmIdentifier `asn1:"explicit,tag:1"`
		SaltLength   int                      `asn1:"explicit,optional,tag:2,default:20"`
		TrailerField int                      `asn1:"explicit,optional,tag:3,default:1"`
	}
)

// message is a parsed CMS message.
type message struct {
	certificates []*x509.Certificate
	signers      []signerInfo
}

// isCMS reports whether b looks like a CMS message at all; a bare signature
// does not.
func isCMS(b []byte) bool {
	var info contentInfo
	_, err := asn1.Unmarshal(b, &info)
	return err == nil
}

// parseMessage reads a detached message.
func parseMessage(b []byte) (*message, error) {
	var info contentInfo
	if err := unmarshalAll(b, &info); err != nil {
		return nil, fmt.Errorf("it is no DER-encoded CMS message: %w", err)
	}
	if !info.ContentType.Equal(oidSignedData) {
		return nil, fmt.Errorf("the CMS message is not signed data but %v", info.ContentType)
	}
	var sd signedData
	if err := unmarshalAll(info.Content.Bytes, &sd); err != nil {
		return nil, fmt.Errorf("the CMS message is malformed: %w", err)
	}
	if len(sd.Encapsulated.Content.FullBytes) > 0 {
		return nil, errors.New("the CMS message is not detached: it carries its content")
	}
	if !sd.Encapsulated.ContentType.Equal(oidData) {
		return nil, fmt.Errorf("the CMS message is about %v, not data", sd.Encapsulated.ContentType)
	}
	if n := len(sd.SignerInfos); n == 0 || n > maxSigners {
		return nil, fmt.Errorf("the CMS message has %d signers, not 1 to %d", n, maxSigners)
	}
	certificates, err := x509.ParseCertificates(sd.Certificates.Bytes)
	if err != nil {
		return nil, fmt.Errorf("a certificate in the CMS message is malformed: %w", err)
	}
	if len(certificates) > maxCertificates {
		return nil, fmt.Errorf("the CMS message has %d certificates, more than %d", len(certificates), maxCertificates)
	}
	return &message{certificates: certificates, signers: sd.SignerInfos}, nil
}

// unmarshalAll refuses bytes behind the value.
func unmarshalAll(b []byte, v any) error {
	rest, err := asn1.Unmarshal(b, v)
	if err == nil && len(rest) > 0 {
		err = fmt.Errorf("%d bytes follow", len(rest))
	}
	return err
}

// certificateOf finds the signer's certificate among those given.
func (s *signerInfo) certificateOf(certificates []*x509.Certificate) *x509.Certificate {
	if s.ID.Class == asn1.ClassContextSpecific && s.ID.Tag == 0 {
		for _, c := range certificates {
			if len(c.SubjectKeyId) > 0 && bytes.Equal(c.SubjectKeyId, s.ID.Bytes) {
				return c
			}
		}
		return nil
	}
	var id issuerAndSerial
	if unmarshalAll(s.ID.FullBytes, &id) != nil {
		return nil
	}
	for _, c := range certificates {
		if c.SerialNumber.Cmp(id.Serial) == 0 && bytes.Equal(c.RawIssuer, id.Issuer.FullBytes) {
			return c
		}
	}
	return nil
}

// verifyContent checks that this signer signed exactly content with the key of
// the certificate. Who that is, it does not judge.
func (s *signerInfo) verifyContent(content []byte, c *x509.Certificate) error {
	return s.verifyDigest(func(hash crypto.Hash) ([]byte, error) { return sum(hash, content), nil }, c)
}

// verifyDigest is verifyContent for a content of which digestBy tells the digest.
func (s *signerInfo) verifyDigest(digestBy func(crypto.Hash) ([]byte, error), c *x509.Certificate) error {
	hash, err := digestOf(s.DigestAlgorithm.Algorithm)
	if err != nil {
		return err
	}
	content, err := digestBy(hash)
	if err != nil {
		return err
	}
	if len(s.SignedAttributes.FullBytes) == 0 {
		return errors.New("it has no signed attributes (made with -noattr?)")
	}
	// The signature is over the attributes encoded as a plain SET: the same
	// bytes but for the tag (RFC 5652, 5.4).
	signed := slices.Clone(s.SignedAttributes.FullBytes)
	signed[0] = asn1.TagSet | 0x20
	digest, err := signedDigest(signed)
	if err != nil {
		return err
	}
	if !bytes.Equal(digest, content) {
		return errors.New("it signs another description")
	}
	return verifySignature(c.PublicKey, s.SignatureAlgorithm, hash, sum(hash, signed), s.Signature)
}

// signedDigest reads the message digest out of the signed attributes and
// demands that they say data and say each thing once.
func signedDigest(set []byte) (digest []byte, err error) {
	var attributes []attribute
	rest, err := asn1.UnmarshalWithParams(set, &attributes, "set")
	if err != nil || len(rest) > 0 {
		return nil, errors.New("its signed attributes are malformed")
	}
	var types int
	for _, a := range attributes {
		isType, isDigest := a.Type.Equal(oidContentType), a.Type.Equal(oidMessageDigest)
		if !isType && !isDigest {
			continue
		}
		if len(a.Values) != 1 {
			return nil, errors.New("a signed attribute has not one value")
		}
		if isType {
			var id asn1.ObjectIdentifier
			if unmarshalAll(a.Values[0].FullBytes, &id) != nil || !id.Equal(oidData) {
				return nil, errors.New("its content type is not data")
			}
			types++
			continue
		}
		if digest != nil || unmarshalAll(a.Values[0].FullBytes, &digest) != nil {
			return nil, errors.New("its message digest is malformed or there twice")
		}
	}
	if types != 1 || digest == nil {
		return nil, errors.New("its signed attributes lack the content type or the message digest")
	}
	return digest, nil
}

func sum(hash crypto.Hash, b []byte) []byte {
	h := hash.New()
	h.Write(b)
	return h.Sum(nil)
}

func digestOf(id asn1.ObjectIdentifier) (crypto.Hash, error) {
	switch {
	case id.Equal(oidSHA256):
		return crypto.SHA256, nil
	case id.Equal(oidSHA384):
		return crypto.SHA384, nil
	case id.Equal(oidSHA512):
		return crypto.SHA512, nil
	}
	return 0, fmt.Errorf("digest algorithm %v is not accepted, only SHA-256, SHA-384 and SHA-512", id)
}

// verifySignature checks one signature over a digest.
func verifySignature(key crypto.PublicKey, algorithm pkix.AlgorithmIdentifier, hash crypto.Hash, digest, signature []byte) error {
	id := algorithm.Algorithm
	wrong := errors.New("the signature is wrong")
	switch k := key.(type) {
	case *rsa.PublicKey:
		if k.N.BitLen() < minRSABits {
			return fmt.Errorf("an RSA key of %d bits is too weak, %d are needed", k.N.BitLen(), minRSABits)
		}
		if id.Equal(oidRSAPSS) {
			salt, err := pssSalt(algorithm.Parameters.FullBytes, hash)
			if err != nil {
				return err
			}
			if rsa.VerifyPSS(k, hash, digest, signature, &rsa.PSSOptions{SaltLength: salt, Hash: hash}) != nil {
				return wrong
			}
			return nil
		}
		withHash := map[crypto.Hash]asn1.ObjectIdentifier{crypto.SHA256: oidSHA256WithRSA, crypto.SHA384: oidSHA384WithRSA, crypto.SHA512: oidSHA512WithRSA}
		if !id.Equal(oidRSA) && !id.Equal(withHash[hash]) {
			return fmt.Errorf("signature algorithm %v is not accepted for an RSA key", id)
		}
		if rsa.VerifyPKCS1v15(k, hash, digest, signature) != nil {
			return wrong
		}
		return nil
	case *ecdsa.PublicKey:
		withHash := map[crypto.Hash]asn1.ObjectIdentifier{crypto.SHA256: oidECDSAWithSHA256, crypto.SHA384: oidECDSAWithSHA384, crypto.SHA512: oidECDSAWithSHA512}
		if !id.Equal(withHash[hash]) || k.Curve.Params().BitSize < 256 {
			return fmt.Errorf("signature algorithm %v is not accepted for a key on %s", id, k.Curve.Params().Name)
		}
		if !ecdsa.VerifyASN1(k, digest, signature) {
			return wrong
		}
		return nil
	}
	return fmt.Errorf("keys of type %T are not accepted, only RSA and ECDSA", key)
}

// pssSalt reads the salt length of RSASSA-PSS and demands that both its
// digests are the message's (RFC 8017, A.2.3).
func pssSalt(parameters []byte, hash crypto.Hash) (int, error) {
	var p pssParameters
	if err := unmarshalAll(parameters, &p); err != nil {
		return 0, fmt.Errorf("the RSA-PSS parameters are malformed: %w", err)
	}
	var mgfHash pkix.AlgorithmIdentifier
	if !p.MGF.Algorithm.Equal(oidMGF1) || unmarshalAll(p.MGF.Parameters.FullBytes, &mgfHash) != nil {
		return 0, errors.New("the RSA-PSS mask function is not MGF1")
	}
	main, err1 := digestOf(p.Hash.Algorithm)
	mask, err2 := digestOf(mgfHash.Algorithm)
	if err1 != nil || err2 != nil || main != hash || mask != hash {
		return 0, errors.New("the RSA-PSS digests are not the message's")
	}
	if p.SaltLength < hash.Size() || p.SaltLength > 512 || p.TrailerField != 1 {
		return 0, fmt.Errorf("RSA-PSS salt length %d or trailer field %d is not accepted", p.SaltLength, p.TrailerField)
	}
	return p.SaltLength, nil
}

// SignersUnverified names the certificates that a signature says it was made
// with, for looking only: nothing is checked. A bare RSA signature names nobody.
func SignersUnverified(signature []byte) []*x509.Certificate {
	m, err := parseMessage(signature)
	if err != nil {
		return nil
	}
	var found []*x509.Certificate
	for i := range m.signers {
		if c := m.signers[i].certificateOf(m.certificates); c != nil {
			found = append(found, c)
		}
	}
	return found
}
