package swu

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"slices"
)

// Signer is who signs artifacts.
type Signer struct {
	// Key is RSA or ECDSA; nil when it is elsewhere, see [Signer.ToSign].
	Key           crypto.Signer
	Certificate   *x509.Certificate
	Intermediates []*x509.Certificate // between it and the trusted CA
}

// Sign makes the detached CMS signature over a description, as
// `openssl cms -sign -binary -nosmimecap -outform DER` would, but without the
// signing time: it would be self-asserted, and the same input shall give the
// same bytes. That holds for RSA, and for ECDSA with a key in memory (RFC 6979).
func (s Signer) Sign(description []byte) ([]byte, error) {
	if s.Key == nil {
		return nil, errors.New("cannot sign: there is no key")
	}
	public, ok := s.Key.Public().(interface{ Equal(crypto.PublicKey) bool })
	if !ok || !public.Equal(s.Certificate.PublicKey) {
		return nil, errors.New("cannot sign: the key does not belong to the certificate")
	}
	attributes, hash, err := s.ToSign(description)
	if err != nil {
		return nil, err
	}
	// rand.Reader unless the key can do without.
	random := rand.Reader
	if _, deterministic := s.Key.(*ecdsa.PrivateKey); deterministic {
		random = nil
	}
	signature, err := s.Key.Sign(random, sum(hash, attributes), hash)
	if err != nil {
		return nil, fmt.Errorf("cannot sign: %w", err)
	}
	return s.Assemble(description, signature)
}

// ToSign returns the bytes that a key which is elsewhere, in an HSM or on a
// machine without a network, has to sign, and the digest to do it with: RSA
// with PKCS#1 v1.5, or ECDSA with its signature in DER. What comes back goes to
// [Signer.Assemble].
func (s Signer) ToSign(description []byte) ([]byte, crypto.Hash, error) {
	hash, _, _, err := s.algorithms()
	if err != nil {
		return nil, 0, err
	}
	attributes, err := signedAttributes(sum(hash, description))
	return attributes, hash, err
}

// Assemble makes the CMS message of a description and the signature over its
// [Signer.ToSign]. A signature that is not by the certificate's key is an error.
func (s Signer) Assemble(description, signature []byte) ([]byte, error) {
	_, digestID, signatureID, err := s.algorithms()
	if err != nil {
		return nil, err
	}
	attributes, _, err := s.ToSign(description)
	if err != nil {
		return nil, err
	}
	id, err := asn1.Marshal(issuerAndSerial{Issuer: asn1.RawValue{FullBytes: s.Certificate.RawIssuer}, Serial: s.Certificate.SerialNumber})
	if err != nil {
		return nil, err
	}
	attributes[0] = 0xa0 // [0] IMPLICIT in place of SET
	info := signerInfo{
		Version:            1,
		ID:                 asn1.RawValue{FullBytes: id},
		DigestAlgorithm:    digestID,
		SignedAttributes:   asn1.RawValue{FullBytes: attributes},
		SignatureAlgorithm: signatureID,
		Signature:          signature,
	}
	if err := info.verifyContent(description, s.Certificate); err != nil {
		return nil, fmt.Errorf("cannot sign: the certificate of %q does not fit: %w", nameOf(s.Certificate), err)
	}
	return s.marshal(digestID, info)
}

// algorithms picks the digest that suits the certificate's key.
func (s Signer) algorithms() (hash crypto.Hash, digest, signature pkix.AlgorithmIdentifier, err error) {
	switch k := s.Certificate.PublicKey.(type) {
	case *rsa.PublicKey:
		if k.N.BitLen() < minRSABits {
			return 0, digest, signature, fmt.Errorf("cannot sign: an RSA key needs at least %d bits", minRSABits)
		}
		signature = pkix.AlgorithmIdentifier{Algorithm: oidRSA, Parameters: asn1.NullRawValue}
		return crypto.SHA256, pkix.AlgorithmIdentifier{Algorithm: oidSHA256}, signature, nil
	case *ecdsa.PublicKey:
		if k.Curve.Params().BitSize > 256 {
			return crypto.SHA384, pkix.AlgorithmIdentifier{Algorithm: oidSHA384}, pkix.AlgorithmIdentifier{Algorithm: oidECDSAWithSHA384}, nil
		}
		return crypto.SHA256, pkix.AlgorithmIdentifier{Algorithm: oidSHA256}, pkix.AlgorithmIdentifier{Algorithm: oidECDSAWithSHA256}, nil
	}
	return 0, digest, signature, errors.New("cannot sign: the key is neither RSA nor ECDSA")
}

// signedAttributes encodes content type and message digest as a DER SET.
func signedAttributes(digest []byte) ([]byte, error) {
	var encoded [][]byte
	for _, a := range []struct {
		id    asn1.ObjectIdentifier
		value any
	}{{oidContentType, oidData}, {oidMessageDigest, digest}} {
		value, err := asn1.Marshal(a.value)
		if err != nil {
			return nil, err
		}
		b, err := asn1.Marshal(attribute{Type: a.id, Values: []asn1.RawValue{{FullBytes: value}}})
		if err != nil {
			return nil, err
		}
		encoded = append(encoded, b)
	}
	return marshalSet(encoded...)
}

// marshalSet encodes a SET OF, whose members DER sorts.
func marshalSet(members ...[]byte) ([]byte, error) {
	slices.SortFunc(members, bytes.Compare)
	return asn1.Marshal(asn1.RawValue{Tag: asn1.TagSet, IsCompound: true, Bytes: bytes.Join(members, nil)})
}

// marshal puts the message together.
func (s Signer) marshal(digest pkix.AlgorithmIdentifier, signer signerInfo) ([]byte, error) {
	algorithm, err := asn1.Marshal(digest)
	if err != nil {
		return nil, err
	}
	algorithms, err := marshalSet(algorithm)
	if err != nil {
		return nil, err
	}
	certificates := [][]byte{s.Certificate.Raw}
	for _, c := range s.Intermediates {
		certificates = append(certificates, c.Raw)
	}
	slices.SortFunc(certificates, bytes.Compare)
	inner, err := asn1.Marshal(signedData{
		Version:          1,
		DigestAlgorithms: asn1.RawValue{FullBytes: algorithms},
		Encapsulated:     encapsulated{ContentType: oidData},
		Certificates:     asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 0, IsCompound: true, Bytes: bytes.Join(certificates, nil)},
		SignerInfos:      []signerInfo{signer},
	})
	if err != nil {
		return nil, err
	}
	return asn1.Marshal(contentInfo{
		ContentType: oidSignedData,
		Content:     asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 0, IsCompound: true, Bytes: inner},
	})
}
