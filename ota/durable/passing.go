package durable

import "io"

// passingBytes is how much of a file stays in the page cache behind its reader.
const passingBytes = 4 << 20

// passing reads what need not stay in memory.
type passing struct {
	from   io.ReaderAt
	forget func(off, length int64) error
	left   int64 // where what was read and is still held begins
}

// Passing returns f for one who reads it from front to back, perhaps more than
// once: what was read leaves the page cache, so that a large file does not take
// the memory of those who need it. It is for one goroutine.
func Passing(f File) io.ReaderAt {
	pages, ok := f.(Pages)
	if !ok {
		return f
	}
	return PassingBy(f, pages.Settle)
}

// PassingBy is Passing for what has its own way to let go of a range. Who skips
// a part lets go of that, too.
func PassingBy(r io.ReaderAt, forget func(off, length int64) error) io.ReaderAt {
	return &passing{from: r, forget: forget}
}

func (p *passing) ReadAt(b []byte, off int64) (int, error) {
	n, err := p.from.ReadAt(b, off)
	end := off + int64(n)
	if end < p.left { // again from the front
		p.left = off
	}
	// A fault of what only saves memory is none of the reader's.
	if held := end - p.left; held >= passingBytes || err == io.EOF && held > 0 {
		_ = p.forget(p.left, held)
		p.left = end
	}
	return n, err
}
