package vbox

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pelletier/go-toml/v2"

	"otad/agent/config"
	"otad/agent/report"
	"otad/cmd/otalab/lab"
	"otad/ota"
	"otad/transport"
	"otad/transport/mqtt/mqtttest"
)

const (
	model = "stv1"
	mac   = "52:54:00:12:34:56"
	// limit is how long a scenario may take on a machine with other work: thrice
	// what the longest takes.
	limit = 6 * time.Minute
)

// rig is a box with a lab of its own.
type rig struct {
	*box
	t     *testing.T
	ctx   context.Context
	lab   *lab.Server
	view  *mqtttest.View
	disk  map[string]part
	heard place // up to here the test has read what the box said
	began time.Time
	again bool // the machine froze at the first attempt,
	froze bool // and here
}

// setup is how a rig differs from the usual one.
type setup struct {
	runs    int                  // the version in slot A
	only    string               // this architecture; all when empty
	always  bool                 // on all architectures also in a short run
	mem     int                  // MiB; 512 when 0
	dataMiB int                  // of the data partition's file system; 64 when 0
	change  func(*config.Config) // of the box's settings
}

// newRig makes a rig. The box is off, with a version in slot A and nothing in B.
func newRig(t *testing.T, arch string, s setup) *rig {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	r := &rig{t: t, ctx: ctx, began: time.Now(), box: &box{arch: arch, mem: s.mem, dir: t.TempDir(), mac: mac, news: make(chan struct{})}}
	var err error
	r.disk, err = partitions(arch)
	r.must(err)
	ca, err := os.ReadFile(filepath.Join(parts, "keys", "ca.pem"))
	r.must(err)
	r.lab, err = lab.Start(lab.Options{Dir: r.dir, CA: ca})
	r.must(err)
	r.view, err = r.lab.Broker.Observe(lab.Prefix + "/#")
	r.must(err)
	r.web, r.broker = strings.TrimPrefix(r.lab.URL, "http://"), strings.TrimPrefix(r.lab.Broker.URL(), "tcp://")
	r.lab.URL = "http://" + labHost
	r.must(copyDisk(filepath.Join(parts, arch, "disk.img"), r.diskFile()))
	r.must(copyDisk(filepath.Join(parts, arch, "flash.img"), filepath.Join(r.dir, "flash.img")))
	r.must(put(r.diskFile(), r.disk["slotA"], r.image(fmt.Sprint(s.runs))))
	r.must(r.format(s, ca))
	t.Cleanup(func() {
		cancel()
		r.cut()
		if t.Failed() {
			t.Logf("the box said last:\n%s", r.tail(200))
		}
		r.must(r.lab.Close())
	})
	return r
}

// otactl is the operator's tool.
func otactl() string { return filepath.Join(filepath.Dir(parts), "otactl") }

// image is the system image of that name, "2" or "3-panic"; artifact its .swu.
func (b *box) image(name string) string    { return filepath.Join(parts, b.arch, name+".img") }
func (b *box) artifact(name string) string { return filepath.Join(parts, b.arch, name+".swu") }

// format makes the data partition: a file system with otad's settings.
func (r *rig) format(s setup, ca []byte) error {
	access := r.lab.Access()
	c := config.Default()
	c.Device = config.Device{Model: model, Key: "mac:eth0"}
	c.Server.URL, c.Server.AccessKey, c.Server.SecretKeyFile = access.URL, access.AccessKey, "/data/secret"
	c.Firmware.URLKey = access.URLKey
	c.Health.Hooks = "/usr/lib/otad/health.d"
	c.Trust.CA = []string{"/data/ca.pem"}
	c.MQTT.Brokers, c.MQTT.Prefix = []string{"tcp://" + labHost + ":1883"}, access.Prefix
	c.MQTT.KeepAlive = config.Duration(10 * time.Minute) // the box's minutes may be long ones
	c.Policy.CheckEvery = config.Duration(3 * time.Second)
	c.Download.RetryFirst = config.Duration(time.Second)
	c.Board = config.Board{
		Driver: "uboot", Set: "stable", Style: "boot-count", SlotVariable: "slot", SlotArgument: "otad.slot", Canary: true,
		Slots: []config.Slot{
			{Name: "a", Device: "/dev/disk/by-partlabel/slotA", BootName: "A"},
			{Name: "b", Device: "/dev/disk/by-partlabel/slotB", BootName: "B"},
		},
	}
	c.Watchdog = config.Watchdog{Device: "/dev/watchdog", Timeout: config.Duration(10 * time.Second)}
	c.Console.Port = "/dev/ttyS0"
	c.State.Dir = "/data/otad"
	if s.change != nil {
		s.change(&c)
	}
	text, err := toml.Marshal(c)
	if err != nil {
		return err
	}
	tree := filepath.Join(r.dir, "data")
	err = errors.Join(
		os.MkdirAll(tree, 0o755),
		os.WriteFile(filepath.Join(tree, "otad.toml"), text, 0o644),
		os.WriteFile(filepath.Join(tree, "ca.pem"), ca, 0o644),
		os.WriteFile(filepath.Join(tree, "secret"), []byte(access.SecretKey+"\n"), 0o600),
	)
	if err != nil {
		return err
	}
	if s.dataMiB == 0 {
		s.dataMiB = 64
	}
	file := tree + ".img"
	if _, err := run(r.ctx, "mkfs.ext4", "-q", "-m", "0", "-E", "root_owner=0:0", "-d", tree, file, fmt.Sprintf("%dM", s.dataMiB)); err != nil {
		return err
	}
	return put(r.diskFile(), r.disk["data"], file)
}

