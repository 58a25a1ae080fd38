package zck

import (
	"errors"
	"fmt"
	"io"
	"math/bits"
)

// Params say where an image is cut. Two images can share chunks only if both
// are cut with the same.
type Params struct {
	// Average is how far apart matches are on average, a power of two. Chunks
	// are longer: Min and this, about.
	Average int
	Min     int // no chunk is shorter but the last
	Max     int // no chunk is longer
}

var (
	// ToolParams are those of the tool zck, and of SWUpdate, which know no others.
	ToolParams = Params{Average: 32 << 10, Min: 8 << 10, Max: 128 << 10}
	// DefaultParams are what otactl packs with: see docs/delta.md for the choice.
	DefaultParams = Params{Average: 8 << 10, Min: 4 << 10, Max: 32 << 10}
)

const (
	minAverage = 1 << 10 // less, and the index would outgrow what it saves
	maxAverage = 1 << 19
)

// Check refuses parameters that make no sense or more work than a box can do.
func (p Params) Check() error {
	switch {
	case p.Average < minAverage || p.Average > maxAverage || bits.OnesCount(uint(p.Average)) != 1:
		return fmt.Errorf("cannot cut chunks of %d bytes on average: it must be a power of two from %d to %d", p.Average, minAverage, maxAverage)
	case p.Min < minAverage/4 || p.Min > p.Max || p.Max > MaxChunkBytes:
		return fmt.Errorf("cannot cut chunks of %d to %d bytes: the least is %d, the most %d", p.Min, p.Max, minAverage/4, MaxChunkBytes)
	}
	return nil
}

// String gives the parameters as min/average/max in bytes.
func (p Params) String() string { return fmt.Sprintf("%d/%d/%d", p.Min, p.Average, p.Max) }

// Chunker cuts what it reads into chunks, exactly where zchunk does: before a
// byte at which a rolling hash over the last 48 bytes has only zeros in its low
// bits, and at Max. Memory is Max and a buffer, whatever comes.
type Chunker struct {
	r      io.Reader
	params Params
	buf    []byte
	at     int // of the next chunk in buf
	end    int // of what was read into buf
	err    error
}

// readBytes is how much a Chunker asks its reader for at least, mostly.
const readBytes = 256 << 10

// NewChunker cuts what r gives. The parameters must have passed Check.
func NewChunker(r io.Reader, p Params) *Chunker {
	return &Chunker{r: r, params: p, buf: make([]byte, p.Max+readBytes)}
}

// Next returns the next chunk, which is valid until the next call. At the end
// it returns io.EOF, else the error of the reader.
func (c *Chunker) Next() ([]byte, error) {
	if c.end-c.at < c.params.Max && c.err == nil {
		c.fill()
	}
	if c.err != nil && !errors.Is(c.err, io.EOF) {
		return nil, c.err
	}
	if c.at == c.end {
		return nil, io.EOF
	}
	rest := c.buf[c.at:c.end]
	n := cut(rest[:min(len(rest), c.params.Max)], c.params)
	c.at += n
	return rest[:n:n], nil
}

// fill moves what is left to the front and reads until the buffer is full.
func (c *Chunker) fill() {
	c.end = copy(c.buf, c.buf[c.at:c.end])
	c.at = 0
	for c.end < len(c.buf) && c.err == nil {
		var n int
		n, c.err = c.r.Read(c.buf[c.end:])
		c.end += n
	}
}
