package mqtt

import (
	"errors"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/eclipse/paho.mqtt.golang/packets"
)

// TestPulse plays both ends: what paho writes, and what a broker sees and when.
func TestPulse(t *testing.T) {
	t.Parallel()
	const keepAlive = time.Minute
	send := func(t *testing.T, conn net.Conn, kind byte) {
		t.Helper()
		p := packets.NewControlPacket(kind)
		if c, is := p.(*packets.ConnectPacket); is {
			c.ProtocolName, c.ProtocolVersion, c.ClientIdentifier = "MQTT", 4, "box"
		}
		if err := p.Write(conn); err != nil {
			t.Errorf("cannot send packet %d: %v", kind, err)
		}
	}
	// begin connects a pulse, and returns it with the broker's end.
	begin := func(t *testing.T) (box, broker net.Conn) {
		near, far := net.Pipe()
		box = newPulse(near, keepAlive)
		go send(t, box, packets.Connect)
		packet, err := packets.ReadPacket(far)
		if err != nil {
			t.Fatal(err)
		}
		if c, is := packet.(*packets.ConnectPacket); !is || c.Keepalive != 60 || c.ClientIdentifier != "box" {
			t.Fatalf("the broker got %v", packet)
		}
		return box, far
	}
	// pinged waits for a ping and checks when it came.
	pinged := func(t *testing.T, broker net.Conn, after time.Duration) {
		t.Helper()
		from := time.Now()
		packet, err := packets.ReadPacket(broker)
		if _, is := packet.(*packets.PingreqPacket); !is || time.Since(from) != after {
			t.Errorf("got %v (%v) after %v, want a ping after %v", packet, err, time.Since(from), after)
		}
	}
	// listen reads all that the broker sends, as paho does.
	listen := func(box net.Conn) <-chan error {
		end := make(chan error, 1)
		go func() {
			for {
				if _, err := packets.ReadPacket(box); err != nil {
					end <- err
					return
				}
			}
		}()
		return end
	}

	t.Run("a ping a minute", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			box, broker := begin(t)
			end := listen(box)
			for range 3 {
				pinged(t, broker, keepAlive)
				send(t, broker, packets.Pingresp)
			}
			box.Close()
			<-end
		})
	})
	t.Run("none while both talk", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			box, broker := begin(t)
			end := listen(box)
			for range 5 {
				time.Sleep(keepAlive - time.Second)
				go send(t, box, packets.Puback)
				if packet, err := packets.ReadPacket(broker); err != nil || packet.String()[:6] != "PUBACK" {
					t.Fatalf("got %v, %v", packet, err)
				}
				send(t, broker, packets.Puback)
			}
			pinged(t, broker, keepAlive)
			box.Close()
			<-end
		})
	})
	t.Run("one if only the box talks", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			box, broker := begin(t)
			end := listen(box)
			time.Sleep(keepAlive / 2)
			go send(t, box, packets.Puback)
			if _, err := packets.ReadPacket(broker); err != nil {
				t.Fatal(err)
			}
			pinged(t, broker, keepAlive/2)
			box.Close()
			<-end
		})
	})
	t.Run("silence ends it", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			box, broker := begin(t)
			end := listen(box)
			pinged(t, broker, keepAlive)
			from := time.Now()
			if err := <-end; !errors.Is(err, errSilent) || time.Since(from) != pingTimeout {
				t.Errorf("after %v: %v", time.Since(from), err)
			}
		})
	})
	t.Run("a ping that cannot be sent ends it", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			box, _ := begin(t) // nobody reads at the other end any more
			from := time.Now()
			if err := <-listen(box); err == nil || time.Since(from) > keepAlive+writeTimeout {
				t.Errorf("after %v: %v", time.Since(from), err)
			}
		})
	})
}
