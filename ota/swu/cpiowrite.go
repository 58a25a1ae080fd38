package swu

import (
	"fmt"
	"io"
	"math"
)

// archiveWriter writes a cpio archive whose headers hold nothing that changes
// from run to run: no times, owners or inode numbers.
type archiveWriter struct {
	w      io.Writer
	offset int64
}

// regularFile is the mode of every entry: a file, readable by all.
const regularFile = 0o100644

// add writes one entry; content must give exactly the bytes that e describes.
func (w *archiveWriter) add(e Entry, content io.Reader) error {
	if err := w.header(e); err != nil {
		return err
	}
	s := &summer{w: w}
	n, err := io.Copy(s, io.LimitReader(content, e.SizeBytes+1))
	if err != nil {
		return fmt.Errorf("cannot write entry %q: %w", e.Name, err)
	}
	if n != e.SizeBytes || e.HasChecksum && s.sum != e.Checksum {
		return fmt.Errorf("cannot write entry %q: its content changed meanwhile", e.Name)
	}
	return w.pad(alignBytes)
}

func (w *archiveWriter) header(e Entry) error {
	if err := checkName(e.Name); err != nil {
		return err
	}
	if e.SizeBytes > math.MaxUint32 || len(e.Name) >= maxNameBytes {
		return fmt.Errorf("cannot write entry %q: cpio holds entries below 4 GiB with names below %d bytes", e.Name, maxNameBytes)
	}
	magic := magicPlain
	if e.HasChecksum {
		magic = magicChecksum
	}
	// inode, mode, uid, gid, links, mtime, size, 4 device numbers, name, check.
	_, err := fmt.Fprintf(w, "%s%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%s\x00",
		magic, 0, regularFile, 0, 0, 1, 0, e.SizeBytes, 0, 0, 0, 0, len(e.Name)+1, e.Checksum, e.Name)
	if err != nil {
		return err
	}
	return w.pad(alignBytes)
}

// finish writes the trailer.
func (w *archiveWriter) finish() error {
	if err := w.header(Entry{Name: trailerName, HasChecksum: true}); err != nil {
		return err
	}
	return w.pad(blockBytes)
}

func (w *archiveWriter) pad(to int64) error {
	_, err := w.Write(make([]byte, -w.offset&(to-1)))
	return err
}

func (w *archiveWriter) Write(p []byte) (int, error) {
	n, err := w.w.Write(p)
	w.offset += int64(n)
	return n, err
}

// summer passes bytes on and sums them.
type summer struct {
	w   io.Writer
	sum uint32
}

func (s *summer) Write(p []byte) (int, error) {
	s.sum += byteSum(p)
	return s.w.Write(p)
}
