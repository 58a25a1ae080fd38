package main_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"os/exec"
	"strings"
	"testing"
	"time"

	"otad/agent/config"
	"otad/agent/control"
	"otad/agent/report"
	"otad/cmd/internal/cli"
	"otad/ota"
	"otad/transport/console/consoletest"
	"otad/transport/mqtt/mqtttest"
)

// A person at the console, commands over MQTT and the service's own poll meet:
// one update at a time, and whoever comes second is told who holds it.
func TestDoorsMeet(t *testing.T) {
	t.Parallel()
	broker := mqtttest.NewMosquitto(t, mqtttest.Config{})
	o := newOperator(t, broker)
	s := newSite(t)
	c := newCable(t, &consoletest.Line{})
	b := newBox(t, s, c.served, func(cfg *config.Config) { cfg.MQTT.Brokers = []string{broker.URL()} })
	url, file := s.serve("2.swu", system{code: 2}.artifact(t))
	service := b.start()
	o.state(func(s report.State) bool { return s.Online })
	person := newPerson(t, c.near.Path)
	person.says("otad> ", "status") // the console is open all the while

	// The poll comes first.
	s.offerAs(ota.UpgradePrompt, 2, url)
	first := service.await(inPhase(ota.PhaseOffered)).Update
	if first.By != "poll" {
		t.Fatalf("begun by %q", first.By)
	}
	o.send(control.Command{ID: "other", Verb: control.Upgrade, Args: control.Args{To: 7}})
	if r := o.result("other", ota.CodeBusy); !strings.Contains(r.Text, "is offered (started by poll)") {
		t.Errorf("the operator is told %q", r.Text)
	}
	person.says("otad> ", "install /media/fw.swu --yes")
	person.says("is offered (started by poll)", "")
	b.otad("install", b.path("otad.toml"), "--yes").want(cli.Failed, "is offered (started by poll)")

	// All at once: whoever does not begin it joins it, or is told of it.
	o.send(control.Command{ID: "stop", Verb: control.Cancel})
	o.result("stop", "")
	service.await(inPhase(ota.PhaseIdle))
	file.Set(trickle)
	person.says("otad> ", "upgrade --yes")
	o.send(control.Command{ID: "both", Verb: control.Upgrade, Args: control.Args{Now: true}})
	r := await(o, topics.Result(), func(r control.Result) bool { return r.ID == "both" })
	if !r.OK && (r.Code != ota.CodeBusy || !strings.Contains(r.Text, "cannot begin: ")) {
		t.Errorf("the operator is told %+v", r)
	}
	file.Set(noFaults)
	service.wait().want(cli.RebootNeeded)
	b.boot()
	_, service = b.live(func(now report.State) bool { return now.Last != nil && now.Last.Result == ota.PhaseConfirmed })
	history := b.history()
	if len(history) != 2 || history[0].Result != ota.PhaseConfirmed || history[1].ID != first.ID {
		t.Errorf("history %+v, want the cancelled one and one more", history)
	}
	audit := decode[[]ota.Deed](b.otad("history", "--audit", "--limit", "20", "--json").want(cli.Done))
	told := map[string]ota.Code{}
	for _, d := range audit {
		told[d.By+" "+d.Verb] = d.Code
	}
	for deed, code := range map[string]ota.Code{"mqtt:other upgrade": ota.CodeBusy, "console install": ota.CodeBusy, "cli install": ota.CodeBusy, "mqtt:stop cancel": ""} {
		if got, there := told[deed]; !there || got != code {
			t.Errorf("the audit of %q: %v, %q; want %q", deed, there, got, code)
		}
	}
	b.otad("history", "--audit").want(cli.Done).said("console person install", "busy", "mqtt:stop cancel done")
	service.stop()
}

// What otactl asks over the line is what the box answers at home.
func TestSerialVerbs(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	c := newCable(t, &consoletest.Line{Baud: 1_500_000, ErrorEvery: 20_000, Seed: 3})
	b := newBox(t, s, c.served, quiet)
	service := b.start()
	service.await(inPhase(ota.PhaseIdle))
	b.serial(c, "consent", "accept")().want(cli.Nothing, "no update waits")
	b.serial(c, "history")().want(cli.Done)
	b.serial(c, "history", "--audit")().want(cli.Done).said("console program consent", "nothing")
	b.serial(c, "logs", "--limit", "5")().want(cli.Done).said("msg=started")
	b.serial(c, "logs", "--follow")().want(cli.Usage, "that is for people")
	state := decode[report.State](b.serial(c, "status", "--json")().want(cli.Done))
	at := decode[report.State](b.otad("status", "--json").want(cli.Done))
	state.Time, at.Time = time.Time{}, time.Time{}
	if got, want := asJSON(t, state), asJSON(t, at); got != want {
		t.Errorf("status over the line\n%s\nwant\n%s", got, want)
	}
	b.serial(c, "dance")().want(cli.Usage, "no such command")

	// The bundle comes whole, whatever the line loses: twice the same request
	// gives the same bytes as JSON and as text.
	text := b.serial(c, "diag")().want(cli.Done).said("== otad", "== audit", "console", "== log").stdout
	bundle := decode[string](b.serial(c, "diag", "--json")().want(cli.Done))
	for name, got := range map[string]string{"text": text, "JSON": bundle} {
		if !strings.HasPrefix(got, "== otad\n") || strings.Contains(got, secret) {
			t.Errorf("the bundle as %s begins with %.100q", name, got)
		}
	}
	steady := func(text string) string { // up to what the time and the asking change
		head, _, _ := strings.Cut(text, "== state")
		_, settings, _ := strings.Cut(text, "== settings")
		settings, _, _ = strings.Cut(settings, "== history")
		return head + settings
	}
	home := b.otad("diag").want(cli.Done).stdout
	if steady(text) != steady(home) || steady(bundle) != steady(home) || len(steady(home)) < 1000 {
		t.Error("the bundle over the line is not the one at home")
	}
	service.stop()
}

func asJSON(t *testing.T, v any) string {
	t.Helper()
	data, err := json.Marshal(v)
	must(t, err)
	return string(data)
}

// `otad logs --follow` shows the log as it comes, until it is interrupted.
func TestLogsFollow(t *testing.T) {
	t.Parallel()
	b := newBox(t, newSite(t), quiet)
	service := b.start()
	service.await(inPhase(ota.PhaseIdle))
	var seen tape
	cmd := b.command(t.Context(), "logs", "--follow")
	cmd.Stdout = &seen
	must(t, cmd.Start())
	t.Cleanup(func() { cmd.Process.Kill() })
	seen.await(t, "msg=started")
	b.otad("check").want(cli.Nothing)
	service.stop()
	err := cmd.Wait()
	var exit *exec.ExitError
	if errors.As(err, &exit) || err != nil {
		t.Errorf("when the service ends: %v", err)
	}
	if !bytes.HasPrefix([]byte(seen.String()), []byte("time=")) {
		t.Errorf("it shows %q", seen.String())
	}
	b.otad("logs", "--follow").want(cli.Failed, "cannot reach the daemon")
}
