package main_test

import (
	"encoding/json"
	"fmt"
	"net/url"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"otad/agent/control"
	"otad/agent/report"
	"otad/build/tooltest"
	"otad/cmd/internal/cli"
	"otad/ota"
	"otad/transport/mqtt/mqtttest"
)

// operator is somebody at the broker with mosquitto's own tools.
type operator struct {
	t          *testing.T
	host, port string
	seen       *tape // "topic payload", a line each
}

var topics = report.Topics{Prefix: "otad", Model: model, Device: device}

// newOperator subscribes to everything, with a session that outlives the
// broker's process.
func newOperator(t *testing.T, broker *mqtttest.Mosquitto) *operator {
	t.Helper()
	u, err := url.Parse(broker.URL())
	must(t, err)
	o := &operator{t: t, host: u.Hostname(), port: u.Port()}
	o.seen = o.subscribe("-c", "-i", "operator")
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("mosquitto_sub saw:\n%s", o.seen.String())
		}
	})
	return o
}

// subscribe starts a mosquitto_sub for the time of the test.
func (o *operator) subscribe(more ...string) *tape {
	o.t.Helper()
	seen := new(tape)
	args := append([]string{"-h", o.host, "-p", o.port, "-v", "-q", "1", "-t", "otad/#"}, more...)
	cmd := exec.CommandContext(o.t.Context(), tooltest.Path(o.t, "mosquitto_sub"), args...)
	cmd.Stdout = seen
	must(o.t, cmd.Start())
	o.t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	return seen
}

// send publishes a command, to the box's own topic.
func (o *operator) send(c control.Command) {
	o.t.Helper()
	c.V = control.Version
	payload, err := json.Marshal(c)
	must(o.t, err)
	o.sendRaw(topics.Command(), string(payload))
}

func (o *operator) sendRaw(topic, payload string) {
	o.t.Helper()
	run(o.t, ".", tooltest.Path(o.t, "mosquitto_pub"), "-h", o.host, "-p", o.port, "-q", "1", "-t", topic, "-m", payload)
}

// messages decodes what came on a topic so far, in order.
func messages[T any](o *operator, topic string) []T {
	o.t.Helper()
	var list []T
	for line := range strings.Lines(o.seen.String()) {
		payload, ok := strings.CutPrefix(line, topic+" ")
		if !ok || !strings.HasSuffix(line, "\n") { // half a line
			continue
		}
		var v T
		if err := json.Unmarshal([]byte(payload), &v); err != nil {
			o.t.Fatalf("cannot read %q: %v", line, err)
		}
		list = append(list, v)
	}
	return list
}

// await waits for a message on a topic.
func await[T any](o *operator, topic string, wanted func(T) bool) T {
	o.t.Helper()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if list := messages[T](o, topic); slices.ContainsFunc(list, wanted) {
			return list[slices.IndexFunc(list, wanted)]
		}
	}
	o.t.Fatalf("what is waited for on %s never came", topic)
	panic("unreachable")
}

// result waits for the answer to a command and checks its code, "" for ok.
func (o *operator) result(id string, code ota.Code) control.Result {
	o.t.Helper()
	r := await(o, topics.Result(), func(r control.Result) bool { return r.ID == id })
	if r.Code != code || r.OK != (code == "") || (code != "" && !strings.HasPrefix(r.Text, "cannot ")) {
		o.t.Errorf("command %q: got %+v, want code %q", id, r, code)
	}
	return r
}

func (o *operator) state(wanted func(report.State) bool) report.State {
	o.t.Helper()
	return await(o, topics.State(), wanted)
}

// newWatched is a world whose box talks to a broker that is watched.
func newWatched(t *testing.T) (*world, *mqtttest.Mosquitto, *operator) {
	t.Helper()
	broker := mqtttest.NewMosquitto(t, mqtttest.Config{})
	o := newOperator(t, broker)
	w := newWorld(t)
	w.config.MQTT.Brokers = []string{broker.URL()}
	quiet(&w.config)
	w.configure()
	return w, broker, o
}

// TestMosquittoUpdate watches one whole update, in the middle of which the
// broker dies.
func TestMosquittoUpdate(t *testing.T) {
	t.Parallel()
	w, broker, o := newWatched(t)
	w.file.Set(trickle)
	service := w.start()
	o.state(func(s report.State) bool {
		return s.Online && s.Phase == ota.PhaseIdle && s.Version.Code == 1 && s.Slot == "a"
	})

	o.send(control.Command{ID: "go", Verb: control.Upgrade, Args: control.Args{Now: true}})
	o.result("go", "")
	started := await(o, topics.Event(), func(e report.Event) bool { return e.Phase == ota.PhaseDownloading })
	await(o, topics.Progress(), func(p report.Progress) bool {
		return p.Update == started.Update && p.Phase == ota.PhaseDownloading && p.Percent > 0 && p.Transfer.TotalBytes > imageBytes
	})
	o.state(func(s report.State) bool { return s.Update != nil && s.Update.By == "mqtt:go" && s.Update.To.Code == 2 })

	broker.Stop()
	w.file.Set(noFaults)
	service.wait().want(cli.RebootNeeded) // all the same
	if slot := w.boot(); slot != "b" {
		t.Fatalf("slot %s was started", slot)
	}
	w.live(ended(2))
	must(t, broker.Restart())

	outcome := await(o, topics.Event(), func(e report.Event) bool { return e.Type == report.EventOutcome }).Outcome
	if outcome == nil || outcome.ID != started.Update || outcome.Result != ota.PhaseConfirmed {
		t.Errorf("outcome %+v", outcome)
	}
	o.state(func(s report.State) bool {
		return s.Online && s.Phase == ota.PhaseIdle && s.Version.Code == 2 && s.Slot == "b"
	})
	o.wantStory(started.Update, ota.PhaseOffered, ota.PhaseDownloading, ota.PhaseDownloaded, ota.PhaseInstalling,
		ota.PhaseInstalled, ota.PhaseArmed, ota.PhaseTrial, ota.PhaseConfirmed)
	// Whoever comes late sees the state at once.
	late := o.subscribe("-C", "1")
	late.await(t, fmt.Sprintf("%s {", topics.State()))
	late.await(t, `"version":{"code":2`)
}

