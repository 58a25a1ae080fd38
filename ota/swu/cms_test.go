package swu

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"testing"
	"time"
)

const content = "software = { version = \"1\"; };\n"

// opensslSign signs content with the real `openssl cms`.
func opensslSign(t testing.TB, id identity, args ...string) []byte {
	t.Helper()
	dir := t.TempDir()
	cert, key := write(t, dir, "cert.pem", id.pem()), write(t, dir, "key.pem", id.keyPEM(t))
	in := write(t, dir, "sw-description", []byte(content))
	out := filepath.Join(dir, "sig")
	base := []string{"cms", "-sign", "-in", in, "-out", out, "-signer", cert, "-inkey", key, "-outform", "DER", "-nosmimecap", "-binary"}
	run(t, dir, "", "openssl", append(base, args...)...)
	b, err := os.ReadFile(out)
	must(t, err)
	return b
}

func TestOpenSSLSignatures(t *testing.T) {
	t.Parallel()
	ca := issue(t, "CA", newKey(t, "p256"), nil, asCA)
	middle := issue(t, "Middle CA", newKey(t, "p384"), &ca, asCA)
	trust, err := ParseTrust(ca.pem())
	must(t, err)
	rsaSigner := issue(t, "RSA signer", newKey(t, "rsa"), &ca, nil)
	p256 := issue(t, "P-256 signer", newKey(t, "p256"), &ca, nil)
	p384 := issue(t, "P-384 signer", newKey(t, "p384"), &ca, nil)
	below := issue(t, "Below the middle", newKey(t, "p256"), &middle, nil)
	withKeyID := issue(t, "With a key id", newKey(t, "p256"), &ca, func(c *x509.Certificate) { c.SubjectKeyId = []byte{1, 2, 3} })
	chain := write(t, t.TempDir(), "chain.pem", middle.pem())
	second := t.TempDir()
	secondCert, secondKey := write(t, second, "c", p256.pem()), write(t, second, "k", p256.keyPEM(t))
	tests := []struct {
		name  string
		id    identity
		args  []string
		kind  Kind
		words string
	}{
		{"RSA PKCS#1", rsaSigner, nil, "", ""},
		{"RSA SHA-512", rsaSigner, []string{"-md", "sha512"}, "", ""},
		{"RSA-PSS", rsaSigner, []string{"-keyopt", "rsa_padding_mode:pss"}, "", ""},
		{"RSA-PSS short salt", rsaSigner, []string{"-keyopt", "rsa_padding_mode:pss", "-keyopt", "rsa_pss_saltlen:8"}, BadSignature, "salt"},
		{"RSA-PSS salt of the digest's length", rsaSigner, []string{"-keyopt", "rsa_padding_mode:pss", "-keyopt", "rsa_pss_saltlen:-1"}, "", ""},
		{"ECDSA P-256", p256, nil, "", ""},
		{"ECDSA P-384", p384, []string{"-md", "sha384"}, "", ""},
		{"ECDSA P-384 with SHA-256", p384, nil, "", ""},
		{"signer by key id", withKeyID, []string{"-keyid"}, "", ""},
		{"intermediate in the message", below, []string{"-certfile", chain}, "", ""},
		{"intermediate missing", below, nil, Untrusted, "Below the middle"},
		{"two signers", rsaSigner, []string{"-signer", secondCert, "-inkey", secondKey}, "", ""},
		{"SHA-1", rsaSigner, []string{"-md", "sha1"}, BadSignature, "not accepted"},
		{"no attributes", rsaSigner, []string{"-noattr"}, BadSignature, "-noattr"},
		{"no certificates", rsaSigner, []string{"-nocerts"}, BadSignature, "not in it"},
		{"not detached", rsaSigner, []string{"-nodetach"}, BadSignature, "not detached"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			sig := opensslSign(t, tt.id, tt.args...)
			signer, err := trust.verify([]byte(content), sig, now)
			if tt.kind != "" {
				wantError(t, err, tt.kind, tt.words)
				return
			}
			must(t, err)
			if !signer.Equal(tt.id.cert) && tt.name != "two signers" {
				t.Errorf("signer is %q", signer.Subject)
			}
			_, err = trust.verify([]byte(content+" "), sig, now)
			wantError(t, err, BadSignature, "another description")
		})
	}
}