// must ends the test when something went wrong, or begins it again when the
// machine froze.
func (r *rig) must(err error) {
	r.t.Helper()
	if err == nil {
		return
	}
	if r.ctx.Err() != nil && r.power != nil {
		r.examine()
	}
	r.t.Fatal(err)
}

// run runs a tool within the time of the scenario, and returns what it says.
func (r *rig) run(name string, args ...string) string {
	r.t.Helper()
	out, err := run(r.ctx, name, args...)
	r.must(err)
	return out
}

// publish offers the artifact of that name as a silent update.
func (r *rig) publish(code int64, file string) {
	r.t.Helper()
	_, err := r.lab.Publish(lab.Release{Version: ota.Version{Code: code, Name: fmt.Sprintf("v%d", code)}, Type: ota.UpgradeSilent, File: file})
	r.must(err)
}

// on puts the plug in.
func (r *rig) on() {
	r.t.Helper()
	r.must(r.powerOn())
}

// ends waits until a box that does not restart is off.
func (r *rig) ends() {
	r.t.Helper()
	select {
	case <-r.power.ended:
	case <-r.ctx.Done():
		r.must(r.ctx.Err())
	}
	r.cut()
}

// says waits for a line that matches, after those that were waited for before.
func (r *rig) says(pattern string) string {
	r.t.Helper()
	text, next, err := r.expect(r.ctx, r.heard, pattern)
	r.must(err)
	r.heard = next
	return text
}

// outcome waits for the event that tells how the update to code ended.
func (r *rig) outcome(code int64) ota.Outcome {
	r.t.Helper()
	var found ota.Outcome
	_, err := r.view.Wait(r.ctx, func(m transport.Message) bool {
		var e report.Event
		if !strings.HasSuffix(m.Topic, "/event") || json.Unmarshal(m.Payload, &e) != nil || e.Outcome == nil || e.Outcome.Offer.VersionCode != code {
			return false
		}
		found = *e.Outcome
		return true
	})
	if err != nil {
		r.must(fmt.Errorf("version %d has no outcome: %w", code, err))
	}
	return found
}

// ended wants the update to code to end so.
func (r *rig) ended(code int64, result ota.Phase, failure ota.Code) {
	r.t.Helper()
	o := r.outcome(code)
	got := ota.Code("")
	if o.Failure != nil {
		got = o.Failure.Code
	}
	if o.Result != result || got != failure {
		r.t.Fatalf("update to %d ended %s %q, want %s %q: %+v", code, o.Result, got, result, failure, o.Failure)
	}
}

// rests pulls the plug and wants the disk to be so: the slot permanent, with
// the image of that name in it.
func (r *rig) rests(slot, image string) {
	r.t.Helper()
	r.cut()
	env, err := environment(r.diskFile(), r.disk["env"])
	r.must(err)
	if env["slot"] != slot || env["upgrade_available"] != "0" {
		r.t.Errorf("the environment says %v, want slot %s for good", env, slot)
	}
	whole, err := holds(r.diskFile(), r.disk["slot"+slot], r.image(image))
	r.must(err)
	if !whole {
		r.t.Errorf("slot %s is not image %s", slot, image)
	}
}

// shell opens the line to the root shell on the box's third serial port. The
// function that it returns runs a command there and returns what that says.
func (r *rig) shell() func(command string) string {
	r.t.Helper()
	conn, err := dial(filepath.Join(r.dir, "shell"))
	r.must(err)
	context.AfterFunc(r.ctx, func() { conn.Close() })
	in := bufio.NewReader(conn)
	return func(command string) string {
		r.t.Helper()
		answer, err := ask(conn, in, command)
		r.must(err)
		return answer
	}
}

// ask has a shell run a command.
func ask(conn net.Conn, in *bufio.Reader, command string) (answer string, err error) {
	// The marker is not in the command, so that its echo is no answer.
	if _, err := fmt.Fprintf(conn, "%s; echo EN''D\n", command); err != nil {
		return "", err
	}
	for {
		line, err := in.ReadString('\n')
		// What was said before may have no end of line.
		rest, ended := strings.CutSuffix(strings.TrimRight(line, "\r\n"), "END")
		answer += rest + "\n"
		if ended || err != nil {
			return answer, err
		}
	}
}
