package mqtt_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"otad/transport"
	"otad/transport/mqtt"
	"otad/transport/mqtt/mqtttest"
)

func event(payload string) transport.Message {
	return transport.Message{Topic: "otad/stv1/box-1/event", Payload: []byte(payload), QoS: 1}
}

func state(payload string) transport.Message {
	return transport.Message{Topic: "otad/stv1/box-1/state", Payload: []byte(payload), QoS: 1, Retained: true}
}

func TestPublish(t *testing.T) {
	onEachBroker(t, mqtttest.Config{}, func(t *testing.T, b broker) {
		view := observe(t, b, "otad/#")
		box := openBox(t, settings(b.URL()))
		box.waitUp()
		box.mustPublish(event("one"))
		box.mustPublish(transport.Message{Topic: "otad/stv1/box-1/progress", Payload: []byte("two")})
		if m := see(t, view, "one"); m.Topic != "otad/stv1/box-1/event" || m.QoS != 1 {
			t.Errorf("saw %+v", m)
		}
		if m := see(t, view, "two"); m.QoS != 0 {
			t.Errorf("saw %+v", m)
		}
	})
}

func TestReceiveInOrder(t *testing.T) {
	onEachBroker(t, mqtttest.Config{}, func(t *testing.T, b broker) {
		box := openBox(t, settings(b.URL()))
		box.waitUp()
		op := operator(t, b.URL())
		for i := range 100 {
			op.command(fmt.Sprint(i))
		}
		for i := range 100 {
			box.mustReceive(fmt.Sprint(i))
		}
	})
}

func TestOfflineStart(t *testing.T) {
	onEachBroker(t, mqtttest.Config{}, func(t *testing.T, b broker) {
		b.Stop()
		box := openBox(t, settings(b.URL()))
		if err := box.Publish(within(t), event("lost")); !errors.Is(err, transport.ErrOffline) {
			t.Errorf("Publish returned %v, want ErrOffline", err)
		}
		if box.Connected() {
			t.Error("connected to a broker that is not there")
		}
		if err := b.Restart(); err != nil {
			t.Fatal(err)
		}
		box.waitUp()
		if !box.Connected() {
			t.Error("up, but not connected")
		}
		box.mustPublish(event("kept"))
	})
}

// A publish whose acknowledgement cannot come any more ends with an error, and
// is not sent again on the next connection.
func TestPublishWhileConnectionFalls(t *testing.T) {
	onEachBroker(t, mqtttest.Config{}, func(t *testing.T, b broker) {
		view := observe(t, b, "otad/#")
		proxy := mqtttest.NewProxy(t, hostOf(t, b.URL()))
		box := openBox(t, settings("tcp://"+proxy.Addr()))
		box.waitUp()

		proxy.Stall()
		results := make(chan error)
		go func() { results <- box.Publish(within(t), event("doomed")) }()
		select {
		case err := <-results:
			t.Fatalf("Publish returned %v without an acknowledgement", err)
		case <-time.After(50 * time.Millisecond):
		}
		proxy.Cut()
		if err := wait(t, results, "Publish"); !errors.Is(err, transport.ErrOffline) {
			t.Errorf("Publish returned %v, want ErrOffline", err)
		}
		proxy.Flow()
		box.waitDown()
		box.waitUp()
		box.mustPublish(event("after"))
		see(t, view, "after")
		for _, m := range view.Messages() {
			if string(m.Payload) == "doomed" {
				t.Error("the message was sent again behind the caller's back")
			}
		}
	})
}

func TestPublishWhileBrokerIsKilled(t *testing.T) {
	onEachBroker(t, mqtttest.Config{}, func(t *testing.T, b broker) {
		box := openBox(t, settings(b.URL()))
		box.waitUp()
		results := make(chan error)
		go func() {
			for {
				if err := box.Publish(within(t), event("x")); err != nil {
					results <- err
					return
				}
			}
		}()
		b.Stop()
		if err := wait(t, results, "Publish"); !errors.Is(err, transport.ErrOffline) {
			t.Errorf("Publish returned %v, want ErrOffline", err)
		}
		box.waitDown()
		if box.Connected() {
			t.Error("still connected")
		}
	})
}

// The context bounds the wait when the broker is silent, also for those who
// wait for their turn.
func TestPublishToSilentBroker(t *testing.T) {
	onEachBroker(t, mqtttest.Config{}, func(t *testing.T, b broker) {
		proxy := mqtttest.NewProxy(t, hostOf(t, b.URL()))
		box := openBox(t, settings("tcp://"+proxy.Addr()))
		box.waitUp()
		proxy.Stall()
		ctx, cancel := context.WithTimeout(within(t), 100*time.Millisecond)
		defer cancel()
		results := make(chan error)
		for range 50 {
			go func() { results <- box.Publish(ctx, event("x")) }()
		}
		for range 50 {
			if err := wait(t, results, "Publish"); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("Publish returned %v, want the context's error", err)
			}
		}
		proxy.Cut()
		proxy.Flow()
		box.waitDown()
		box.waitUp()
		box.mustPublish(event("after"))
	})
}