// What we sign, OpenSSL verifies.
func TestOpenSSLVerifiesOurs(t *testing.T) {
	t.Parallel()
	ca := issue(t, "CA", newKey(t, "p256"), nil, asCA)
	middle := issue(t, "Middle CA", newKey(t, "rsa"), &ca, asCA)
	for _, kind := range []string{"rsa", "p256", "p384"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			id := issue(t, "Signer", newKey(t, kind), &middle, nil)
			s := Signer{Key: id.key, Certificate: id.cert, Intermediates: []*x509.Certificate{middle.cert}}
			sig, err := s.Sign([]byte(content))
			must(t, err)
			again, err := s.Sign([]byte(content))
			must(t, err)
			if !bytes.Equal(sig, again) {
				t.Error("two signatures differ")
			}
			dir := t.TempDir()
			write(t, dir, "ca.pem", ca.pem())
			write(t, dir, "sig", sig)
			write(t, dir, "content", []byte(content))
			args := []string{"cms", "-verify", "-binary", "-inform", "DER", "-in", "sig", "-content", "content", "-CAfile", "ca.pem", "-attime", "1780315200"}
			if got := run(t, dir, "", "openssl", args...); string(got) != content {
				t.Errorf("openssl returned %q", got)
			}
		})
	}
}

func TestSignRefusesAForeignKey(t *testing.T) {
	t.Parallel()
	_, err := Signer{Key: newKey(t, "p256"), Certificate: theWorld().signer.cert}.Sign([]byte(content))
	if err == nil {
		t.Error("a key that is not the certificate's was taken")
	}
}

