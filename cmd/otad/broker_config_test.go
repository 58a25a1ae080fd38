package main_test

import (
	"os"
	"strings"
	"testing"

	"otad/agent/config"
	"otad/cmd/internal/cli"
	"otad/transport/mqtt/mqtttest"
)

// What is wrong with the MQTT settings is said by `config check`, as the
// transport itself would say it, and by `run` before it begins.
func TestConfigOfTheBroker(t *testing.T) {
	t.Parallel()
	b := newBox(t, newSite(t))
	a, err := mqtttest.NewAuthority()
	must(t, err)
	certificate, key, err := a.ClientPEM(device)
	must(t, err)
	_, strange, err := a.ClientPEM("another")
	must(t, err)
	b.write("box.pem", certificate)
	b.write("ca.pem.broker", a.RootPEM())
	for name, data := range map[string][]byte{"box.key": key, "strange.key": strange, "empty": nil} {
		must(t, os.WriteFile(b.path(name), data, 0o600))
	}
	at := func(url string, edit func(m *config.MQTT)) func(*config.Config) {
		return func(c *config.Config) {
			c.MQTT.Brokers = []string{url}
			if edit != nil {
				edit(&c.MQTT)
			}
		}
	}
	const good = "ssl://127.0.0.1:1"
	b.configure(at(good, func(m *config.MQTT) {
		m.CA, m.Certificate, m.Key, m.ALPN = b.path("ca.pem.broker"), b.path("box.pem"), b.path("box.key"), []string{"mqtt"}
	}))
	b.otad("config", "check").want(cli.Done)
	for _, row := range []struct {
		name string
		edit func(*config.Config)
		text string
	}{
		{"scheme", at("mqtt://127.0.0.1:1", nil), `broker "mqtt://127.0.0.1:1" does not start with tcp://, ssl://, ws:// or wss://`},
		{"no host", at("tcp://:1883", nil), "names no host"},
		{"path", at("tcp://127.0.0.1/mqtt", nil), "has a path, which only ws:// and wss:// can have"},
		{"no URL", at("tcp://[::1", nil), "is not a URL"},
		{"credentials", at("tcp://box:hunter2@127.0.0.1", nil), "credentials in its address"},
		{"CA", at(good, func(m *config.MQTT) { m.CA = b.path("none.pem") }), "none.pem"},
		{"CA without certificate", at(good, func(m *config.MQTT) { m.CA = b.path("box.key") }), "no certificate"},
		{"certificate", at(good, func(m *config.MQTT) { m.Certificate, m.Key = b.path("none.pem"), b.path("box.key") }), "mqtt.certificate"},
		{"key", at(good, func(m *config.MQTT) { m.Certificate, m.Key = b.path("box.pem"), b.path("none.key") }), "none.key"},
		{"key of another", at(good, func(m *config.MQTT) { m.Certificate, m.Key = b.path("box.pem"), b.path("strange.key") }), "private key does not match"},
		{"password", at(good, func(m *config.MQTT) { m.Username, m.PasswordFile = "box", b.path("none") }), "none"},
		{"password without user", at(good, func(m *config.MQTT) { m.PasswordFile = b.path("secret") }), "user name"},
		{"ALPN", at(good, func(m *config.MQTT) { m.ALPN = []string{"mqtt", ""} }), "ALPN"},
		{"prefix", at(good, func(m *config.MQTT) { m.Prefix = "otad/#" }), "mqtt.prefix"},
		{"command key", at(good, func(m *config.MQTT) { m.CommandKeys = []string{b.path("none.pub")} }), "none.pub"},
		{"command key of another kind", at(good, func(m *config.MQTT) { m.CommandKeys = []string{b.path("ca.pem.broker")} }), "mqtt.command_keys"},
		{"device", func(c *config.Config) { at(good, nil)(c); c.Device.Key = "+" }, "device.key"},
		{"device of the group", func(c *config.Config) { at(good, nil)(c); c.Device.Key = "all" }, "device.key"},
		{"model", func(c *config.Config) { at(good, nil)(c); c.Device.Model = "st/v1" }, "device.model"},
	} {
		t.Run(row.name, func(t *testing.T) {
			b.configure(row.edit)
			for _, verb := range [][]string{{"config", "check"}, {"run"}} {
				r := b.otad(verb...)
				r.t = t
				r.want(cli.BadConfig, "cannot ", row.text)
				if strings.Contains(r.stderr, "hunter2") {
					t.Errorf("%v tells the password:\n%s", verb, r.stderr)
				}
			}
		})
	}
}
