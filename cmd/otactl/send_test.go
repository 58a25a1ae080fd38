package main

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"otad/agent/control"
	boxreport "otad/agent/report"
	"otad/cmd/internal/cli"
	"otad/cmd/otactl/fleet"
	"otad/ota"
	"otad/transport"
	"otad/transport/mqtt"
	"otad/transport/mqtt/mqtttest"
)

// fakeBox is a box as the operator's desk sees it: it says its state, obeys
// by the real rules, and plays an update when it is told to upgrade.
type fakeBox struct {
	t      *testing.T
	topics boxreport.Topics
	client *mqtt.Client
	desk   *control.Desk
	ends   ota.Phase // how its updates end; "" for never

	mu    sync.Mutex
	state boxreport.State
	acts  sync.WaitGroup
	seen  map[string]bool
}

func newFakeBox(t *testing.T, broker interface{ URL() string }, name string, ends ota.Phase, edit ...func(*control.Desk)) *fakeBox {
	t.Helper()
	b := &fakeBox{t: t, ends: ends, seen: map[string]bool{}, topics: boxreport.Topics{Prefix: "otad", Model: "stv1", Device: name},
		state: boxreport.State{V: 1, Online: true, Model: "stv1", Device: name, Slot: "a", Version: ota.Version{Code: 1}, Phase: ota.PhaseIdle}}
	b.desk = &control.Desk{Verbs: b, Once: b, Now: time.Now, Answer: func(r control.Result) { b.say(b.topics.Result(), r, false) },
		Log: slog.New(slog.DiscardHandler), Own: b.topics.Command(), Device: name}
	for _, e := range edit {
		e(b.desk)
	}
	b.desk.Open()
	ctx, stop := context.WithCancel(context.Background())
	go b.desk.Run(ctx)
	up, opened := make(chan struct{}), make(chan struct{})
	var once sync.Once
	var err error
	b.client, err = mqtt.Open(mqtt.Options{Brokers: []string{broker.URL()}, ClientID: "box-" + name, Subscriptions: b.topics.Commands(),
		Will:    &transport.Message{Topic: b.topics.State(), QoS: 1, Retained: true, Payload: boxreport.Offline("stv1", name)},
		Receive: func(m transport.Message) { <-opened; b.desk.Take(ctx, m.Topic, m.Payload) },
		OnUp:    func() { once.Do(func() { close(up) }) }})
	if err != nil {
		t.Fatal(err)
	}
	close(opened)
	<-up
	b.say(b.topics.State(), b.state, true)
	t.Cleanup(func() {
		stop()
		b.acts.Wait()
		closeBroker(b.client)
	})
	return b
}

func (b *fakeBox) say(topic string, v any, retained bool) {
	data, err := json.Marshal(v)
	if err == nil {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		err = b.client.Publish(ctx, transport.Message{Topic: topic, Payload: data, QoS: 1, Retained: retained})
	}
	if err != nil {
		b.t.Error(err)
	}
}

func (b *fakeBox) First(id string) (bool, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	first := !b.seen[id]
	b.seen[id] = true
	return first, nil
}

func (b *fakeBox) Do(_ context.Context, r control.Request) (any, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case r.Verb == control.Cancel:
		return nil, ota.NewRefused(ota.CodeNothing, fmt.Errorf("cannot cancel: no update is under way"))
	case r.Verb == control.Upgrade && b.ends == ota.PhaseIdle:
		return nil, ota.NewRefused(ota.CodeNothing, fmt.Errorf("cannot upgrade: nothing newer"))
	case r.Verb == control.Upgrade:
		b.state.Phase, b.state.Update = ota.PhaseDownloading, &boxreport.Update{ID: "u-" + b.topics.Device, By: r.By, To: ota.Version{Code: 2}}
		if b.ends != "" {
			b.acts.Go(b.play)
		}
	}
	return b.state, nil
}

