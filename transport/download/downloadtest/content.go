package downloadtest

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
)

// Content is what a file holds.
type Content struct {
	io.ReaderAt
	SizeBytes int64
	ETag      string // strong, quoted
}

// Bytes is content from memory. Equal bytes have equal ETags.
func Bytes(b []byte) Content {
	sum := sha256.Sum256(b)
	return Content{bytes.NewReader(b), int64(len(b)), `"` + hex.EncodeToString(sum[:8]) + `"`}
}

// Disk is content from a file, which must stay as it is. It is opened once and
// stays open.
func Disk(path string) (Content, error) {
	f, err := os.Open(path)
	if err != nil {
		return Content{}, err
	}
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return Content{}, err
	}
	return Content{f, info.Size(), fmt.Sprintf(`"%x-%x"`, info.ModTime().UnixNano(), info.Size())}, nil
}

// Head is how a pattern begins: like a cpio archive.
const Head = "070701"

const (
	tileBytes  = 65521 // prime, so that no two blocks are alike
	stampEvery = 4096  // each block of this size begins with its number
)

// pattern is made, not stored: a tile over and over, stamped with positions.
type pattern struct {
	tile [2 * tileBytes]byte // twice, so that any window of it is one piece
	seed uint64
	size int64
}

// Pattern is n bytes that follow from seed, without keeping them in memory. No
// part of it looks like another part or like another seed's, and it begins
// with Head.
func Pattern(n int64, seed uint64) Content {
	p := &pattern{seed: seed, size: n}
	random := rand.NewChaCha8(sha256.Sum256(binary.LittleEndian.AppendUint64(nil, seed)))
	random.Read(p.tile[:tileBytes]) // never fails
	copy(p.tile[tileBytes:], p.tile[:tileBytes])
	return Content{p, n, fmt.Sprintf(`"p%x-%x"`, seed, n)}
}

func (p *pattern) ReadAt(b []byte, off int64) (int, error) {
	if off >= p.size {
		return 0, io.EOF
	}
	n := int(min(int64(len(b)), p.size-off))
	for done := 0; done < n; {
		at := off + int64(done)
		done += copy(b[done:n], p.piece(at))
	}
	if n < len(b) {
		return n, io.EOF
	}
	return n, nil
}

// piece returns some bytes of the pattern from at on.
func (p *pattern) piece(at int64) []byte {
	if at < int64(len(Head)) {
		return []byte(Head)[at:]
	}
	if in := at % stampEvery; in < 8 {
		var stamp [8]byte
		binary.BigEndian.PutUint64(stamp[:], p.seed^uint64(at/stampEvery)*0x9e3779b97f4a7c15)
		return stamp[in:]
	}
	from := at % tileBytes
	return p.tile[from : from+min(stampEvery-at%stampEvery, tileBytes)]
}
