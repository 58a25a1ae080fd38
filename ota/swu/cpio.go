package swu

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"
)

// The cpio "new ASCII" format, as SWUpdate reads it (core/cpio_utils.c): a
// header of 6 magic bytes and 13 fields of 8 hexadecimal digits, the name with
// its NUL, padding to 4 bytes, the data, padding to 4 bytes.
const (
	magicPlain    = "070701" // no check sum
	magicChecksum = "070702" // "crc": the sum of all data bytes mod 2^32

	headerBytes = 110
	alignBytes  = 4
	// maxNameBytes counts the NUL, as the header's field does.
	maxNameBytes = 255
	// blockBytes is what an archive is padded to at its end.
	blockBytes = 512
	// maxTailBytes bounds the zeros after the trailer; cpio -B writes 5120.
	maxTailBytes = 64 << 10

	trailerName = "TRAILER!!!"

	// Indexes of the fields that matter among the 13.
	fieldSize  = 6
	fieldName  = 11
	fieldCheck = 12
)

// Entry is one file of the archive, without its bytes.
type Entry struct {
	Name        string
	OffsetBytes int64 // of the data, from the start of the archive
	SizeBytes   int64 // of the data as stored; at most 4 GiB - 1
	Checksum    uint32
	HasChecksum bool // the archive is of the "crc" form
}

// Reader reads an archive front to back, one entry at a time, and verifies the
// check sum of every entry that has one, also of those that the caller skips.
// It reads exactly what it needs: wrap a slow source in a bufio.Reader.
type Reader struct {
	r         io.Reader
	seek      func(to int64) error // set: skip data without reading it
	offset    int64
	entry     Entry
	remaining int64
	sum       uint32
	done      bool
	err       error
}

// NewReader starts reading an archive at its first byte.
func NewReader(r io.Reader) *Reader { return &Reader{r: r} }

// Next finishes the current entry and returns the next one. At the trailer it
// checks that only padding follows and returns io.EOF.
func (c *Reader) Next() (Entry, error) {
	if c.err != nil {
		return Entry{}, c.err
	}
	entry, err := c.next()
	if err != nil {
		c.err = err
	}
	return entry, err
}

func (c *Reader) next() (Entry, error) {
	if err := c.finishEntry(); err != nil {
		return Entry{}, err
	}
	h, err := c.readHeader()
	if err != nil {
		return Entry{}, err
	}
	if h.Name == trailerName {
		if h.SizeBytes != 0 {
			return Entry{}, archiveError(Damaged, h.Name, "the trailer has data")
		}
		if err := c.readTail(); err != nil {
			return Entry{}, err
		}
		return Entry{}, io.EOF
	}
	if err := checkName(h.Name); err != nil {
		return Entry{}, err
	}
	c.entry, c.remaining, c.sum, c.done = h, h.SizeBytes, 0, false
	return h, nil
}

// Read reads the data of the current entry; io.EOF comes only after its check
// sum has been verified.
func (c *Reader) Read(p []byte) (int, error) {
	if c.err != nil {
		return 0, c.err
	}
	if c.remaining == 0 {
		if err := c.checkSum(); err != nil {
			c.err = err
			return 0, err
		}
		return 0, io.EOF
	}
	if int64(len(p)) > c.remaining {
		p = p[:c.remaining]
	}
	n, err := c.r.Read(p)
	c.offset += int64(n)
	c.remaining -= int64(n)
	c.sum += byteSum(p[:n])
	if err == io.EOF {
		err = nil
		if c.remaining > 0 {
			err = truncated(c.entry.Name, io.ErrUnexpectedEOF)
		}
	}
	if err != nil {
		c.err = err
	}
	return n, err
}

// checkSum compares the sum of the data that was read with the header's.
func (c *Reader) checkSum() error {
	if c.done || !c.entry.HasChecksum {
		return nil
	}
	c.done = true
	return compareSum(c.entry, c.sum)
}

func compareSum(e Entry, sum uint32) error {
	if e.HasChecksum && sum != e.Checksum {
		return archiveError(Damaged, e.Name, "the cpio check sum is %08x, the header says %08x", sum, e.Checksum)
	}
	return nil
}

// finishEntry moves behind the current entry's data and padding.
func (c *Reader) finishEntry() error {
	if c.entry.Name == "" {
		return nil
	}
	if c.seek != nil && c.remaining > 0 {
		to := c.entry.OffsetBytes + c.entry.SizeBytes
		if err := c.seek(to); err != nil {
			return err
		}
		c.offset, c.remaining, c.done = to, 0, true
	}
	if _, err := io.Copy(io.Discard, c); err != nil {
		return err
	}
	return c.readPadding(c.entry.Name)
}

