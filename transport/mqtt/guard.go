package mqtt

import (
	"bufio"
	"fmt"
	"io"
	"net"

	"github.com/eclipse/paho.mqtt.golang/packets"
)

// maxPacket is the largest PUBLISH that paho gets to see: room for the longest
// topic, and a payload that is seen to be too large.
const maxPacket = 2 + maxTopic + 2 + MaxPayload + 1

// guard stands between the socket and paho. paho takes as much memory for a
// packet as its header claims, up to 256 MiB, and trusts the length of a
// SUBACK; guard cuts the payload of a PUBLISH that is too long, so that it is
// seen, dropped and acknowledged, and ends the connection at any other packet
// of a length that a broker has no reason to send.
type guard struct {
	net.Conn
	r          *bufio.Reader
	maxControl int    // largest remaining length of a packet other than PUBLISH
	header     []byte // rewritten fixed header, not yet read
	body       int    // bytes of the packet not yet read
	skip       int    // bytes after them to throw away
}

func newGuard(conn net.Conn, subscriptions int) *guard {
	return &guard{
		Conn:       conn,
		r:          bufio.NewReader(conn),
		maxControl: 2 + subscriptions, // SUBACK: packet id, one code for each filter
	}
}

// Read implements [io.Reader] for one reader at a time.
func (g *guard) Read(p []byte) (int, error) {
	if len(g.header) == 0 && g.body == 0 {
		if err := g.next(); err != nil {
			return 0, err
		}
	}
	if len(g.header) > 0 {
		n := copy(p, g.header)
		g.header = g.header[n:]
		return n, nil
	}
	n, err := g.r.Read(p[:min(len(p), g.body)])
	g.body -= n
	return n, err
}

// next reads the fixed header of the next packet (MQTT 3.1.1, 2.2).
func (g *guard) next() error {
	for g.skip > 0 {
		n, err := g.r.Discard(min(g.skip, maxPacket))
		g.skip -= n
		if err != nil {
			return err
		}
	}
	kind, err := g.r.ReadByte()
	if err != nil {
		return err
	}
	length, err := readLength(g.r)
	if err != nil {
		return err
	}
	switch publish := kind>>4 == packets.Publish; {
	case publish && length > maxPacket:
		g.skip = length - maxPacket
		length = maxPacket
	case !publish && length > g.maxControl:
		return fmt.Errorf("packet of type %d with %d bytes makes no sense", kind>>4, length)
	}
	g.header = appendLength([]byte{kind}, length)
	g.body = length
	return nil
}

// readLength reads a remaining length: seven bits a byte, four bytes at most.
func readLength(r io.ByteReader) (int, error) {
	length := 0
	for shift := 0; shift < 28; shift += 7 {
		b, err := r.ReadByte()
		if err != nil {
			return 0, err
		}
		length |= int(b&0x7f) << shift
		if b < 0x80 {
			return length, nil
		}
	}
	return 0, fmt.Errorf("packet length is malformed")
}

func appendLength(p []byte, length int) []byte {
	for ; length > 0x7f; length >>= 7 {
		p = append(p, byte(length)|0x80)
	}
	return append(p, byte(length))
}