func TestWhoIsTrusted(t *testing.T) {
	t.Parallel()
	ca := issue(t, "CA", newKey(t, "p256"), nil, asCA)
	other := issue(t, "Other CA", newKey(t, "p256"), nil, asCA)
	sameName := issue(t, "CA", newKey(t, "p256"), nil, asCA)
	notCA := issue(t, "Signer turned CA", newKey(t, "p256"), &ca, nil)
	selfSigned := issue(t, "Self", newKey(t, "p256"), nil, nil)
	usage := func(u ...x509.ExtKeyUsage) func(*x509.Certificate) {
		return func(c *x509.Certificate) { c.ExtKeyUsage = u }
	}
	tests := []struct {
		name   string
		trust  identity
		parent *identity
		change func(*x509.Certificate)
		at     time.Time
		kind   Kind
		words  string
	}{
		{"emailProtection", ca, &ca, nil, now, "", ""},
		{"codeSigning", ca, &ca, usage(x509.ExtKeyUsageCodeSigning), now, "", ""},
		{"any usage", ca, &ca, usage(x509.ExtKeyUsageAny), now, "", ""},
		{"no extended usage", ca, &ca, usage(), now, "", ""},
		{"server certificate", ca, &ca, usage(x509.ExtKeyUsageServerAuth), now, Untrusted, "extended key usage"},
		{"key usage without signature", ca, &ca, func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageKeyEncipherment }, now, Untrusted, "digitalSignature"},
		{"another CA", other, &ca, nil, now, Untrusted, "does not know"},
		{"another CA of the same name", sameName, &ca, nil, now, Untrusted, "does not know"},
		{"issued by a signer", ca, &notCA, nil, now, Untrusted, ""},
		{"expired", ca, &ca, nil, now.AddDate(1, 0, 0), Untrusted, "expired on"},
		{"not yet valid", ca, &ca, nil, now.AddDate(-1, 0, 0), Untrusted, "not valid before"},
		{"box at 1970", ca, &ca, nil, time.Unix(0, 0), Untrusted, "not valid before"},
		{"no time", ca, &ca, nil, time.Time{}, Untrusted, "not known"},
		{"signer expired within the CA's time", ca, &ca, func(c *x509.Certificate) { c.NotAfter = now.AddDate(0, -1, 0) }, now, Untrusted, "expired on"},
		{"stranger signed himself", ca, nil, nil, now, Untrusted, "does not know"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			id := issue(t, "Signer of this test", newKey(t, "p256"), tt.parent, tt.change)
			extra := []*x509.Certificate{notCA.cert}
			sig, err := Signer{Key: id.key, Certificate: id.cert, Intermediates: extra}.Sign([]byte(content))
			must(t, err)
			trust, err := ParseTrust(tt.trust.pem())
			must(t, err)
			signer, err := trust.verify([]byte(content), sig, tt.at)
			if tt.kind != "" {
				wantError(t, err, tt.kind, tt.words)
				return
			}
			must(t, err)
			if !signer.Equal(id.cert) {
				t.Errorf("signer is %q", signer.Subject)
			}
		})
	}
	t.Run("purpose", func(t *testing.T) {
		for _, tt := range []struct {
			purpose string
			has     []x509.ExtKeyUsage
			good    bool
		}{
			{PurposeEmailProtection, []x509.ExtKeyUsage{x509.ExtKeyUsageEmailProtection}, true},
			{PurposeEmailProtection, []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning}, false},
			{PurposeCodeSigning, []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning}, true},
			{PurposeCodeSigning, []x509.ExtKeyUsage{x509.ExtKeyUsageEmailProtection}, false},
			{PurposeCodeSigning, []x509.ExtKeyUsage{x509.ExtKeyUsageEmailProtection, x509.ExtKeyUsageCodeSigning}, true},
			{PurposeCodeSigning, nil, true},
		} {
			id := issue(t, "Signer", newKey(t, "p256"), &ca, usage(tt.has...))
			sig, err := Signer{Key: id.key, Certificate: id.cert}.Sign([]byte(content))
			must(t, err)
			trust, err := ParseTrust(ca.pem())
			must(t, err)
			trust, err = trust.For(tt.purpose)
			must(t, err)
			if _, err = trust.verify([]byte(content), sig, now); (err == nil) != tt.good {
				t.Errorf("%s with %v: %v", tt.purpose, tt.has, err)
			}
		}
		if _, err := theWorld().trust.For("serverAuth"); err == nil {
			t.Error("a purpose that is none was taken")
		}
	})
	t.Run("the signer itself is the anchor", func(t *testing.T) {
		sig, err := Signer{Key: selfSigned.key, Certificate: selfSigned.cert}.Sign([]byte(content))
		must(t, err)
		trust, err := ParseTrust(other.pem(), selfSigned.pem())
		must(t, err)
		_, err = trust.verify([]byte(content), sig, now)
		must(t, err)
	})
	t.Run("two anchors overlap", func(t *testing.T) {
		id := issue(t, "New signer", newKey(t, "p256"), &ca, nil)
		sig, err := Signer{Key: id.key, Certificate: id.cert}.Sign([]byte(content))
		must(t, err)
		trust, err := ParseTrust(append(other.pem(), ca.pem()...))
		must(t, err)
		_, err = trust.verify([]byte(content), sig, now)
		must(t, err)
	})
}

