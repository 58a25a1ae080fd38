package swu

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"
)

// Kinds of encryption, as the field encrypted names them; true is aes-cbc. A
// key length may stand behind it ("aes-cbc-256"), and is then held against the
// key's.
const (
	cipherCBC = "aes-cbc"
	cipherCTR = "aes-ctr"
)

// Key decrypts payloads. It hides its content from the log.
type Key struct {
	key  cipher.Block
	bits int
	iv   []byte // for entries without ivt; may be nil
}

// String keeps the key out of texts.
func (k *Key) String() string { return "AES key" }

// ParseKey reads SWUpdate's key file: the AES key (16, 24 or 32 bytes) and
// behind a blank the initial vector, both in hexadecimal. Errors do not quote it.
func ParseKey(text []byte) (*Key, error) {
	fields := strings.Fields(string(text))
	if len(fields) != 1 && len(fields) != 2 {
		return nil, errors.New("cannot read AES key: it must be a key and an initial vector in hexadecimal")
	}
	raw, err := hex.DecodeString(fields[0])
	if err != nil {
		return nil, errors.New("cannot read AES key: the key is not hexadecimal")
	}
	block, err := aes.NewCipher(raw)
	if err != nil {
		return nil, fmt.Errorf("cannot read AES key: the key has %d bytes, not 16, 24 or 32", len(raw))
	}
	k := &Key{key: block, bits: 8 * len(raw)}
	if len(fields) == 2 {
		if k.iv, err = hex.DecodeString(fields[1]); err != nil || len(k.iv) != aes.BlockSize {
			return nil, errors.New("cannot read AES key: the initial vector is not 32 hexadecimal digits")
		}
	}
	return k, nil
}

// readEncrypted reads the fields about encryption.
func (i *Image) readEncrypted(n *node) error {
	if c := n.child("aes-key"); c != nil {
		return lineError(Unsupported, c.line, "%q is not supported: keys come from the box", "aes-key")
	}
	c := n.child("encrypted")
	switch {
	case c == nil || c.kind == boolNode && !c.truth:
		return nil
	case c.kind == boolNode:
		i.Encrypted = cipherCBC
	case c.kind == stringNode && isCipher(c.text):
		i.Encrypted = c.text
	default:
		text, _ := c.plain()
		return lineError(Unsupported, c.line, "encryption %q is not supported, only aes-cbc and aes-ctr", text)
	}
	iv := n.child("ivt")
	if iv == nil {
		return nil
	}
	var err error
	if i.ivt, err = hex.DecodeString(iv.text); err != nil || len(i.ivt) != aes.BlockSize {
		return lineError(Damaged, iv.line, "ivt is not 32 hexadecimal digits")
	}
	return nil
}

func isCipher(name string) bool {
	for _, mode := range []string{cipherCBC, cipherCTR} {
		switch strings.TrimPrefix(name, mode) {
		case "", "-128", "-192", "-256":
			return true
		}
	}
	return false
}

// decrypt turns the stored bytes into plain or compressed ones.
func (i Image) decrypt(stored io.Reader, k *Key) (io.Reader, error) {
	if i.Encrypted == "" {
		return stored, nil
	}
	if k == nil {
		return nil, lineError(Unsupported, i.Line, "%q is encrypted and this box has no key", i.Filename)
	}
	mode, bits := i.Encrypted[:len(cipherCBC)], strings.TrimPrefix(i.Encrypted[len(cipherCBC):], "-")
	if bits != "" && bits != fmt.Sprint(k.bits) {
		return nil, lineError(Unsupported, i.Line, "%q is encrypted with %s, this box has a key of %d bits", i.Filename, i.Encrypted, k.bits)
	}
	iv := i.ivt
	if iv == nil {
		iv = k.iv
	}
	if iv == nil {
		return nil, lineError(Unsupported, i.Line, "%q is encrypted, but neither it nor the key file has an initial vector", i.Filename)
	}
	if mode == cipherCTR {
		return cipher.StreamReader{S: cipher.NewCTR(k.key, iv), R: stored}, nil
	}
	return &cbcReader{r: stored, mode: cipher.NewCBCDecrypter(k.key, iv), entry: i.Filename}, nil
}

// cbcReader decrypts with the padding of PKCS#7, as OpenSSL writes it: the last
// block is held back until the end is seen.
type cbcReader struct {
	r     io.Reader
	mode  cipher.BlockMode
	entry string
	buf   [32 << 10]byte
	plain []byte // decrypted, not yet read; in buf
	last  []byte // the decrypted block that is held back; nil at the start
	err   error
}

func (c *cbcReader) Read(p []byte) (int, error) {
	for len(c.plain) == 0 {
		if c.err != nil {
			return 0, c.err
		}
		c.fill()
	}
	n := copy(p, c.plain)
	c.plain = c.plain[n:]
	return n, nil
}

// fill decrypts the next piece, with the block that was held back before it.
func (c *cbcReader) fill() {
	start := copy(c.buf[:], c.last)
	n, err := io.ReadFull(c.r, c.buf[start:])
	have := start + n
	end := err == io.EOF || err == io.ErrUnexpectedEOF
	switch {
	case err != nil && !end:
		c.err = err
		return
	case n%aes.BlockSize != 0 || have == 0:
		c.err = archiveError(Damaged, c.entry, "its size is not that of an encrypted payload")
		return
	}
	c.mode.CryptBlocks(c.buf[start:have], c.buf[start:have])
	if end {
		c.plain, c.err = c.unpad(c.buf[:have])
		return
	}
	c.plain = c.buf[:have-aes.BlockSize]
	c.last = append(c.last[:0], c.buf[have-aes.BlockSize:have]...)
}

// unpad takes the padding off; what comes with it is the error that ends the
// stream.
func (c *cbcReader) unpad(b []byte) ([]byte, error) {
	n := int(b[len(b)-1])
	bad := n == 0 || n > aes.BlockSize
	for i := 0; !bad && i < n; i++ {
		bad = int(b[len(b)-1-i]) != n
	}
	if bad {
		return nil, archiveError(Damaged, c.entry, "it cannot be decrypted").
			withHint("likely cause: it was encrypted with another key or initial vector than this box has")
	}
	return b[:len(b)-n], io.EOF
}
