package download

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/textproto"
	"strings"
)

// byteRanges reads a body of several ranges (multipart/byteranges, RFC 9110,
// 14.6). Where a part ends is told by its Content-Range, so nothing is looked
// for in the data, and no line is longer than the buffer.
type byteRanges struct {
	r        *bufio.Reader
	boundary []byte // with its two dashes
}

const (
	lineBytes = 4 << 10 // of the buffer, and so of a line
	maxLines  = 32      // before the data of a part
)

// errParts is a misfit.
var errParts = fmt.Errorf("%w: its parts make no sense", errMisfit)

// newByteRanges finds out whether resp has several ranges.
func newByteRanges(resp *http.Response) (*byteRanges, bool) {
	kind, parameters, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	if kind != "multipart/byteranges" || parameters["boundary"] == "" {
		return nil, false
	}
	return &byteRanges{r: bufio.NewReaderSize(resp.Body, lineBytes), boundary: []byte("--" + parameters["boundary"])}, true
}

// next goes to the data of the next part, once that of the one before was read.
// io.EOF: there is none.
func (b *byteRanges) next() (first, last, total int64, err error) {
	header, inHeader := textproto.MIMEHeader{}, false
	for range maxLines {
		text, err := b.line()
		switch {
		case err != nil:
			return 0, 0, 0, err
		case !inHeader && bytes.Equal(text, append(b.boundary[:len(b.boundary):len(b.boundary)], "--"...)):
			b.end()
			return 0, 0, 0, io.EOF
		case !inHeader:
			inHeader = bytes.Equal(text, b.boundary)
		case len(text) == 0:
			if first, last, total, err = parseContentRange(header.Get("Content-Range")); err != nil {
				err = fmt.Errorf("%w: %w", errParts, err)
			}
			return first, last, total, err
		default:
			name, value, _ := strings.Cut(string(text), ":")
			header.Set(name, strings.TrimSpace(value))
		}
	}
	return 0, 0, 0, errParts
}

// line reads one, without its end.
func (b *byteRanges) line() ([]byte, error) {
	text, err := b.r.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) {
		return nil, fmt.Errorf("%w: a line is too long", errParts)
	}
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return bytes.TrimRight(text, " \t\r\n"), err
}

// end reads what little may follow the last boundary, so that the connection
// can be used again.
func (b *byteRanges) end() { _, _ = io.CopyN(io.Discard, b.r, lineBytes) }
