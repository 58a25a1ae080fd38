package console

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"otad/ota"
)

// The characters of YMODEM (Chuck Forsberg, "XMODEM/YMODEM Protocol
// Reference", 1988).
const (
	ymSOH = 0x01 // a block of 128 bytes follows
	ymSTX = 0x02 // a block of 1024 bytes follows
	ymEOT = 0x04
	ymACK = 0x06
	ymNAK = 0x15
	ymCAN = 0x18
	ymCRC = 'C' // begin, with CRC-16
)

const (
	ymPoll  = 3 * time.Second        // between invitations, and until a silent sender is asked again
	ymStart = 60 * time.Second       // to begin
	ymGap   = time.Second            // between two bytes of a block
	ymQuiet = 100 * time.Millisecond // that tells that a garbled block is over
	ymTries = 20                     // faults in a row
)

var (
	errGarbled   = errors.New("garbled")
	errSilent    = errors.New("silent")
	errEOT       = errors.New("end of file")
	errCancelled = ota.NewRefused(ota.CodeCancelled, errors.New("cannot receive: the sender cancelled"))
)

// ymodem receives one file by YMODEM with CRC-16, in blocks of 128 or 1024
// bytes. The CRC of a block lets one damaged block in 65,536 pass; it is the
// artifact's own hashes that are relied on.
type ymodem struct {
	from  <-chan []byte
	rest  []byte
	to    io.Writer
	block [1024]byte
}

// receive takes one file; open is called with its name and size (-1 when the
// sender does not tell). The file is whole when the error is nil.
func (y *ymodem) receive(ctx context.Context, open func(name string, size int64) (*inbound, error)) (in *inbound, err error) {
	defer func() {
		if err != nil {
			y.say(bytes.Repeat([]byte{ymCAN}, 8)...)
			if in != nil {
				in.discard()
			}
		}
	}()
	name, size, err := y.header(ctx, ymStart)
	if err != nil {
		return nil, err
	}
	if name == "" {
		return nil, ota.NewRefused(ota.CodeNothing, errors.New("cannot receive: the sender has no file"))
	}
	if in, err = open(name, size); err != nil {
		return nil, err
	}
	y.say(ymACK, ymCRC)
	if err := y.content(ctx, in); err != nil {
		return in, err
	}
	y.say(ymACK)
	// The file is whole. A sender that is gone by now does no harm.
	if next, _, err := y.header(ctx, ymPoll); err == nil && next == "" {
		y.say(ymACK)
	} else if err == nil {
		y.say(bytes.Repeat([]byte{ymCAN}, 8)...) // one file at a time
	}
	return in, nil
}

// header invites until a block 0 comes.
func (y *ymodem) header(ctx context.Context, patience time.Duration) (name string, size int64, err error) {
	for end := time.Now().Add(patience); time.Now().Before(end); {
		y.say(ymCRC)
		number, data, err := y.next(ctx, ymPoll)
		switch {
		case err == nil && number == 0:
			name, size = parseHeader(data)
			return name, size, nil
		case errors.Is(err, errEOT): // it did not hear our answer
			y.say(ymACK)
		case err != nil && !errors.Is(err, errGarbled) && !errors.Is(err, errSilent):
			return "", 0, err
		}
	}
	return "", 0, ota.NewRefused(ota.CodeNothing, errors.New("cannot receive: nobody sends"))
}

// parseHeader reads "NAME NUL SIZE …"; only the name must be there.
func parseHeader(data []byte) (name string, size int64) {
	first, rest, _ := bytes.Cut(data, []byte{0})
	rest, _, _ = bytes.Cut(rest, []byte{0})
	digits, _, _ := strings.Cut(string(rest), " ")
	size, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || size < 0 {
		size = -1
	}
	return string(first), size
}