// play is an update with its reboot.
func (b *fakeBox) play() {
	b.mu.Lock()
	s := b.state
	b.mu.Unlock()
	b.say(b.topics.State(), s, true)
	for percent := range 4 {
		b.say(b.topics.Progress(), boxreport.Progress{V: 1, Update: s.Update.ID, Phase: s.Phase, Percent: percent * 25,
			Transfer: boxreport.TransferOf(int64(percent*25), 100, 10)}, false)
	}
	b.say(b.topics.State(), json.RawMessage(boxreport.Offline("stv1", b.topics.Device)), true)
	outcome := &ota.Outcome{ID: s.Update.ID, Result: b.ends, By: s.Update.By, Offer: ota.Offer{VersionCode: 2, VersionName: "2.0"}}
	if b.ends != ota.PhaseConfirmed {
		outcome.Failure = &ota.Failure{Class: ota.Permanent, Code: ota.CodeArtifactSignature, Text: "cannot trust artifact: it is not signed"}
	}
	s.Phase, s.Update, s.Last = ota.PhaseIdle, nil, outcome
	if b.ends == ota.PhaseConfirmed {
		s.Version, s.Slot = ota.Version{Code: 2, Name: "2.0"}, "b"
	}
	b.say(b.topics.State(), s, true)
	b.say(b.topics.Event(), boxreport.Event{V: 1, ID: "e", Type: boxreport.EventOutcome, Outcome: outcome}, false)
}

func TestSend(t *testing.T) {
	t.Parallel()
	broker := mqtttest.NewBroker(t, mqtttest.Config{})
	newFakeBox(t, broker, "good", ota.PhaseConfirmed)
	newFakeBox(t, broker, "bad", ota.PhaseFailed)
	newFakeBox(t, broker, "stuck", "")
	newFakeBox(t, broker, "new", ota.PhaseIdle)
	for _, c := range []struct {
		name, args string
		code       int
		out, err   string // parts of standard output and error
	}{
		{"status", "status --box stv1/good", cli.Done, `"slot":"a"`, ""},
		{"nothing to cancel", "cancel --box stv1/good", cli.Nothing, "", "no update is under way"},
		{"nobody there", "status --box stv1/gone --timeout 1s", cli.Failed, "", "is not online"},
		{"upgrade and wait", "upgrade --now --wait --box stv1/good", cli.Done, "confirmed: version 2.0", "downloading"},
		{"upgrade that fails", "upgrade --wait --box stv1/bad", cli.NotTrusted, "", "it is not signed"},
		{"upgrade that does not end", "upgrade --wait --box stv1/stuck --timeout 1s", cli.Failed, "", "has not ended"},
		{"nothing newer", "upgrade --wait --box stv1/new", cli.Nothing, "", "nothing newer"},
		{"as JSON", "status --json --box stv1/new", cli.Done, `"box":"stv1/new"`, ""},
		{"a model", "status --model stv1 --json", cli.Done, `"box":"stv1/stuck"`, "4 boxes: 4 done"},
		{"all", "history --all --limit 3", cli.Done, "stv1/good  done", "4 boxes"},
		{"other model", "status --model other --timeout 1s", cli.Nothing, "", "no box is online"},
		{"no target", "status", cli.Usage, "", "one of --box"},
		{"two targets", "status --all --model x", cli.Usage, "", "one of --box"},
		{"no such verb", "explode --all", cli.Usage, "", "not known"},
		{"not by MQTT", "install --all", cli.Usage, "", "source"},
		{"argument of another verb", "status --all --now", cli.Usage, "", "takes no argument"},
		{"wildcard", "status --box stv1/+", cli.Usage, "", "MODEL/DEVICE"},
		{"half a name", "status --box good", cli.Usage, "", "MODEL/DEVICE"},
		{"no key", "status --all --sign-key /none", cli.BadConfig, "", "cannot read key"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			out, err := want(t, c.code, append([]string{"send", "--broker", broker.URL()}, strings.Fields(c.args)...)...)
			if !strings.Contains(out, c.out) || !strings.Contains(err, c.err) {
				t.Errorf("stdout %q\nstderr %q", out, err)
			}
		})
	}
}

