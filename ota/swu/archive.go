package swu

import (
	"crypto/x509"
	"io"
	"time"
)

const (
	// DescriptionName is the first entry of every artifact.
	DescriptionName = "sw-description"
	// SignatureName is the second entry of every signed artifact.
	SignatureName = "sw-description.sig"

	// MaxDescriptionBytes caps the description: it is held in memory, and its
	// tree takes several times as much.
	MaxDescriptionBytes = 256 << 10
	// MaxSignatureBytes caps the signature with its certificates.
	MaxSignatureBytes = 64 << 10
	// maxEntries bounds the table of contents.
	maxEntries = 1024
)

// Archive is the table of contents of an artifact that lies whole in a file,
// with its description and signature. It may be used concurrently if its
// source may.
type Archive struct {
	r           io.ReaderAt
	entries     []Entry
	index       map[string]int
	description []byte
	signature   []byte // nil when the artifact is not signed
}

// Open reads the table of contents of the artifact that lies whole in the first
// size bytes of r. It checks structure, names and order: sw-description first,
// sw-description.sig second if it is there at all; that it must be there is
// what [Archive.Description] says. Payloads are not read.
func Open(r io.ReaderAt, size int64) (*Archive, error) {
	section := io.NewSectionReader(r, 0, size)
	c := NewReader(section)
	c.seek = func(to int64) error {
		if to > size {
			return truncated(c.entry.Name, io.ErrUnexpectedEOF)
		}
		_, err := section.Seek(to, io.SeekStart)
		return err
	}
	a := &Archive{r: r, index: map[string]int{}}
	for {
		e, err := c.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, err
		}
		if err := a.add(c, e); err != nil {
			return nil, err
		}
	}
	if a.description == nil {
		return nil, archiveError(Damaged, "", "the archive is empty")
	}
	return a, nil
}

// add takes the next entry into the table of contents.
func (a *Archive) add(c *Reader, e Entry) (err error) {
	position := len(a.entries)
	if position == maxEntries {
		return archiveError(Damaged, "", "more than %d entries", maxEntries)
	}
	if _, twice := a.index[e.Name]; twice {
		return archiveError(Damaged, e.Name, "the entry is there twice")
	}
	a.index[e.Name] = position
	a.entries = append(a.entries, e)
	switch {
	case position == 0 && e.Name != DescriptionName:
		return archiveError(Damaged, e.Name, "the first entry must be %s", DescriptionName)
	case position == 0:
		a.description, err = readCapped(c, e, MaxDescriptionBytes)
	case position == 1 && e.Name == SignatureName:
		a.signature, err = readCapped(c, e, MaxSignatureBytes)
	case e.Name == SignatureName:
		return archiveError(BadSignature, e.Name, "the signature must be the second entry, it is number %d", position+1)
	}
	return err
}

func readCapped(c *Reader, e Entry, limit int64) ([]byte, error) {
	if e.SizeBytes > limit {
		return nil, archiveError(Damaged, e.Name, "%d bytes are more than the limit of %d", e.SizeBytes, limit)
	}
	b := make([]byte, e.SizeBytes)
	if _, err := io.ReadFull(c, b); err != nil {
		return nil, err
	}
	return b, c.checkSum()
}

// Entries lists the archive in its order. The slice is a copy.
func (a *Archive) Entries() []Entry { return append([]Entry(nil), a.entries...) }

// Entry finds an entry by its exact name.
func (a *Archive) Entry(name string) (Entry, bool) {
	i, ok := a.index[name]
	if !ok {
		return Entry{}, false
	}
	return a.entries[i], true
}

// Payload reads the stored bytes of an entry: as they are in the archive,
// compressed if they are compressed.
func (a *Archive) Payload(e Entry) *io.SectionReader {
	return io.NewSectionReader(a.r, e.OffsetBytes, e.SizeBytes)
}

// Description verifies the signature over the exact bytes of the description,
// judging certificates at the time at, and only then parses it. The second
// result is the signer's certificate, nil when a bare public key was used.
// Errors: BadSignature, Untrusted, then those of [ParseDescription].
func (a *Archive) Description(t *Trust, at time.Time) (*Description, *x509.Certificate, error) {
	if a.signature == nil {
		return nil, nil, archiveError(BadSignature, "", "it is not signed: there is no %s", SignatureName)
	}
	signer, err := t.verify(a.description, a.signature, at)
	if err != nil {
		return nil, nil, err
	}
	d, err := ParseDescription(a.description)
	return d, signer, err
}

// DescriptionUnverified returns the bytes of the description and of the
// signature, nil if there is none. They may be anybody's: for looking only.
func (a *Archive) DescriptionUnverified() (description, signature []byte) {
	return a.description, a.signature
}
