package main_test

import (
	"context"
	"crypto/ed25519"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"otad/agent/config"
	"otad/agent/control"
	"otad/agent/report"
	"otad/cmd/internal/cli"
	"otad/ota"
	"otad/transport"
	"otad/transport/mqtt"
	"otad/transport/mqtt/mqtttest"
)

// guarded is a mosquitto as docs/mqtt/brokers.md sets it up: TLS, a client
// certificate for everybody, and the access list of the page.
type guarded struct {
	t         *testing.T
	authority *mqtttest.Authority
	broker    *mqtttest.Mosquitto
}

func newGuarded(t *testing.T) *guarded {
	t.Helper()
	acl, err := filepath.Abs("../../docs/mqtt/mosquitto.acl")
	must(t, err)
	a, err := mqtttest.NewAuthority()
	must(t, err)
	return &guarded{t, a, mqtttest.NewMosquitto(t, mqtttest.Config{Authority: a, Mutual: true,
		Lines: []string{"use_identity_as_username true", "acl_file " + acl}})}
}

// tls is what a client called name shows and trusts.
func (g *guarded) tls(name string) *tls.Config {
	g.t.Helper()
	certificate, key, err := g.authority.ClientPEM(name)
	must(g.t, err)
	pair, err := tls.X509KeyPair(certificate, key)
	must(g.t, err)
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(g.authority.RootPEM())
	return &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots, Certificates: []tls.Certificate{pair}}
}

func (g *guarded) watch(name string, filters ...string) *mqtttest.View {
	g.t.Helper()
	view, err := mqtttest.Watch(g.broker.URL(), "", "", g.tls(name), filters...)
	must(g.t, err)
	g.t.Cleanup(view.Close)
	return view
}

// connect opens a client that may publish what it likes, as far as it gets.
func (g *guarded) connect(name string) *mqtt.Client {
	g.t.Helper()
	up := make(chan struct{}, 10)
	client, err := mqtt.Open(mqtt.Options{Brokers: []string{g.broker.URL()}, ClientID: "spy-" + name, TLS: g.tls(name),
		CleanSession: true, OnUp: func() { up <- struct{}{} }})
	must(g.t, err)
	g.t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		client.Close(ctx)
	})
	select {
	case <-up:
	case <-time.After(patience):
		g.t.Fatalf("%s does not come up; mosquitto says:\n%s", name, g.broker.Log())
	}
	return client
}

func (g *guarded) publish(c *mqtt.Client, topic, payload string) {
	g.t.Helper()
	ctx, cancel := context.WithTimeout(g.t.Context(), patience)
	defer cancel()
	must(g.t, c.Publish(ctx, transport.Message{Topic: topic, Payload: []byte(payload), QoS: 1}))
}

// sees waits for a message on topic with a text in it.
func (g *guarded) sees(v *mqtttest.View, topic, text string) transport.Message {
	g.t.Helper()
	ctx, cancel := context.WithTimeout(g.t.Context(), patience)
	defer cancel()
	m, err := v.Wait(ctx, func(m transport.Message) bool { return m.Topic == topic && strings.Contains(string(m.Payload), text) })
	if err != nil {
		g.t.Fatalf("%q on %s: %v; mosquitto says:\n%s", text, topic, err, g.broker.Log())
	}
	return m
}

// TestMosquittoGuarded runs the service against a broker that is set up as the
// page says: with its certificate it does all it needs to, and another box can
// neither read its topics nor speak in its name nor command it.
func TestMosquittoGuarded(t *testing.T) {
	t.Parallel()
	g := newGuarded(t)
	public, private, err := ed25519.GenerateKey(nil)
	must(t, err)
	der, err := x509.MarshalPKIXPublicKey(public)
	must(t, err)
	w := newWorld(t)
	certificate, key, err := g.authority.ClientPEM(device)
	must(t, err)
	w.write("broker-ca.pem", g.authority.RootPEM())
	w.write("box.pem", certificate)
	must(t, os.WriteFile(w.path("box.key"), key, 0o600))
	w.write("command.pub", pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
	w.configure(quiet, func(c *config.Config) {
		c.MQTT.Brokers = []string{"ssl://127.0.0.1:1", g.broker.URL()} // the first one is down
		c.MQTT.CA, c.MQTT.Certificate, c.MQTT.Key = w.path("broker-ca.pem"), w.path("box.pem"), w.path("box.key")
		c.MQTT.ALPN, c.MQTT.CommandKeys, c.MQTT.HomeAssistant = []string{"mqtt"}, []string{w.path("command.pub")}, true
	})
	w.otad("config", "check").want(cli.Done)

	operator, spy := g.watch("operator", "otad/#"), g.watch("02:00:00:00:00:02", "otad/#", "otad/"+model+"/"+device+"/#")
	service := w.start()
	g.sees(operator, topics.State(), `"online":true`)
	g.sees(operator, topics.HomeAssistant(), `"installed_version":"v1"`)

	// What the other box may not, the broker swallows.
	other := g.connect("02:00:00:00:00:02")
	g.publish(other, topics.Command(), `{"v":1,"id":"evil","verb":"status"}`)
	g.publish(other, "otad/all/cmd", `{"v":1,"id":"evil","verb":"status"}`)
	g.publish(other, topics.State(), `{"v":1,"online":false,"model":"evil"}`)

	// The operator may, but the box obeys what is signed only.
	desk := g.connect("operator")
	g.publish(desk, topics.Command(), `{"v":1,"id":"unsigned","verb":"upgrade","args":{"now":true}}`)
	g.sees(operator, topics.Result(), `"id":"unsigned","verb":"upgrade"`)
	expires := time.Now().Add(time.Minute)
	signed := func(id, verb, topic string) string {
		payload, err := control.Sign(private, control.Command{V: control.Version, ID: id, Verb: verb, Topic: topic, Expires: &expires})
		must(t, err)
		return string(payload)
	}
	g.publish(desk, topics.Command(), signed("elsewhere", control.Upgrade, "otad/other/box/cmd"))
	g.publish(desk, topics.HomeAssistantInstall(), report.HomeAssistantPress)
	g.publish(desk, topics.Command(), signed("good", control.Status, topics.Command()))
	g.sees(operator, topics.Result(), `"id":"good"`)

	codes := map[string]ota.Code{}
	for _, m := range operator.Messages() {
		var r control.Result
		if m.Topic != topics.Result() {
			continue
		}
		must(t, json.Unmarshal(m.Payload, &r))
		if strings.HasPrefix(r.ID, "home-assistant-") {
			r.ID = "button"
		}
		codes[r.ID] = r.Code
	}
	for id, want := range map[string]ota.Code{"unsigned": ota.CodeArtifactUntrusted, "elsewhere": ota.CodeUsage, "button": ota.CodeArtifactUntrusted, "good": ""} {
		if got, ok := codes[id]; !ok || got != want {
			t.Errorf("command %q was answered %v with code %q, want %q", id, ok, got, want)
		}
	}
	if _, ok := codes["evil"]; ok {
		t.Error("another box's command was answered")
	}
	for _, m := range operator.Messages() {
		if strings.Contains(string(m.Payload), "evil") {
			t.Errorf("another box wrote %s", m.Topic)
		}
	}
	for _, m := range spy.Messages() {
		if m.Topic != "otad/all/cmd" {
			t.Errorf("another box read %s: %s", m.Topic, m.Payload)
		}
	}
	service.stop().want(cli.Done)
	g.sees(operator, topics.State(), `"online":false`)
}