// wantStory checks the phase events of an update: all of them, in order, each
// seq higher than the one before. An event may come twice, under the same id.
func (o *operator) wantStory(update string, want ...ota.Phase) {
	o.t.Helper()
	var got []ota.Phase
	seen := map[string]bool{}
	last := uint64(0)
	for _, e := range messages[report.Event](o, topics.Event()) {
		if seen[e.ID] || e.Type != report.EventPhase || e.Update != update {
			continue
		}
		if e.Seq <= last {
			o.t.Errorf("event %d comes after %d", e.Seq, last)
		}
		seen[e.ID], last = true, e.Seq
		got = append(got, e.Phase)
	}
	if !slices.Equal(got, want) {
		o.t.Errorf("the events tell of %q, want %q", got, want)
	}
}

// TestMosquittoLastWord: a command that ends the service is answered before that.
func TestMosquittoLastWord(t *testing.T) {
	t.Parallel()
	w, _, o := newWatched(t)
	for _, id := range []string{"first", "second", "third"} {
		service := w.start()
		o.state(func(s report.State) bool { return s.Online })
		o.send(control.Command{ID: id, Verb: control.Reboot})
		service.wait().want(cli.RebootNeeded)
		o.result(id, "")
	}
}

// TestMosquittoCommands sends the box what an operator sends, right and wrong.
func TestMosquittoCommands(t *testing.T) {
	t.Parallel()
	w, _, o := newWatched(t)
	w.site.offerAs(ota.UpgradePrompt, 2, w.site.url+"/fw/2.swu")
	service := w.start()
	o.state(func(s report.State) bool { return s.Online })

	o.send(control.Command{ID: "status", Verb: control.Status})
	var s report.State
	if err := json.Unmarshal(o.result("status", "").Data, &s); err != nil || s.Device != device || s.Version.Code != 1 {
		t.Errorf("status: %+v, %v", s, err)
	}
	past := time.Now().Add(-time.Hour)
	o.send(control.Command{ID: "late", Verb: control.Upgrade, Expires: &past})
	o.result("late", ota.CodeExpired)
	o.send(control.Command{ID: "odd", Verb: "dance"})
	o.result("odd", ota.CodeUsage)
	o.send(control.Command{ID: "local", Verb: control.Install, Args: control.Args{Source: "/etc/passwd"}})
	o.result("local", ota.CodeUsage)
	o.sendRaw(topics.Command(), `{"v":1,"id":"typo","verb":"upgrade","args":{"nwo":true}}`)
	o.result("typo", ota.CodeUsage)
	o.sendRaw(topics.Command(), "not a command")
	o.send(control.Command{ID: "idle", Verb: control.Cancel})
	o.result("idle", ota.CodeNothing)

	o.send(control.Command{ID: "check", Verb: control.Check})
	var offer ota.Offer
	if err := json.Unmarshal(o.result("check", "").Data, &offer); err != nil || offer.VersionCode != 2 {
		t.Errorf("check: %+v, %v", offer, err)
	}
	o.state(func(s report.State) bool { return s.Phase == ota.PhaseOffered && strings.Contains(s.Reason, "consent") })
	o.send(control.Command{ID: "cancel", Verb: control.Cancel})
	o.result("cancel", "")
	cancelled := await(o, topics.Event(), func(e report.Event) bool { return e.Type == report.EventOutcome })
	if cancelled.Failure == nil || cancelled.Failure.Code != ota.CodeCancelled {
		t.Errorf("cancel: %+v", cancelled)
	}

	// The box goes without a word: the broker says it in its name.
	service.kill()
	o.awaitLast(func(s report.State) bool { return !s.Online })

	// What was acted on is not acted on again, across the restart; what was
	// sent meanwhile is.
	o.send(control.Command{ID: "meanwhile", Verb: control.Status})
	o.send(control.Command{ID: "cancel", Verb: control.Cancel})
	service = w.start()
	o.result("meanwhile", "")
	o.send(control.Command{ID: "cancel", Verb: control.Cancel})
	o.send(control.Command{ID: "last", Verb: control.Status})
	o.result("last", "")
	answers := map[string]int{}
	for _, r := range messages[control.Result](o, topics.Result()) {
		answers[r.ID]++
	}
	for _, id := range []string{"status", "check", "cancel", "meanwhile", "last"} {
		if answers[id] != 1 {
			t.Errorf("command %q was answered %d times", id, answers[id])
		}
	}
	// A group's command reaches the box too.
	o.sendRaw("otad/"+model+"/all/cmd", `{"v":1,"id":"group","verb":"status"}`)
	o.result("group", "")
	// Asked to end, it says so itself.
	service.stop().want(cli.Done)
	o.awaitLast(func(s report.State) bool { return !s.Online })
	if w.condition().boot.Next != "a" {
		t.Error("something was armed")
	}
}

// awaitLast waits until the newest state is the wanted one.
func (o *operator) awaitLast(wanted func(report.State) bool) {
	o.t.Helper()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if list := messages[report.State](o, topics.State()); len(list) > 0 && wanted(list[len(list)-1]) {
			return
		}
	}
	o.t.Fatal("the state that is waited for never came")
}