func TestWillAndBirth(t *testing.T) {
	onEachBroker(t, mqtttest.Config{}, func(t *testing.T, b broker) {
		view := observe(t, b, "otad/+/+/state")
		proxy := mqtttest.NewProxy(t, hostOf(t, b.URL()))
		opts := settings("tcp://" + proxy.Addr())
		will := state("offline")
		opts.Will = &will
		births := 0
		opts.Birth = func() []transport.Message {
			births++
			return []transport.Message{state(fmt.Sprint("online ", births)), event("born")}
		}
		box := openBox(t, opts)
		box.waitUp()
		see(t, view, "online 1")
		proxy.Cut()
		see(t, view, "offline")
		box.waitUp()
		see(t, view, "online 2")

		proxy.Close() // for good
		box.waitDown()
		eventually(t, "the retained will", func() bool {
			late := observe(t, b, "otad/+/+/state")
			defer late.Close()
			m, err := late.Wait(within(t), func(transport.Message) bool { return true })
			return err == nil && m.Retained && string(m.Payload) == "offline"
		})
	})
}

func TestClosePublishesWill(t *testing.T) {
	onEachBroker(t, mqtttest.Config{}, func(t *testing.T, b broker) {
		view := observe(t, b, "otad/#")
		opts := settings(b.URL())
		will := state("offline")
		opts.Will = &will
		box := openBox(t, opts)
		box.waitUp()
		box.close()
		see(t, view, "offline")
		if err := box.Publish(within(t), event("late")); !errors.Is(err, transport.ErrOffline) {
			t.Errorf("Publish after Close returned %v, want ErrOffline", err)
		}
		box.waitDown()
		box.close() // again
		operator(t, b.URL()).command("marker")
		see(t, view, "marker")
		// mochi was seen to publish the will once more, after DISCONNECT.
		if _, strict := b.(*mqtttest.Mosquitto); strict && len(view.Messages()) != 2 {
			t.Errorf("saw %v, want the will once, and the marker", view.Messages())
		}
	})
}

func TestSubscriptionSurvivesRestart(t *testing.T) {
	for _, forget := range []bool{false, true} {
		t.Run(fmt.Sprintf("forget=%t", forget), func(t *testing.T) {
			onEachBroker(t, mqtttest.Config{Forget: forget}, func(t *testing.T, b broker) {
				box := openBox(t, settings(b.URL()))
				box.waitUp()
				b.Stop()
				box.waitDown()
				if err := b.Restart(); err != nil {
					t.Fatal(err)
				}
				box.waitUp()
				operator(t, b.URL()).command("status")
				box.mustReceive("status")
			})
		})
	}
}

func TestQueuedWhileAway(t *testing.T) {
	onEachBroker(t, mqtttest.Config{}, func(t *testing.T, b broker) {
		first := openBox(t, settings(b.URL()))
		first.waitUp()
		first.close()
		op := operator(t, b.URL())
		op.command("upgrade")
		op.mustPublish(event("marker")) // acknowledged: the broker is done with the command
		second := openBox(t, settings(b.URL()))
		second.mustReceive("upgrade")
		select {
		case <-first.received:
			t.Error("the closed client received it too")
		default:
		}
	})
}

// A command is acknowledged after Receive returned: one that was being worked
// on when the connection fell comes again.
func TestUnfinishedCommandComesAgain(t *testing.T) {
	onEachBroker(t, mqtttest.Config{}, func(t *testing.T, b broker) {
		proxy := mqtttest.NewProxy(t, hostOf(t, b.URL()))
		opts := settings("tcp://" + proxy.Addr())
		received, release := make(chan string), make(chan struct{})
		opts.Receive = func(m transport.Message) {
			received <- string(m.Payload)
			<-release
		}
		box := openBox(t, opts)
		box.waitUp()
		operator(t, b.URL()).command("upgrade")
		wait(t, received, "the command")
		proxy.Cut()
		eventually(t, "the connection to fall", func() bool { return !box.Connected() })
		close(release)
		if got := wait(t, received, "the command again"); got != "upgrade" {
			t.Errorf("received %q", got)
		}
	})
}

func TestFailOver(t *testing.T) {
	onEachBroker(t, mqtttest.Config{}, func(t *testing.T, first broker) {
		second := mqtttest.NewBroker(t, mqtttest.Config{})
		view := observe(t, second, "otad/#")
		opts := settings(first.URL())
		opts.Brokers = append(opts.Brokers, second.URL())
		box := openBox(t, opts)
		box.waitUp()
		first.Stop()
		box.waitDown()
		box.waitUp()
		box.mustPublish(event("here"))
		see(t, view, "here")

		if err := first.Restart(); err != nil {
			t.Fatal(err)
		}
		second.Stop()
		box.waitDown()
		box.waitUp()
	})
}