// A mixed group has one exit code, and each box its own.
func TestSendTogether(t *testing.T) {
	t.Parallel()
	broker := mqtttest.NewBroker(t, mqtttest.Config{})
	newFakeBox(t, broker, "good", ota.PhaseConfirmed)
	newFakeBox(t, broker, "new", ota.PhaseIdle)
	args := []string{"send", "upgrade", "--all", "--wait", "--json", "--broker", broker.URL(), "--id"}
	out, _ := want(t, cli.Done, append(args, "one")...)
	codes := map[string]int{}
	for line := range strings.Lines(out) {
		var b sent
		if err := json.Unmarshal([]byte(line), &b); err != nil {
			t.Fatal(err)
		}
		codes[b.Box] = b.Code
	}
	if len(codes) != 2 || codes["stv1/good"] != cli.Done || codes["stv1/new"] != cli.Nothing {
		t.Errorf("exit codes %v", codes)
	}
	newFakeBox(t, broker, "bad", ota.PhaseFailed)
	_, said := want(t, cli.NotTrusted, append(args, "two")...)
	says(t, said, "3 boxes: 1 done, 1 had nothing to do, 1 failed")
}

func TestSendSigned(t *testing.T) {
	t.Parallel()
	broker := mqtttest.NewBroker(t, mqtttest.Config{})
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	key := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	newFakeBox(t, broker, "one", ota.PhaseConfirmed, func(d *control.Desk) { d.Keys = control.CommandKeys{public} })
	want(t, cli.NotTrusted, "send", "upgrade", "--box", "stv1/one", "--broker", broker.URL())
	want(t, cli.Done, "send", "upgrade", "--box", "stv1/one", "--broker", broker.URL(), "--sign-key", key, "--wait")
	want(t, cli.Done, "send", "status", "--all", "--broker", broker.URL(), "--sign-key", key)
}

func TestWatchLines(t *testing.T) {
	t.Parallel()
	broker := mqtttest.NewBroker(t, mqtttest.Config{})
	newFakeBox(t, broker, "one", ota.PhaseConfirmed)
	newFakeBox(t, broker, "two", ota.PhaseConfirmed)
	out, _ := want(t, cli.Done, "watch", "--broker", broker.URL(), "--for", "1s", "--filter", "two")
	if strings.Count(out, "\n") != 1 {
		t.Errorf("lines %q", out)
	}
	says(t, out, "stv1/two  1  slot a  idle")
	out, _ = want(t, cli.Done, "watch", "--broker", broker.URL(), "--for", "1s", "--json")
	rows := 0
	for line := range strings.Lines(out) {
		var r fleet.Row
		if err := json.Unmarshal([]byte(line), &r); err != nil || !r.Online {
			t.Errorf("%q: %v", line, err)
		}
		rows++
	}
	if rows != 2 {
		t.Errorf("%d rows", rows)
	}
	want(t, cli.Usage, "watch", "--broker", broker.URL(), "--sort", "luck")
	want(t, cli.Usage, "watch")
	_, said := want(t, cli.BadConfig, "watch", "--broker", "http://x")
	says(t, said, "does not start with tcp://")
}

// What follows a fleet sees a change at once, and the end.
func TestWatchFollow(t *testing.T) {
	t.Parallel()
	boxes := fleet.New("otad")
	ctx, cancel := context.WithCancel(t.Context())
	var seen bytes.Buffer
	err := follow(ctx, boxes, func(rows []fleet.Row) error {
		for _, r := range rows {
			fmt.Fprintln(&seen, r.Box)
		}
		switch {
		case len(rows) == 0:
			boxes.Take(transport.Message{Topic: "otad/stv1/one/state", Payload: []byte(`{"v":1,"online":true}`)})
		default:
			cancel()
		}
		return nil
	})
	if err == nil || seen.String() != "stv1/one\n" {
		t.Errorf("saw %q, %v", seen.String(), err)
	}
}
