package vbox

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"otad/agent/config"
	"otad/agent/report"
	"otad/cmd/otalab/lab"
	"otad/ota"
	"otad/transport"
	"otad/transport/download/downloadtest"
	"otad/transport/upgradelink/upgradelinktest"
)

// The new system is downloaded to a file, checked, written, tried, confirmed;
// and it is the one that runs after the power was away.
func TestStaged(t *testing.T) {
	scenario(t, setup{runs: 1, always: true}, func(r *rig) {
		r.publish(2, r.artifact("2"))
		r.on()
		r.says(`^boot: starting slot A`)
		r.says(`^boot: slot B on trial, try 1 of 3`)
		r.says(`msg="update ended".*result=confirmed version=2`)
		r.ended(2, ota.PhaseConfirmed, "")
		r.rests("B", "2")
		r.on()
		r.says(`^boot: starting slot B`)
		r.says(`msg=started version=2 slot=b trial=false phase=idle`)
	})
}

// asked is a setup in which a box does not ask the server by itself.
func asked(c *config.Config) { c.Policy.CheckEvery = config.Duration(24 * time.Hour) }

func TestMQTTTriggered(t *testing.T) {
	scenario(t, setup{runs: 1, change: asked}, func(r *rig) {
		r.publish(2, r.artifact("2"))
		r.on()
		r.says(`msg="MQTT connection is up"`)
		out := r.run(otactl(), "send", "upgrade", "--box", model+"/"+mac, "--now", "--wait", "--timeout", limit.String(), "--broker", r.lab.Broker.URL())
		if !strings.Contains(out, "confirmed") {
			r.t.Errorf("otactl send said: %s", out)
		}
		if o := r.outcome(2); o.Result != ota.PhaseConfirmed || !strings.HasPrefix(o.By, "mqtt:") {
			r.t.Errorf("outcome %+v, want confirmed by mqtt", o)
		}
		r.rests("B", "2")
	})
}

func TestSerialTriggered(t *testing.T) {
	scenario(t, setup{runs: 1, change: asked}, func(r *rig) {
		r.publish(2, r.artifact("2"))
		r.on()
		r.says(`msg=started`)
		port, err := r.power.qmp.consolePort()
		r.must(err)
		out := r.run(otactl(), "serial", "--port", port, "--baud", "115200", "upgrade", "--yes", "--wait")
		if !strings.Contains(out, "confirmed") {
			r.t.Errorf("otactl serial said: %s", out)
		}
		if o := r.outcome(2); o.Result != ota.PhaseConfirmed || o.By != "console" {
			r.t.Errorf("outcome %+v, want confirmed by console", o)
		}
		r.rests("B", "2")
	})
}

// rollsBack tries a version 3 that does not come up: three tries, each of
// which ends as the pattern says, then 2 runs again.
func rollsBack(r *rig, image, pattern string) {
	r.publish(3, r.artifact(image))
	r.on()
	for _, try := range []string{"1", "2", "3"} {
		r.says(`^boot: slot B on trial, try ` + try + ` of 3`)
		r.says(pattern)
	}
	r.says(`^boot: slot B has used up its 3 tries`)
	r.says(`^boot: starting slot A`)
	r.ended(3, ota.PhaseRolledBack, ota.CodeNeverCameUp)
	r.rests("A", "2")
	if tries := r.count(`^boot: starting slot B`); tries != 3 {
		r.t.Errorf("slot B was started %d times", tries)
	}
}

func TestKernelPanic(t *testing.T) {
	scenario(t, setup{runs: 2, always: true}, func(r *rig) { rollsBack(r, "3-panic", `initramfs: broken: panic`) })
}

// The system hangs before otad starts; the watchdog runs already.
func TestHang(t *testing.T) {
	scenario(t, setup{runs: 2, always: true}, func(r *rig) { rollsBack(r, "3-hang", `box: broken: hang`) })
}

