package swu

import (
	"crypto/x509"
	"io"
	"time"
)

// Stream is an artifact that is read once, from front to back: nothing of it
// needs to be kept. The reader's own methods read the payloads.
type Stream struct {
	*Reader
	head Archive // the table of contents as far as it was read
}

// OpenStream reads description and signature, the first bytes of every
// artifact. skip moves r on to an offset of the artifact that lies ahead; it is
// used for payloads that nobody wants. The rules are those of [Open].
func OpenStream(r io.Reader, skip func(to int64) error) (*Stream, error) {
	s := &Stream{Reader: NewReader(r), head: Archive{index: map[string]int{}}}
	s.seek = skip
	for range 2 {
		_, err := s.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, err
		}
	}
	if s.head.description == nil {
		return nil, archiveError(Damaged, "", "the archive is empty")
	}
	return s, nil
}

// Next is [Reader.Next], with the checks of [Open].
func (s *Stream) Next() (Entry, error) {
	e, err := s.Reader.Next()
	if err != nil {
		return Entry{}, err
	}
	return e, s.head.add(s.Reader, e)
}

// Description is [Archive.Description].
func (s *Stream) Description(t *Trust, at time.Time) (*Description, *x509.Certificate, error) {
	return s.head.Description(t, at)
}

// Skip moves n bytes ahead within the current entry's data, to where an earlier
// reading ended. The entry's check sum cannot be verified then; its sha256 can.
func (c *Reader) Skip(n int64) error {
	if c.err != nil || n == 0 {
		return c.err
	}
	if n < 0 || n > c.remaining {
		c.err = archiveError(Damaged, c.entry.Name, "it has %d bytes, not the %d that were read before", c.entry.SizeBytes, n)
		return c.err
	}
	if c.err = c.seek(c.offset + n); c.err != nil {
		return c.err
	}
	c.offset, c.remaining, c.done = c.offset+n, c.remaining-n, true
	return nil
}
