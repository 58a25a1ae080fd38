package mqtttest

import (
	"context"
	"testing"
	"time"

	"otad/transport"
)

func TestRestartKeepsOrForgets(t *testing.T) {
	t.Parallel()
	for _, forget := range []bool{false, true} {
		b := NewBroker(t, Config{Forget: forget})
		url := b.URL()
		if err := b.Publish(transport.Message{Topic: "a", Payload: []byte("x"), Retained: true, QoS: 1}); err != nil {
			t.Fatal(err)
		}
		if err := b.Restart(); err != nil {
			t.Fatal(err)
		}
		if b.URL() != url {
			t.Errorf("the port changed from %s to %s", url, b.URL())
		}
		v, err := b.Observe("a", "b")
		if err != nil {
			t.Fatal(err)
		}
		if err := b.Publish(transport.Message{Topic: "b", Payload: []byte("end"), QoS: 1}); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		last := map[bool]string{false: "a", true: "b"}[forget]
		if _, err := v.Wait(ctx, func(m transport.Message) bool { return m.Topic == last }); err != nil {
			t.Fatalf("forget=%t: %v", forget, err)
		}
		for _, m := range v.Messages() {
			if forget && m.Topic == "a" {
				t.Error("the broker did not forget")
			}
		}
	}
}

func TestViewComesBack(t *testing.T) {
	t.Parallel()
	b := NewBroker(t, Config{Users: map[string]string{"me": "secret"}})
	v, err := b.Observe("a")
	if err != nil {
		t.Fatal(err)
	}
	b.CutAll()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := b.Publish(transport.Message{Topic: "a", Payload: []byte("x"), QoS: 1}); err != nil {
		t.Fatal(err)
	}
	if _, err := v.Wait(ctx, func(m transport.Message) bool { return string(m.Payload) == "x" }); err != nil {
		t.Error(err)
	}
	if b.Cut("nobody") {
		t.Error("cut a client that is not there")
	}
}
