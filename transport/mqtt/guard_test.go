package mqtt

import (
	"bytes"
	"io"
	"net"
	"testing"

	"github.com/eclipse/paho.mqtt.golang/packets"
)

// stream is a connection that gives out fixed bytes.
type stream struct {
	net.Conn
	io.Reader
}

func (s stream) Read(p []byte) (int, error) { return s.Reader.Read(p) }

func publishPacket(t testing.TB, payload int) []byte {
	t.Helper()
	p := packets.NewControlPacket(packets.Publish).(*packets.PublishPacket)
	p.Qos, p.MessageID, p.TopicName = 1, 7, "otad/all/cmd"
	p.Payload = make([]byte, payload)
	var b bytes.Buffer
	if err := p.Write(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestGuardCutsLongPayloads(t *testing.T) {
	t.Parallel()
	var wire []byte
	sizes := []int{0, 1, MaxPayload, MaxPayload + 1, maxPacket - 16, maxPacket - 15, 4 << 20, 0, 5}
	for _, n := range sizes {
		wire = append(wire, publishPacket(t, n)...)
	}
	g := newGuard(stream{Reader: bytes.NewReader(wire)}, 1)
	for _, n := range sizes {
		packet, err := packets.ReadPacket(g)
		if err != nil {
			t.Fatal(err)
		}
		p := packet.(*packets.PublishPacket)
		if p.MessageID != 7 || p.TopicName != "otad/all/cmd" {
			t.Errorf("%d bytes: got packet %d to %q", n, p.MessageID, p.TopicName)
		}
		switch got := len(p.Payload); {
		case n <= maxPacket-16 && got != n:
			t.Errorf("%d bytes became %d", n, got)
		case n > maxPacket-16 && (got <= MaxPayload || got > maxPacket):
			t.Errorf("%d bytes were cut to %d", n, got)
		}
	}
	if _, err := packets.ReadPacket(g); err != io.EOF {
		t.Errorf("after the last packet: %v", err)
	}
}

// FuzzGuard holds the guard to its promise: what comes out is a row of packets
// that are no longer than allowed, whatever went in.
func FuzzGuard(f *testing.F) {
	f.Add(publishPacket(f, 10))
	f.Add(publishPacket(f, 200_000))
	f.Add([]byte("\x20\x02\x00\x00\x90\x03\x00\x01\x01\xd0\x00"))
	f.Add([]byte("\x30\xff\xff\xff\x7f"))
	f.Add([]byte("\x40\xff\xff\xff\xff\xff"))
	f.Fuzz(func(t *testing.T, wire []byte) {
		g := newGuard(stream{Reader: bytes.NewReader(wire)}, 2)
		out, _ := io.ReadAll(g)
		if len(out) > len(wire)+4 {
			t.Fatalf("%d bytes became %d", len(wire), len(out))
		}
		for r := bytes.NewReader(out); r.Len() > 0; {
			kind, _ := r.ReadByte()
			length, err := readLength(r)
			if err != nil {
				t.Fatal(err)
			}
			limit := 4
			if kind>>4 == packets.Publish {
				limit = maxPacket
			}
			if length > limit {
				t.Fatalf("packet of type %d with %d bytes came through", kind>>4, length)
			}
			r.Seek(int64(length), io.SeekCurrent) // the last one may be torn
		}
	})
}
