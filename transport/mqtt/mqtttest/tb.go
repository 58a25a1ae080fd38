package mqtttest

import (
	"errors"
	"os"
	"testing"
)

// NewBroker starts an in-process broker for the time of a test.
func NewBroker(tb testing.TB, config Config) *Broker {
	tb.Helper()
	b, err := Start(config)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { b.Close() })
	return b
}

// NewMosquitto starts mosquitto for the time of a test. Where it is not
// installed the test is skipped, but fails under CI.
func NewMosquitto(tb testing.TB, config Config) *Mosquitto {
	tb.Helper()
	m, err := StartMosquitto(config)
	switch {
	case errors.Is(err, ErrNoMosquitto) && os.Getenv("CI") == "":
		tb.Skipf("%v (Debian: apt-get install mosquitto mosquitto-clients)", err)
	case err != nil:
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		m.Close()
		if tb.Failed() {
			tb.Logf("mosquitto said:\n%s", m.Log())
		}
	})
	return m
}

// NewProxy starts a proxy before target for the time of a test.
func NewProxy(tb testing.TB, target string) *Proxy {
	tb.Helper()
	p, err := StartProxy(target)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(p.Close)
	return p
}