func TestRevocation(t *testing.T) {
	t.Parallel()
	ca := issue(t, "CA", newKey(t, "p256"), nil, asCA)
	middle := issue(t, "Middle", newKey(t, "p256"), &ca, asCA)
	id := issue(t, "Signer", newKey(t, "p256"), &middle, nil)
	sig, err := Signer{Key: id.key, Certificate: id.cert, Intermediates: []*x509.Certificate{middle.cert}}.Sign([]byte(content))
	must(t, err)
	crl := func(by identity, serials ...*big.Int) []byte {
		template := &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: now.AddDate(0, -2, 0), NextUpdate: now.AddDate(0, -1, 0)}
		for _, s := range serials {
			template.RevokedCertificateEntries = append(template.RevokedCertificateEntries, x509.RevocationListEntry{SerialNumber: s, RevocationTime: now})
		}
		der, err := x509.CreateRevocationList(rand.Reader, template, by.cert, by.key)
		must(t, err)
		return pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: der})
	}
	forger := issue(t, "Middle", newKey(t, "p256"), nil, asCA)
	tests := []struct {
		name string
		crl  []byte
		kind Kind
	}{
		{"nobody revoked", crl(ca), ""},
		{"signer revoked", crl(middle, id.cert.SerialNumber), Untrusted},
		{"intermediate revoked", crl(ca, middle.cert.SerialNumber), Untrusted},
		{"list of somebody else", crl(forger, id.cert.SerialNumber), ""},
	}
	for _, tt := range tests {
		trust, err := ParseTrust(ca.pem(), tt.crl)
		must(t, err)
		if _, err = trust.verify([]byte(content), sig, now); KindOf(err) != tt.kind {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}

func TestRawRSASignatures(t *testing.T) {
	t.Parallel()
	key := newKey(t, "rsa").(*rsa.PrivateKey)
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	must(t, err)
	trust, err := ParseTrust(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
	must(t, err)
	digest := sha256.Sum256([]byte(content))
	v15, err := key.Sign(rand.Reader, digest[:], crypto.SHA256)
	must(t, err)
	pss, err := key.Sign(rand.Reader, digest[:], &rsa.PSSOptions{Hash: crypto.SHA256})
	must(t, err)
	for _, sig := range [][]byte{v15, pss} {
		signer, err := trust.verify([]byte(content), sig, now)
		must(t, err)
		if signer != nil {
			t.Error("a bare key has no certificate")
		}
		_, err = trust.verify([]byte(content+" "), sig, now)
		wantError(t, err, BadSignature)
		_, err = theWorld().trust.verify([]byte(content), sig, now)
		wantError(t, err, BadSignature)
	}
	// A CMS message by a stranger does not slip in because keys are trusted.
	_, err = trust.verify([]byte(content), theWorld().sign(t, content), now)
	wantError(t, err, Untrusted)
}

// forge builds a message like Signer.Sign, with one thing wrong.
func forge(t *testing.T, change func(attributes *[][]byte, s *signerInfo, sd *signedData)) []byte {
	t.Helper()
	id := theWorld().signer
	marshal := func(v any) []byte {
		b, err := asn1.Marshal(v)
		must(t, err)
		return b
	}
	attr := func(id asn1.ObjectIdentifier, v any) []byte {
		return marshal(attribute{Type: id, Values: []asn1.RawValue{{FullBytes: marshal(v)}}})
	}
	digest := sha256.Sum256([]byte(content))
	attributes := [][]byte{attr(oidContentType, oidData), attr(oidMessageDigest, digest[:])}
	s := signerInfo{
		Version:            1,
		ID:                 asn1.RawValue{FullBytes: marshal(issuerAndSerial{asn1.RawValue{FullBytes: id.cert.RawIssuer}, id.cert.SerialNumber})},
		DigestAlgorithm:    pkix.AlgorithmIdentifier{Algorithm: oidSHA256},
		SignatureAlgorithm: pkix.AlgorithmIdentifier{Algorithm: oidECDSAWithSHA256},
	}
	set, err := marshalSet([]byte(nil))
	must(t, err)
	sd := signedData{
		Version: 1, DigestAlgorithms: asn1.RawValue{FullBytes: set}, Encapsulated: encapsulated{ContentType: oidData},
		Certificates: asn1.RawValue{Class: asn1.ClassContextSpecific, IsCompound: true, Bytes: id.cert.Raw},
	}
	if change != nil {
		change(&attributes, &s, &sd)
	}
	if s.Signature == nil {
		set, err := marshalSet(attributes...)
		must(t, err)
		s.Signature, err = id.key.Sign(rand.Reader, sum(crypto.SHA256, set), crypto.SHA256)
		must(t, err)
		set[0] = 0xa0
		s.SignedAttributes = asn1.RawValue{FullBytes: set}
	}
	sd.SignerInfos = append([]signerInfo{s}, sd.SignerInfos...)
	return marshal(contentInfo{oidSignedData, asn1.RawValue{Class: asn1.ClassContextSpecific, IsCompound: true, Bytes: marshal(sd)}})
}

func TestForgedMessages(t *testing.T) {
	t.Parallel()
	encode := func(v any) []byte { b, err := asn1.Marshal(v); must(t, err); return b }
	attr := func(id asn1.ObjectIdentifier, v any) []byte {
		return encode(attribute{Type: id, Values: []asn1.RawValue{{FullBytes: encode(v)}}})
	}
	digest := sha256.Sum256([]byte(content))
	wrong := sha256.Sum256([]byte("something else"))
	stranger := issue(t, "Release Signer", newKey(t, "p256"), nil, func(c *x509.Certificate) {
		c.SerialNumber = theWorld().signer.cert.SerialNumber
		c.Subject = theWorld().ca.cert.Subject // so that its issuer is the CA's name
	})
	tests := []struct {
		name   string
		change func(*[][]byte, *signerInfo, *signedData)
		kind   Kind
	}{
		{"nothing wrong", nil, ""},
		{"digest of something else", func(a *[][]byte, _ *signerInfo, _ *signedData) { (*a)[1] = attr(oidMessageDigest, wrong[:]) }, BadSignature},
		{"two digests", func(a *[][]byte, _ *signerInfo, _ *signedData) { *a = append(*a, attr(oidMessageDigest, wrong[:])) }, BadSignature},
		{"two values of one digest", func(a *[][]byte, _ *signerInfo, _ *signedData) {
			(*a)[1] = encode(attribute{oidMessageDigest, []asn1.RawValue{{FullBytes: encode(digest[:])}, {FullBytes: encode(wrong[:])}}})
		}, BadSignature},
		{"no digest", func(a *[][]byte, _ *signerInfo, _ *signedData) { *a = (*a)[:1] }, BadSignature},
		{"no content type", func(a *[][]byte, _ *signerInfo, _ *signedData) { *a = (*a)[1:] }, BadSignature},
		{"content type is signed data", func(a *[][]byte, _ *signerInfo, _ *signedData) { (*a)[0] = attr(oidContentType, oidSignedData) }, BadSignature},
		{"signature is random", func(_ *[][]byte, s *signerInfo, _ *signedData) { s.Signature = []byte("random") }, BadSignature},
		{"digest algorithm is not the signature's", func(_ *[][]byte, s *signerInfo, _ *signedData) { s.DigestAlgorithm.Algorithm = oidSHA512 }, BadSignature},
		{"RSA algorithm for an EC key", func(_ *[][]byte, s *signerInfo, _ *signedData) { s.SignatureAlgorithm.Algorithm = oidRSA }, BadSignature},
		{"certificate of the same issuer and serial", func(_ *[][]byte, _ *signerInfo, sd *signedData) {
			sd.Certificates.Bytes = append(bytes.Clone(stranger.cert.Raw), sd.Certificates.Bytes...)
		}, BadSignature},
		{"no certificate", func(_ *[][]byte, _ *signerInfo, sd *signedData) { sd.Certificates.Bytes = nil }, BadSignature},
		{"content type of the message", func(_ *[][]byte, _ *signerInfo, sd *signedData) { sd.Encapsulated.ContentType = oidSignedData }, BadSignature},
		{"signer named by garbage", func(_ *[][]byte, s *signerInfo, _ *signedData) { s.ID.FullBytes = []byte{5, 0} }, BadSignature},
		{"too many signers", func(_ *[][]byte, s *signerInfo, sd *signedData) {
			for range maxSigners {
				sd.SignerInfos = append(sd.SignerInfos, signerInfo{Version: 1, ID: s.ID, Signature: []byte{1},
					DigestAlgorithm: s.DigestAlgorithm, SignatureAlgorithm: s.SignatureAlgorithm})
			}
		}, BadSignature},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, err := theWorld().trust.verify([]byte(content), forge(t, tt.change), now)
			if KindOf(err) != tt.kind || tt.kind == "" && err != nil {
				t.Errorf("got %v, want kind %q", err, tt.kind)
			}
		})
	}
	t.Run("bytes behind the message", func(t *testing.T) {
		_, err := theWorld().trust.verify([]byte(content), append(forge(t, nil), 0), now)
		wantError(t, err, BadSignature, "bytes follow")
	})
}

