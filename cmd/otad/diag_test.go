package main_test

import (
	"os"
	"slices"
	"strings"
	"testing"

	"otad/agent/config"
	"otad/cmd/internal/cli"
	"otad/ota"
)

// The log of the service is read through its socket.
func TestLogs(t *testing.T) {
	t.Parallel()
	site := newSite(t)
	url, _ := site.serve("2.swu", system{code: 2}.artifact(t))
	site.offerAs(ota.UpgradePrompt, 2, url)
	b := newBox(t, site, quiet)
	s := b.start()
	s.await(inPhase(ota.PhaseIdle))
	b.otad("check").want(cli.Done)
	s.await(inPhase(ota.PhaseOffered))
	b.otad("logs").want(cli.Done).said("level=INFO msg=started version=1 slot=a", "msg=phase", "phase=offered")
	all := decode[[]string](b.otad("logs", "--json").want(cli.Done))
	last := decode[[]string](b.otad("logs", "--limit", "2", "--json").want(cli.Done))
	if len(all) < 3 || !slices.Equal(last, all[len(all)-2:]) {
		t.Errorf("the last two of %q are %q", all, last)
	}
	for _, line := range all {
		s.log.await(t, line+"\n")
	}
}

// TestDiag plants a secret wherever one can be, and looks for each in the bundle.
func TestDiag(t *testing.T) {
	t.Parallel()
	const (
		broker, pin, key   = "planted-Broker\"Pass", "90817263", "planted-console-key"
		inProxy            = "planted-proxy"
		inOffer, signature = "planted-user", "planted-signature"
	)
	planted := []string{secret, broker, `planted-Broker\"Pass`, pin, key, inProxy, inOffer, signature}
	site := newSite(t)
	url, _ := site.serve("1.swu", []byte("070701 is no artifact"))
	site.offer(2, strings.Replace(url, "://", "://"+inOffer+":pw@", 1)+"?X=1&Signature="+signature)
	b := newBox(t, site)
	for name, text := range map[string]string{"broker": broker, "pin": pin, "key": key} {
		b.write(name, []byte(text+"\n"))
	}
	secretive := func(c *config.Config) {
		c.MQTT.Brokers = []string{"tcp://127.0.0.1:1"}
		c.MQTT.Username, c.MQTT.PasswordFile = "box", b.path("broker")
		c.Console.PINFile, c.Console.KeyFile = b.path("pin"), b.path("key")
		c.Log.Level = "debug"
	}
	b.configure(quiet, secretive)
	s := b.start()
	s.await(inPhase(ota.PhaseIdle))
	b.otad("check").want(cli.Done)
	s.await(ended(2))
	check := func(text string, parts ...string) {
		t.Helper()
		for _, p := range planted {
			if strings.Contains(text, p) {
				t.Errorf("the bundle has the secret %q", p)
			}
		}
		for _, p := range append([]string{"== otad\n", "go.etcd.io/bbolt", "== board\n", "\"Slot\": \"a\"", "== space\n", " free\n",
			"== settings\n", "check_every", "== history\n", "== log\n"}, parts...) {
			if !strings.Contains(text, p) {
				t.Errorf("the bundle lacks %q", p)
			}
		}
		if t.Failed() {
			t.Log(text)
		}
	}
	check(b.otad("diag").want(cli.Done).stdout, "msg=started", `"phase": "idle"`, `"result": "failed"`)
	b.otad("diag", "-o", "bundle.txt").want(cli.Done).said("bundle.txt: ")
	check(string(b.read(b.path("bundle.txt"))), "msg=started")
	if info, err := os.Stat(b.path("bundle.txt")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file is for others too: %v, %v", info.Mode(), err)
	}
	s.stop().want(cli.Done)

	// A password of the proxy, without the service, and without an agent at all.
	b.configure(quiet, secretive, func(c *config.Config) { c.Server.Proxy = "http://me:" + inProxy + "@127.0.0.1:1" })
	check(b.otad("diag").want(cli.Done).stdout, `"result": "failed"`)
	must(t, os.Remove(b.path("version")))
	check(b.otad("diag").want(cli.Done).stdout, "state: cannot read the running version")
}
