package zck

import (
	"crypto/sha256"
	"crypto/sha512"
	"fmt"
	"hash"
)

// Digest is a kind of check sum, as zchunk numbers them. SHA-1, its number 0,
// is not done: a chunk's digest is all that binds it.
type Digest int

// The kinds of digests.
const (
	SHA256     Digest = 1
	SHA512     Digest = 2
	SHA512_128 Digest = 3 // the first 16 bytes of SHA-512
)

// Bytes is the length of a digest.
func (d Digest) Bytes() int {
	switch d {
	case SHA256:
		return sha256.Size
	case SHA512:
		return sha512.Size
	}
	return 16
}

// New begins a digest in parts; of its sum the first Bytes count.
func (d Digest) New() hash.Hash {
	if d == SHA256 {
		return sha256.New()
	}
	return sha512.New()
}

// String names the digest as the tool zck does.
func (d Digest) String() string {
	switch d {
	case SHA256:
		return "sha256"
	case SHA512:
		return "sha512"
	case SHA512_128:
		return "sha512_128"
	}
	return fmt.Sprintf("digest %d", int(d))
}

// Append appends the digest of p.
func (d Digest) Append(to, p []byte) []byte {
	if d == SHA256 {
		sum := sha256.Sum256(p)
		return append(to, sum[:]...)
	}
	sum := sha512.Sum512(p)
	return append(to, sum[:d.Bytes()]...)
}

// readDigest names the kind of digest that the header gives.
func readDigest(what string, number uint64) (Digest, error) {
	switch number {
	case 0:
		return 0, unsupported("its %s digests are SHA-1", what)
	case 1, 2, 3:
		return Digest(number), nil
	}
	return 0, unsupported("its %s digests are of the unknown kind %d", what, number)
}