func TestTLS(t *testing.T) {
	authority, err := mqtttest.NewAuthority()
	if err != nil {
		t.Fatal(err)
	}
	stranger, err := mqtttest.NewAuthority()
	if err != nil {
		t.Fatal(err)
	}
	for _, mutual := range []bool{false, true} {
		t.Run(fmt.Sprintf("mutual=%t", mutual), func(t *testing.T) {
			onEachBroker(t, mqtttest.Config{Authority: authority, Mutual: mutual}, func(t *testing.T, b broker) {
				view := observe(t, b, "otad/#")
				opts := settings(b.URL())
				opts.TLS = authority.ClientTLS(mutual)
				box := openBox(t, opts)
				box.waitUp()
				box.mustPublish(event("secret"))
				see(t, view, "secret")

				opts.ClientID, opts.TLS = "box-2", stranger.ClientTLS(mutual)
				wary := openBox(t, opts)
				eventually(t, "the cause", func() bool {
					return strings.Contains(wary.log.String(), "certificate signed by unknown authority")
				})
				if mutual {
					opts.ClientID, opts.TLS = "box-3", authority.ClientTLS(false)
					nobody := openBox(t, opts)
					eventually(t, "the cause", func() bool {
						return len(nobody.log.lines(t, "no MQTT connection")) > 0
					})
					if nobody.Connected() {
						t.Error("connected without a certificate")
					}
				}
			})
		})
	}
}

func TestPasswords(t *testing.T) {
	config := mqtttest.Config{Users: map[string]string{"box": "right"}}
	onEachBroker(t, config, func(t *testing.T, b broker) {
		opts := settings(b.URL())
		opts.Username, opts.Password = "box", mqtt.NewPassword("right")
		openBox(t, opts).waitUp()

		opts.Password = mqtt.NewPassword("hunter2")
		opts.ReconnectMax = time.Minute
		stranger := openBox(t, opts)
		var told []line
		eventually(t, "the cause", func() bool {
			told = stranger.log.lines(t, "no MQTT connection")
			return len(told) > 0
		})
		if !strings.Contains(told[0].Cause, "refused by the broker") {
			t.Errorf("cause is %q", told[0].Cause)
		}
		if told[0].Wait < 30*time.Second {
			t.Errorf("waits only %s before it tries the same password again", told[0].Wait)
		}
		if strings.Contains(stranger.log.String(), "hunter2") {
			t.Error("the log holds the password")
		}
	})
}

func TestTooLargeMessages(t *testing.T) {
	onEachBroker(t, mqtttest.Config{}, func(t *testing.T, b broker) {
		box := openBox(t, settings(b.URL()))
		box.waitUp()
		op := operator(t, b.URL())
		for _, size := range []int{mqtt.MaxPayload + 1, 3 * mqtt.MaxPayload, 1 << 20, 5 << 20} {
			op.command(strings.Repeat("x", size))
			op.command("small")
			box.mustReceive("small")
		}
		largest := strings.Repeat("y", mqtt.MaxPayload)
		op.command(largest)
		box.mustReceive(largest)
		if n := len(box.log.lines(t, "inbound MQTT messages were dropped")); n != 1 {
			t.Errorf("%d log lines, want one a minute", n)
		}
		// They were acknowledged: the session does not bring them again.
		box.close()
		again := openBox(t, settings(b.URL()))
		again.waitUp()
		op.command("fresh")
		again.mustReceive("fresh")
	})
}

func TestFloodIsBounded(t *testing.T) {
	onEachBroker(t, mqtttest.Config{}, func(t *testing.T, b broker) {
		opts := settings(b.URL())
		release := make(chan struct{})
		received := make(chan string, 10_000)
		opts.Receive = func(m transport.Message) {
			received <- string(m.Payload)
			<-release
		}
		box := openBox(t, opts)
		box.waitUp()
		op := operator(t, b.URL())
		const flood = 2000
		for range flood {
			op.mustPublish(transport.Message{Topic: "otad/all/cmd", Payload: []byte("flood")})
		}
		dropped := func() []line { return box.log.lines(t, "inbound MQTT messages were dropped") }
		eventually(t, "the overflow", func() bool { return len(dropped()) > 0 })
		close(release)
		stop := make(chan struct{})
		go func() { // an end that may be dropped, too
			for {
				op.Publish(context.Background(), transport.Message{Topic: "otad/all/cmd", Payload: []byte("end"), QoS: 1})
				select {
				case <-stop:
					return
				case <-time.After(10 * time.Millisecond):
				}
			}
		}()
		n := 0
		for wait(t, received, "the end") != "end" {
			n++
		}
		close(stop)
		if n >= flood || n < 128 {
			t.Errorf("received %d of %d", n, flood)
		}
		if len(dropped()) != 1 {
			t.Errorf("%d log lines, want one a minute", len(dropped()))
		}
	})
}

// Two boxes with the same client id throw each other out; neither may hammer
// the broker.
func TestTakeOverIsNoTightLoop(t *testing.T) {
	onEachBroker(t, mqtttest.Config{}, func(t *testing.T, b broker) {
		opts := settings(b.URL())
		opts.ReconnectMax = time.Minute
		one, two := openBox(t, opts), openBox(t, opts)
		time.Sleep(time.Second)
		if n := len(one.ups) + len(two.ups); n < 2 || n > 40 {
			t.Errorf("%d connections in a second", n)
		}
	})
}