// The system hangs before Linux has a driver for the watchdog: the boot script
// started it.
func TestHangEarly(t *testing.T) {
	scenario(t, setup{runs: 2, only: "arm64"}, func(r *rig) { rollsBack(r, "3-hang-early", `initramfs: broken: hang`) })
}

// All is well but otad, which nobody would update any more: it does not feed
// the watchdog.
func TestWithoutOtad(t *testing.T) {
	scenario(t, setup{runs: 2}, func(r *rig) { rollsBack(r, "3-no-otad", `box: version 3`) })
}

func TestUnhealthy(t *testing.T) {
	scenario(t, setup{runs: 2}, func(r *rig) {
		r.publish(3, r.artifact("3-unhealthy"))
		r.on()
		r.says(`^boot: slot B on trial, try 1 of 3`)
		r.says(`^boot: starting slot A`)
		r.ended(3, ota.PhaseRolledBack, ota.CodeUnhealthy)
		r.rests("A", "2")
	})
}

// The network is away from before the first boot of the new system on. That is
// no reason to give it up, and what happened is told when the network is back.
func TestNetworkDeadOnTrial(t *testing.T) {
	scenario(t, setup{runs: 1}, func(r *rig) {
		r.publish(2, r.artifact("2"))
		r.on()
		r.says(`^boot: slot B on trial, try 1 of 3`)
		r.must(r.power.qmp.link(false))
		r.says(`msg="update ended".*result=confirmed version=2`)
		for _, m := range r.view.Messages() {
			var e report.Event
			if json.Unmarshal(m.Payload, &e) == nil && e.Outcome != nil {
				r.t.Errorf("an outcome came through a pulled cable: %s", m.Payload)
			}
		}
		r.must(r.power.qmp.link(true))
		r.ended(2, ota.PhaseConfirmed, "")
		r.rests("B", "2")
	})
}

// An artifact that was tampered with is refused before the slot is touched.
func TestTampered(t *testing.T) {
	scenario(t, setup{runs: 1}, func(r *rig) {
		bad := filepath.Join(r.dir, "2.swu")
		r.must(copyDisk(r.artifact("2"), bad))
		r.must(lab.Tamper(bad))
		r.publish(2, bad)
		r.on()
		r.ended(2, ota.PhaseFailed, ota.CodeArtifactHash)
		r.rests("A", "1")
		if empty, err := zeros(r.diskFile(), r.disk["slotB"]); err != nil || !empty {
			r.t.Errorf("slot B was touched (%v)", err)
		}
	})
}

// The environment is gone: the box starts, tries what it has, keeps what
// works, has both copies again, and can be updated.
func TestEnvironmentWiped(t *testing.T) {
	scenario(t, setup{runs: 1}, func(r *rig) {
		r.must(wipe(r.diskFile(), r.disk["env"]))
		r.on()
		r.says(`^boot: no good environment`)
		r.says(`^boot: slot A on trial, try 1 of 3`)
		r.says(`msg="update ended".*result=confirmed version=1`) // nothing was offered
		r.publish(2, r.artifact("2"))
		r.says(`msg="update ended".*result=confirmed version=2`)
		r.rests("B", "2")
		for _, copy := range []int64{0, 0x4000} {
			p := r.disk["env"]
			good, err := goodCopy(r.diskFile(), p.offset+copy)
			r.must(err)
			if !good {
				r.t.Errorf("the copy of the environment at %#x was not repaired", copy)
			}
		}
	})
}