// content takes the blocks up to the end of the file.
func (y *ymodem) content(ctx context.Context, in *inbound) error {
	expected, faults, ended := byte(1), 0, false
	for faults < ymTries {
		number, data, err := y.next(ctx, ymPoll)
		switch {
		case errors.Is(err, errEOT) && (in.size < 0 && ended || in.have == in.size):
			return nil
		case errors.Is(err, errEOT): // noise may look like it: asked again
			ended = true
			y.say(ymNAK)
			faults++
		case errors.Is(err, errGarbled), errors.Is(err, errSilent):
			y.say(ymNAK)
			faults++
		case err != nil:
			return err
		case number == expected:
			if in.size >= 0 {
				data = data[:min(int64(len(data)), in.missing())]
			}
			if _, err := in.Write(data); err != nil {
				return err
			}
			expected, faults, ended = expected+1, 0, false
			y.say(ymACK)
		case number == expected-1: // our answer was lost
			y.say(ymACK)
			if number == 0 && in.have == 0 {
				y.say(ymCRC)
			}
			faults++
		default:
			return ota.NewTransient(ota.CodeLine, fmt.Errorf("cannot receive: block %d came, %d was expected", number, expected))
		}
	}
	return ota.NewTransient(ota.CodeLine, errors.New("cannot receive: the line is too bad"))
}

// next reads one block. Its data is valid until the next call.
func (y *ymodem) next(ctx context.Context, wait time.Duration) (number byte, data []byte, err error) {
	first, err := y.byte(ctx, wait)
	if err != nil {
		return 0, nil, err
	}
	size := 128
	switch first {
	case ymSOH:
	case ymSTX:
		size = 1024
	case ymEOT:
		return 0, nil, errEOT
	case ymCAN:
		if second, err := y.byte(ctx, ymGap); err == nil && second == ymCAN {
			return 0, nil, errCancelled
		}
		return 0, nil, y.garbled(ctx)
	default:
		return 0, nil, y.garbled(ctx)
	}
	var head, tail [2]byte
	if err := y.fill(ctx, head[:]); err != nil {
		return 0, nil, err
	}
	if head[0] != ^head[1] {
		return 0, nil, y.garbled(ctx)
	}
	data = y.block[:size]
	if err := y.fill(ctx, data); err != nil {
		return 0, nil, err
	}
	if err := y.fill(ctx, tail[:]); err != nil {
		return 0, nil, err
	}
	if crc16(data) != uint16(tail[0])<<8|uint16(tail[1]) {
		return 0, nil, errGarbled
	}
	return head[0], data, nil
}

// garbled waits until the sender has said all of what cannot be understood.
func (y *ymodem) garbled(ctx context.Context) error {
	for {
		if _, err := y.byte(ctx, ymQuiet); errors.Is(err, errSilent) {
			return errGarbled
		} else if err != nil {
			return err
		}
	}
}

func (y *ymodem) fill(ctx context.Context, p []byte) error {
	for i := range p {
		b, err := y.byte(ctx, ymGap)
		if errors.Is(err, errSilent) {
			return errGarbled
		}
		if err != nil {
			return err
		}
		p[i] = b
	}
	return nil
}

func (y *ymodem) byte(ctx context.Context, wait time.Duration) (byte, error) {
	if len(y.rest) == 0 {
		if err := y.wait(ctx, wait); err != nil {
			return 0, err
		}
	}
	b := y.rest[0]
	y.rest = y.rest[1:]
	return b, nil
}

// wait waits for bytes.
func (y *ymodem) wait(ctx context.Context, wait time.Duration) error {
	t := time.NewTimer(wait)
	defer t.Stop()
	for len(y.rest) == 0 {
		select {
		case chunk, open := <-y.from:
			if !open {
				return ota.NewTransient(ota.CodeLine, errors.New("cannot receive: the port is gone"))
			}
			y.rest = chunk
		case <-t.C:
			return errSilent
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// say answers the sender. A port that fails shows in what comes in.
func (y *ymodem) say(p ...byte) { _, _ = y.to.Write(p) }

// crc16 is the CRC of XMODEM: polynomial 0x1021, from zero, no reflection.
func crc16(data []byte) uint16 {
	var crc uint16
	for _, b := range data {
		crc ^= uint16(b) << 8
		for range 8 {
			carry := crc & 0x8000
			crc <<= 1
			if carry != 0 {
				crc ^= 0x1021
			}
		}
	}
	return crc
}
