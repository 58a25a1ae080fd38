package mqtt_test

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/eclipse/paho.mqtt.golang/packets"

	"otad/build/tooltest"
	"otad/ota"
	"otad/transport"
	"otad/transport/mqtt"
	"otad/transport/mqtt/mqtttest"
)

func TestWebSocket(t *testing.T) {
	t.Parallel()
	b := mqtttest.NewBroker(t, mqtttest.Config{WebSocket: true})
	view := observe(t, b, "otad/#")
	box := openBox(t, settings(b.URL()))
	box.waitUp()
	box.mustPublish(event("one"))
	see(t, view, "one")
	b.CutAll()
	box.waitDown()
	box.waitUp()
	box.mustPublish(event("two"))
	see(t, view, "two")
}

// What a person sees who uses mosquitto's own programs.
func TestMosquittoClients(t *testing.T) {
	t.Parallel()
	m := mqtttest.NewMosquitto(t, mqtttest.Config{})
	host, port, err := net.SplitHostPort(hostOf(t, m.URL()))
	if err != nil {
		t.Fatal(err)
	}
	box := openBox(t, settings(m.URL()))
	box.waitUp()
	box.mustPublish(state(`{"v":1}`))

	sub := tooltest.Path(t, "mosquitto_sub")
	out, err := exec.CommandContext(within(t), sub, "-h", host, "-p", port, "-t", "otad/#", "-v", "-C", "1").CombinedOutput()
	if want := `otad/stv1/box-1/state {"v":1}` + "\n"; err != nil || string(out) != want {
		t.Errorf("mosquitto_sub printed %q (%v), want %q", out, err, want)
	}
	pub := tooltest.Path(t, "mosquitto_pub")
	out, err = exec.CommandContext(within(t), pub, "-h", host, "-p", port, "-q", "1", "-t", "otad/all/cmd", "-m", "check").CombinedOutput()
	if err != nil {
		t.Fatalf("mosquitto_pub: %v: %s", err, out)
	}
	box.mustReceive("check")
}

// A topic that the broker denies is told; the rest works.
func TestDeniedSubscription(t *testing.T) {
	t.Parallel()
	strict, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer strict.Close()
	opts := settings("tcp://" + strict.Addr().String())
	opts.Subscriptions = opts.Subscriptions[:1]
	box := openBox(t, opts)
	conn, err := strict.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for _, answer := range []string{"\x20\x02\x00\x00", "\x90\x03\x00\x01\x80"} { // CONNACK; SUBACK: failure
		if _, err := packets.ReadPacket(conn); err != nil {
			t.Fatal(err)
		}
		io.WriteString(conn, answer)
	}
	box.waitUp()
	if n := len(box.log.lines(t, "MQTT subscription was denied by the broker")); n != 1 {
		t.Errorf("%d log lines about it", n)
	}
}

func TestOpenRefusesBadOptions(t *testing.T) {
	t.Parallel()
	bad := transport.Message{Topic: "a/#"}
	for _, tt := range []struct {
		name   string
		change func(*mqtt.Options)
		want   string
	}{
		{"no broker", func(o *mqtt.Options) { o.Brokers = nil }, "no broker"},
		{"scheme", func(o *mqtt.Options) { o.Brokers[0] = "http://x" }, "does not start with"},
		{"no host", func(o *mqtt.Options) { o.Brokers[0] = "tcp://:1883" }, "names no host"},
		{"path", func(o *mqtt.Options) { o.Brokers[0] = "tcp://x/y" }, "has a path"},
		{"credentials", func(o *mqtt.Options) { o.Brokers[0] = "tcp://me:hunter2@x" }, "credentials"},
		{"not a URL", func(o *mqtt.Options) { o.Brokers[0] = "tcp://me:hunter2@x:%zz" }, "not a URL"},
		{"no client id", func(o *mqtt.Options) { o.ClientID = "" }, "client id is empty"},
		{"password alone", func(o *mqtt.Options) { o.Password = mqtt.NewPassword("hunter2") }, "needs a user name"},
		{"keep-alive", func(o *mqtt.Options) { o.KeepAlive = time.Millisecond }, "keep-alive"},
		{"range", func(o *mqtt.Options) { o.ReconnectMin = time.Hour }, "not a range"},
		{"filter", func(o *mqtt.Options) { o.Subscriptions = []string{"a/#/b"} }, "misplaced `#`"},
		{"will", func(o *mqtt.Options) { o.Will = &bad }, "contains `+` or `#`"},
		{"no receiver", func(o *mqtt.Options) { o.Receive = nil }, "need a receiver"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			opts := settings("tcp://127.0.0.1:1")
			opts.Receive = func(transport.Message) {}
			tt.change(&opts)
			_, err := mqtt.Open(opts)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("Open returned %v, want %q", err, tt.want)
			}
			if f := ota.FaultOf(err); f.Code != ota.CodeConfig {
				t.Errorf("code is %q", f.Code)
			}
			if strings.Contains(err.Error(), "hunter2") {
				t.Error("the error holds the password")
			}
		})
	}
}