func TestParseTrustRefuses(t *testing.T) {
	t.Parallel()
	p256, err := x509.MarshalPKIXPublicKey(newKey(t, "p256").Public())
	must(t, err)
	for name, bundle := range map[string][]byte{
		"nothing":         nil,
		"no PEM":          []byte("hello"),
		"a private key":   theWorld().signer.keyPEM(t),
		"garbage":         pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("x")}),
		"a bare P-256":    pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: p256}),
		"only a CRL":      pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: []byte("x")}),
		"half an anchor":  theWorld().ca.pem()[:100],
		"a bad bundle 2 ": append(theWorld().ca.pem(), pem.EncodeToMemory(&pem.Block{Type: "DSA", Bytes: []byte("x")})...),
	} {
		if _, err := ParseTrust(bundle); err == nil {
			t.Errorf("%s was taken", name)
		}
	}
	if _, err := ParseTrust(); err == nil {
		t.Error("no bundle at all was taken")
	}
}

func FuzzCMS(f *testing.F) {
	w := theWorld()
	good := w.sign(f, content)
	f.Add(good)
	for _, name := range []string{"openssl-rsa.der", "openssl-rsa-pss.der", "openssl-p384.der"} {
		f.Add([]byte(fixture(f, name)))
	}
	f.Add([]byte{0x30, 0x80, 0x06, 0x09})
	f.Fuzz(func(t *testing.T, sig []byte) {
		SignersUnverified(sig)
		// Whatever the message, it cannot be about another description.
		if _, err := w.trust.verify([]byte("another"), sig, now); err == nil {
			t.Fatal("a forged signature was taken")
		} else if KindOf(err) == "" {
			t.Fatalf("untyped error %v", err)
		}
		if _, err := w.trust.verify([]byte(content), sig, now); err != nil && KindOf(err) == "" {
			t.Fatalf("untyped error %v", err)
		}
	})
}

// Fixtures that testdata/generate.sh made once with cpio and openssl.
func TestFixtures(t *testing.T) {
	t.Parallel()
	trust, err := ParseTrust([]byte(fixture(t, "ca.pem")))
	must(t, err)
	later := time.Date(2050, 1, 1, 0, 0, 0, 0, time.UTC)
	for name, signer := range map[string]string{
		"openssl-rsa.der": "Fixture RSA", "openssl-rsa-pss.der": "Fixture RSA", "openssl-p384.der": "Fixture P-384",
	} {
		c, err := trust.verify([]byte(fixture(t, "openssl.sw-description")), []byte(fixture(t, name)), later)
		if err != nil || c.Subject.CommonName != signer {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, name := range []string{"cpio-crc.swu", "cpio-newc.swu"} {
		a := open(t, []byte(fixture(t, name)))
		d, _, err := a.Description(trust, later)
		must(t, err)
		p, err := d.Select(box)
		must(t, err)
		must(t, p.Verify(context.Background(), a, nil))
	}
}