// readPadding reads up to the next multiple of 4 and demands zeros.
func (c *Reader) readPadding(name string) error {
	var pad [alignBytes]byte
	n := int(-c.offset & (alignBytes - 1))
	if err := c.readFull(pad[:n]); err != nil {
		return truncated(name, err)
	}
	if pad != [alignBytes]byte{} {
		return archiveError(Damaged, name, "the padding is not zero")
	}
	return nil
}

func (c *Reader) readFull(p []byte) error {
	n, err := io.ReadFull(c.r, p)
	c.offset += int64(n)
	return err
}

func (c *Reader) readHeader() (Entry, error) {
	var b [headerBytes]byte
	if err := c.readFull(b[:]); err != nil {
		return Entry{}, truncated("", err)
	}
	e, nameBytes, err := parseHeader(&b)
	if err != nil {
		return Entry{}, archiveError(Damaged, "", "at byte %d: %w", c.offset-headerBytes, err)
	}
	name := make([]byte, nameBytes)
	if err := c.readFull(name); err != nil {
		return Entry{}, truncated("", err)
	}
	e.Name = string(name[:nameBytes-1])
	if name[nameBytes-1] != 0 || strings.IndexByte(e.Name, 0) >= 0 {
		return Entry{}, archiveError(Damaged, "", "at byte %d: the name is not one NUL-terminated string", c.offset-int64(nameBytes))
	}
	if err := c.readPadding(e.Name); err != nil {
		return Entry{}, err
	}
	e.OffsetBytes = c.offset
	return e, nil
}

// parseHeader reads the fixed part of a header: an Entry that lacks name and
// offset, and the length of the name with its NUL.
func parseHeader(b *[headerBytes]byte) (e Entry, nameBytes int, err error) {
	magic := string(b[:6])
	if magic != magicPlain && magic != magicChecksum {
		return Entry{}, 0, fmt.Errorf("no cpio header (070701 or 070702) but %q", magic)
	}
	var fields [13]uint32
	for i := range fields {
		var v [4]byte
		if _, err := hex.Decode(v[:], b[6+8*i:14+8*i]); err != nil {
			return Entry{}, 0, fmt.Errorf("header field %d is not hexadecimal", i)
		}
		fields[i] = binary.BigEndian.Uint32(v[:])
	}
	if n := fields[fieldName]; n < 2 || n > maxNameBytes {
		return Entry{}, 0, fmt.Errorf("the name has %d bytes, not 2 to %d", n, maxNameBytes)
	}
	e = Entry{
		SizeBytes:   int64(fields[fieldSize]),
		Checksum:    fields[fieldCheck],
		HasChecksum: magic == magicChecksum,
	}
	return e, int(fields[fieldName]), nil
}

// readTail demands that nothing but a bounded number of zeros follows.
func (c *Reader) readTail() error {
	buf := make([]byte, 4<<10)
	for total := 0; ; {
		n, err := c.r.Read(buf)
		c.offset += int64(n)
		for _, b := range buf[:n] {
			if b != 0 {
				return archiveError(Damaged, "", "there is data after the end of the archive")
			}
		}
		if total += n; total > maxTailBytes {
			return archiveError(Damaged, "", "more than %d bytes of padding after the end of the archive", maxTailBytes)
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// checkName accepts relative names that stay below where they are unpacked.
func checkName(name string) error {
	bad := strings.HasPrefix(name, "/")
	for _, part := range strings.Split(name, "/") {
		bad = bad || part == ".."
	}
	for _, b := range []byte(name) {
		bad = bad || b < ' ' || b == 0x7f
	}
	if bad {
		return archiveError(Damaged, "", "the entry name %q is not allowed", name)
	}
	return nil
}

// truncated tells an archive that ends early from a source that fails.
func truncated(entry string, err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return archiveError(Damaged, entry, "the archive ends early")
	}
	return err
}

// byteSum is the cpio check sum of p: the sum of its bytes. It adds eight bytes
// at once in four lanes of 16 bits, because byte by byte it would cost more
// than the sha256 beside it. A lane holds 128 pairs of bytes.
func byteSum(p []byte) uint32 {
	const even, lane = 0x00ff00ff00ff00ff, 0xffff
	var total uint64
	for len(p) >= 8 {
		n := min(len(p)/8, 128) * 8
		var lanes uint64
		for q := p[:n]; len(q) >= 8; q = q[8:] {
			x := binary.LittleEndian.Uint64(q)
			lanes += x&even + x>>8&even
		}
		total += lanes&lane + lanes>>16&lane + lanes>>32&lane + lanes>>48
		p = p[n:]
	}
	for _, b := range p {
		total += uint64(b)
	}
	return uint32(total)
}