func TestPublishRefusesBadMessages(t *testing.T) {
	t.Parallel()
	box := openBox(t, settings("tcp://127.0.0.1:1"))
	for _, m := range []transport.Message{{Topic: ""}, {Topic: "a/+"}, {Topic: "a\x00"}, {Topic: "a", QoS: 2}} {
		err := box.Publish(within(t), m)
		if err == nil || errors.Is(err, transport.ErrOffline) {
			t.Errorf("Publish to %q with QoS %d returned %v", m.Topic, m.QoS, err)
		}
	}
}

// A broker that accepts and says nothing holds neither Close nor the loop up.
func TestCloseWhileConnecting(t *testing.T) {
	t.Parallel()
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	box := openBox(t, settings("tcp://"+silent.Addr().String()))
	conn, err := silent.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	begin := time.Now()
	box.close()
	if took := time.Since(begin); took > 2*time.Second {
		t.Errorf("Close took %s", took)
	}
}

// A link that swallows everything is noticed by the keep-alive.
func TestDeadLinkIsNoticed(t *testing.T) {
	t.Parallel()
	b := mqtttest.NewBroker(t, mqtttest.Config{})
	proxy := mqtttest.NewProxy(t, hostOf(t, b.URL()))
	opts := settings("tcp://" + proxy.Addr())
	opts.KeepAlive = time.Second
	box := openBox(t, opts)
	box.waitUp()
	proxy.Stall()
	box.waitDown()
	proxy.Cut() // what the proxy still holds
	proxy.Flow()
	box.waitUp()
}

// Close on a dead link ends with its context, and all the rest soon after.
func TestCloseOnDeadLink(t *testing.T) {
	t.Parallel()
	b := mqtttest.NewBroker(t, mqtttest.Config{})
	view := observe(t, b, "otad/#")
	proxy := mqtttest.NewProxy(t, hostOf(t, b.URL()))
	opts := settings("tcp://" + proxy.Addr())
	will := state("offline")
	opts.Will = &will
	box := openBox(t, opts)
	box.waitUp()
	proxy.Stall()
	ctx, cancel := context.WithTimeout(within(t), 50*time.Millisecond)
	defer cancel()
	if err := box.Close(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Close returned %v, want the context's error", err)
	}
	box.waitDown()
	box.close()
	proxy.Cut()
	see(t, view, "offline") // from the broker: there was no DISCONNECT
}

// A broken-into broker sends what paho would panic at or take much memory for.
func TestHostileBroker(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		sent string // after CONNACK
	}{
		{"long SUBACK", "\x90\x0a\x00\x01\x01\x01\x01\x01\x01\x01\x01\x01"},
		{"huge PINGRESP", "\xd0\xff\xff\xff\x7f"},
		{"endless length", "\x30\xff\xff\xff\xff\xff"},
		{"PUBLISH without topic", "\x30\x00"},
		{"unknown packet", "\xf0\x00"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			hostile, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer hostile.Close()
			box := openBox(t, settings("tcp://"+hostile.Addr().String()))
			for range 3 { // it hangs up and comes back
				conn, err := hostile.Accept()
				if err != nil {
					t.Fatal(err)
				}
				io.WriteString(conn, "\x20\x02\x00\x00"+tt.sent)
				conn.SetReadDeadline(time.Now().Add(patience))
				if _, err := io.Copy(io.Discard, conn); errors.Is(err, os.ErrDeadlineExceeded) {
					t.Error("the box did not hang up")
				}
				conn.Close()
			}
			if box.Connected() {
				t.Error("connected")
			}
		})
	}
}

