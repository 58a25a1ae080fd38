package console

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"strconv"
)

// What a frame is for. Upper case goes to the box, lower case comes from it, so
// that an echo of either is nothing.
const (
	kindRequest = 'Q' // a request, whole
	kindGet     = 'G' // the piece of an answer at offset, again
	kindData    = 'D' // the bytes of a file at offset

	kindAnswer  = 'a' // the piece of an answer at offset
	kindWorking = 'w' // the request is being worked on
	kindForgot  = 'x' // no answer is kept under this id
	kindHave    = 'k' // of a file, all below offset is here
	kindNoise   = 'n' // a frame arrived damaged
)

// maxPayload bounds the bytes that one frame carries, maxFrame what they become
// on the line at worst, maxID an id.
const (
	maxPayload = 1024
	maxFrame   = 2*maxPayload + 80
	maxID      = 16
)

// frame is one line between programs:
//
//	|:KIND ID OFFSET TOTAL LENGTH PAYLOAD|;CRC
//
// LENGTH counts the payload's bytes. On the line control characters, DEL and
// the bar are written as a bar and the byte xor 0x40, so the marks appear
// nowhere else. CRC is the CRC-32 (IEEE) of all between the marks, in hex.
type frame struct {
	kind          byte
	id            string // chosen by the desk, echoed by the box
	offset, total int64  // of the whole that the payload is a piece of
	payload       []byte
}

var errFrame = errors.New("not a whole frame")

// append writes f as a line.
func (f frame) append(dst []byte) []byte {
	dst = append(dst, "|:"...)
	start := len(dst)
	dst = fmt.Appendf(dst, "%c %s %d %d %d ", f.kind, f.id, f.offset, f.total, len(f.payload))
	for _, b := range f.payload {
		if escaped(b) {
			dst = append(dst, '|', b^0x40)
		} else {
			dst = append(dst, b)
		}
	}
	sum := crc32.ChecksumIEEE(dst[start:])
	return fmt.Appendf(dst, "|;%08x\r\n", sum)
}

func escaped(b byte) bool { return b < 0x20 || b == 0x7f || b == '|' }

// parseFrame reads what is between the marks. sum is the CRC that came with it.
func parseFrame(body []byte, sum string) (frame, error) {
	if want := fmt.Sprintf("%08x", crc32.ChecksumIEEE(body)); want != sum {
		return frame{}, errFrame
	}
	fields := bytes.SplitN(body, []byte{' '}, 6)
	if len(fields) != 6 || len(fields[0]) != 1 || !validID(fields[1]) {
		return frame{}, errFrame
	}
	f := frame{kind: fields[0][0], id: string(fields[1])}
	var length int64
	for i, n := range []*int64{&f.offset, &f.total, &length} {
		v, err := strconv.ParseUint(string(fields[2+i]), 10, 62)
		if err != nil {
			return frame{}, errFrame
		}
		*n = int64(v)
	}
	if length > maxPayload || f.offset > f.total {
		return frame{}, errFrame
	}
	f.payload = make([]byte, 0, length)
	for raw := fields[5]; len(raw) > 0; raw = raw[1:] {
		b := raw[0]
		if b == '|' {
			if raw = raw[1:]; len(raw) == 0 || !escaped(raw[0]^0x40) {
				return frame{}, errFrame
			}
			b = raw[0] ^ 0x40
		} else if escaped(b) {
			return frame{}, errFrame
		}
		f.payload = append(f.payload, b)
	}
	if int64(len(f.payload)) != length {
		return frame{}, errFrame
	}
	return f, nil
}

func validID(id []byte) bool {
	for _, b := range id {
		if (b < '0' || b > '9') && (b < 'a' || b > 'z') && b != '-' {
			return false
		}
	}
	return len(id) > 0 && len(id) <= maxID
}