// A try that cannot be counted is not made: the flash refuses every write to the
// environment from the moment the new slot is armed. With a good flash again the
// update goes its way.
func TestTryNotCounted(t *testing.T) {
	scenario(t, setup{runs: 1}, func(r *rig) {
		r.publish(2, r.artifact("2"))
		r.once = true
		r.on()
		r.says(`msg=restart`)
		r.ends()

		env := r.disk["env"].offset / 512
		r.block = blockWithErrors(r.diskFile(), env, env+0x4000/512)
		r.once = false
		r.on()
		r.says(`^boot: the try cannot be counted`)
		r.says(`^boot: starting slot A`)
		r.says(`msg=started version=1 slot=a trial=false`)
		if r.count(`^boot: starting slot B`) != 0 {
			r.t.Error("slot B was started")
		}
		r.cut()

		r.block = nil
		r.on()
		r.says(`^boot: slot B on trial, try 1 of 3`)
		r.says(`msg="update ended".*result=confirmed`)
		r.rests("B", "2")
	})
}

// There is no room for the artifact: it goes from the network into the slot.
func TestStreamed(t *testing.T) {
	scenario(t, setup{runs: 1, dataMiB: 8}, func(r *rig) {
		r.publish(2, r.artifact("2"))
		r.on()
		r.says(`no room to stage the artifact, it will be streamed`)
		r.says(`msg="update ended".*result=confirmed version=2`)
		r.ended(2, ota.PhaseConfirmed, "")
		r.rests("B", "2")
	})
}

// The new system comes as a delta: what the old one has is copied, the rest is
// fetched, less than a tenth of the image.
func TestDelta(t *testing.T) {
	scenario(t, setup{runs: 1}, func(r *rig) {
		chunks, err := downloadtest.Disk(filepath.Join(parts, r.arch, "2-delta-rootfs.zck"))
		r.must(err)
		r.lab.Host.Add("/fw/2/2-delta-rootfs.zck", chunks)
		r.publish(2, r.artifact("2-delta"))
		r.on()
		var image, fetched int64
		line := r.says(`msg=delta .*image=\d+ to_fetch=\d+`)
		_, err = fmt.Sscanf(line[strings.Index(line, "image="):], "image=%d to_fetch=%d", &image, &fetched)
		r.must(err)
		if fetched > image/10 {
			r.t.Errorf("%d of %d bytes were fetched", fetched, image)
		}
		r.says(`msg="update ended".*result=confirmed version=2`)
		r.ended(2, ota.PhaseConfirmed, "")
		r.rests("B", "2")
	})
}

// What the operator sets reaches the box and its application, without a
// restart, and is there after one.
func TestConfigurationChange(t *testing.T) {
	const key = "lab-settings"
	channel := func(c *config.Config) {
		c.Configuration.Key, c.Configuration.Apply = key, "/usr/lib/otad/apply-config"
	}
	scenario(t, setup{runs: 1, change: channel}, func(r *rig) {
		r.lab.API.Publish(upgradelinktest.Configuration, key,
			upgradelinktest.Version{Code: 2, Content: json.RawMessage(`{"channels":["one","two"]}`)},
			upgradelinktest.Strategy{UpgradeType: int(ota.UpgradeSilent)})
		r.on()
		// applied waits until the box says that it runs the settings of version 2.
		applied := func() {
			r.t.Helper()
			_, err := r.view.Wait(r.ctx, func(m transport.Message) bool {
				var s report.State
				return strings.HasSuffix(m.Topic, "/state") && json.Unmarshal(m.Payload, &s) == nil &&
					s.Configuration != nil && s.Configuration.Version.Code == 2
			})
			r.must(err)
		}
		applied()
		if got := r.shell()("cat /data/app.json"); !strings.Contains(got, `"channels":["one","two"]`) {
			r.t.Errorf("the application got %q", got)
		}
		if r.boots != 1 {
			r.t.Errorf("the box was started %d times", r.boots)
		}
		r.cut()
		r.on()
		r.says(`msg=started`)
		r.says(`msg=started`)
		if got := r.shell()("cat /data/app.json"); !strings.Contains(got, `"channels":["one","two"]`) {
			r.t.Errorf("after a power cut the application has %q", got)
		}
		r.rests("A", "1")
	})
}