// The tests below count goroutines, so they do not run in parallel.

func TestCloseLeavesNoGoroutines(t *testing.T) {
	b := mqtttest.NewBroker(t, mqtttest.Config{})
	before := runtime.NumGoroutine()
	for range 10 {
		box := openBox(t, settings(b.URL()))
		box.waitUp()
		box.mustPublish(event("x"))
		box.close()
	}
	eventually(t, "goroutines to end", func() bool { return runtime.NumGoroutine() <= before })
}

func TestManyReconnects(t *testing.T) {
	const reconnects = 10_000
	b := mqtttest.NewBroker(t, mqtttest.Config{})
	opts := settings(b.URL())
	opts.ReconnectMin, opts.ReconnectMax = time.Microsecond, time.Millisecond
	opts.Birth = func() []transport.Message { return []transport.Message{state("online")} }
	opts.Logger = slog.New(slog.DiscardHandler) // it would grow
	box := openBox(t, opts)
	box.waitUp()
	var goroutines int
	var memory uint64
	for i := range reconnects {
		if i == reconnects/10 { // warm
			goroutines, memory = settled()
		}
		b.CutAll()
		box.waitUp()
	}
	after, grown := 0, uint64(0)
	eventually(t, "goroutines to end", func() bool {
		after, grown = settled()
		return after <= goroutines+2
	})
	t.Logf("%d goroutines and %d KiB, then %d and %d KiB", goroutines, memory>>10, after, grown>>10)
	if grown > memory+128<<10 {
		t.Errorf("memory grew from %d to %d bytes", memory, grown)
	}
	box.mustPublish(event("still there"))
}

// settled counts goroutines and the bytes in use after a collection.
func settled() (goroutines int, memory uint64) {
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return runtime.NumGoroutine(), stats.HeapAlloc
}

// A broker that shares its port asks for the protocol by ALPN; a WebSocket
// keeps to HTTP all the same.
func TestALPN(t *testing.T) {
	t.Parallel()
	a, err := mqtttest.NewAuthority()
	if err != nil {
		t.Fatal(err)
	}
	certificate, key, err := a.ServerPEM()
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.X509KeyPair(certificate, key)
	if err != nil {
		t.Fatal(err)
	}
	for scheme, want := range map[string]string{"ssl": "x-amzn-mqtt-ca", "wss": "http/1.1"} {
		t.Run(scheme, func(t *testing.T) {
			t.Parallel()
			asked := make(chan []string, 10)
			l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{MinVersion: tls.VersionTLS12,
				GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
					asked <- hello.SupportedProtos
					return &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}, nil
				}})
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			go func() {
				for {
					conn, err := l.Accept()
					if err != nil {
						return
					}
					conn.(*tls.Conn).Handshake()
					conn.Close()
				}
			}()
			opts := settings(scheme + "://" + l.Addr().String())
			opts.TLS = a.ClientTLS(false)
			opts.TLS.NextProtos = []string{"x-amzn-mqtt-ca"}
			openBox(t, opts)
			if got := wait(t, asked, "a TLS handshake"); len(got) > 1 || len(got) == 1 && got[0] != want || len(got) == 0 && scheme == "ssl" {
				t.Errorf("asked for %q, want %q", got, want)
			}
		})
	}
}

// What is far too large is dropped and acknowledged before it takes memory;
// what follows arrives, and the log has one line.
func TestHugeMessages(t *testing.T) {
	onEachBroker(t, mqtttest.Config{}, func(t *testing.T, b broker) {
		box := openBox(t, settings(b.URL()))
		box.waitUp()
		op := operator(t, b.URL())
		huge := strings.Repeat("x", 1<<20)
		for range 20 {
			op.command(huge)
		}
		op.command("\xff\xfe not UTF-8")
		op.command("after")
		box.mustReceive("\xff\xfe not UTF-8") // for the receiver to judge
		box.mustReceive("after")
		if n := len(box.log.lines(t, "inbound MQTT messages were dropped")); n != 1 {
			t.Errorf("%d lines in the log", n)
		}
	})
}
