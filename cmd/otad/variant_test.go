package main_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"otad/agent/config"
	"otad/agent/report"
	"otad/board/sim"
	"otad/board/uboot/uboottest"
	"otad/build/tooltest"
	"otad/cmd/internal/cli"
	"otad/ota"
	"otad/ota/durable"
)

const withBootEnv = `software = { version = "2"; hardware-compatibility = ["#RE:.*"];
	images: ( { filename = "payload0"; sha256 = "%s"; } );
	bootenv: ( { name = "NAME"; value = "new = 1"; }, { name = "gone"; value = ""; } ); }`

// The variables of an artifact are in U-Boot's environment with the armed slot,
// where Debian's fw_printenv finds them, and those of the boot script are refused, unless they only repeat what otad writes.
func TestBootEnvOnUBoot(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	b := newUBootBox(t, s, slotBytes, "boot-order", []uboottest.Region{{File: "boot/uboot.env"}, {File: "boot/redund.env"}}, quiet)
	m := b.machine.(ubootMachine)
	m.Set("gone", "still here")
	two := system{code: 2}.image()
	for name, words := range map[string]string{"BOOT_ORDER": "line 3", "BOOT_B_LEFT": "chooses the slot or counts", "otad_trial": "BOOT"} {
		b.write("own.swu", described(t, authority(), strings.Replace(withBootEnv, "NAME", name, 1), two))
		if words == "BOOT" {
			words = "otad_trial"
		}
		b.otad("install", "own.swu", "--yes").want(cli.Failed, name, words)
	}
	// As made for SWUpdate: it arms the slot itself, in the words of the boot script.
	alsoArms := strings.NewReplacer("NAME", "splash", `{ name = "gone"`,
		`{ name = "BOOT_ORDER"; value = "B A"; }, { name = "BOOT_B_LEFT"; value = "3"; }, { name = "ustate"; value = "1"; }, { name = "gone"`)
	b.write("2.swu", described(t, authority(), alsoArms.Replace(withBootEnv), two))
	b.otad("install", "2.swu", "--yes").want(cli.RebootNeeded)
	printenv := tooltest.Path(t, "fw_printenv")
	out, err := exec.Command(printenv, "-c", filepath.Join(m.Root, "etc/fw_env.config")).CombinedOutput()
	must(t, err)
	for _, line := range []string{"splash=new = 1\n", "ustate=1\n", "BOOT_ORDER=B A\n", "BOOT_B_LEFT=3\n"} {
		if !strings.Contains(string(out), line) {
			t.Errorf("fw_printenv lacks %q:\n%s", line, out)
		}
	}
	if strings.Contains(string(out), "gone=") {
		t.Errorf("gone is there still:\n%s", out)
	}
	if _, err := os.Stat(b.path("state/bootenv")); !os.IsNotExist(err) {
		t.Errorf("the variables wait still: %v", err)
	}
	b.boot()
	last, service := b.live(func(s report.State) bool {
		return s.Last != nil && s.Last.Result == ota.PhaseConfirmed && s.Phase == ota.PhaseIdle
	})
	service.stop()
	if last.Slot != "b" || m.Get("splash") != "new = 1" {
		t.Errorf("slot %s, splash %q", last.Slot, m.Get("splash"))
	}
}

const kernelBytes = 300 << 10

func kernelOf(code int64) []byte {
	kernel := make([]byte, kernelBytes)
	_, _ = rand.NewChaCha8([32]byte{byte(code), 9}).Read(kernel) // never fails
	return kernel
}

// withKernel is a set for each copy, as builds write it.
const withKernel = `software = { version = "2"; hardware-compatibility = ["#RE:.*"]; stable = {
	copy1 = { images: ( { filename = "payload0"; device = "/dev/sim-a"; sha256 = "%[1]s"; }, { filename = "payload1"; device = "/dev/sim-a-kernel"; sha256 = "%[2]s"; } ); };
	copy2 = { images: ( { filename = "payload0"; device = "/dev/sim-b"; sha256 = "%[1]s"; }, { filename = "payload1"; device = "DEVICE"; sha256 = "%[2]s"; } ); }; }; }`

// A slot of two parts is written and armed as one, whatever instant otad dies at.
func TestSetIsArmedAsOne(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	must(t, sim.AddPart(durable.OS, w.path("board"), "kernel", 512<<10))
	w.configure(quiet)
	machine := w.machine.(*sim.Machine)
	two, kernel := system{code: 2}.image(), kernelOf(2)
	set := described(t, authority(), strings.Replace(withKernel, "DEVICE", "/dev/sim-b-kernel", 1), two, kernel)
	before := w.condition()

	w.write("rootfs.swu", w.good)
	w.otad("install", "rootfs.swu", "--yes").want(cli.Failed, `part "kernel" (/dev/sim-b-kernel)`)
	w.write("active.swu", described(t, authority(), strings.Replace(withKernel, "DEVICE", "/dev/sim-a-kernel", 1), two, kernel))
	w.otad("install", "active.swu", "--yes").want(cli.Failed, `to "/dev/sim-a-kernel": it is not the idle slot`)
	if w.condition() != before {
		t.Error("a refused set changed the box")
	}
	url, _ := w.site.serve("set.swu", set)
	w.site.offer(2, url)
	w.configure(func(c *config.Config) { c.Download.LimitIdle = 8 << 20 })
	whole := func() bool {
		return w.holds("b", two) && bytes.HasPrefix(w.read(machine.PartPath("b", "kernel")), kernel)
	}
	kills, partly := 0, 0
	for delay := 20 * time.Millisecond; w.condition().boot.Next != "b" && kills < 40; delay += 15 * time.Millisecond {
		w.killAfter(delay)
		kills++
		switch armed := w.condition().boot.Next == "b"; {
		case armed && !whole():
			t.Fatalf("after %d kills the set is armed and not whole", kills)
		case !armed && w.holds("b", two[:len(two)/2]) && !whole():
			partly++
		}
	}
	t.Logf("%d kills, %d of them with a part of the set written", kills, partly)
	last, service := w.live(ended(2))
	service.stop()
	if last.Last.Result != ota.PhaseConfirmed || last.Slot != "b" || !whole() {
		t.Errorf("ended with %+v in slot %s", last.Last, last.Slot)
	}
}

// rescueBox runs system 1 in slot a; the rescue system is version 0,
// and its health hook would fail.
func rescueBox(t *testing.T, s *site) *box {
	t.Helper()
	return assemble(t, "", s, func(b *box) machine {
		must(t, sim.Create(durable.OS, b.path("board"), slotBytes, "a", "rescue"))
		m, err := sim.NewMachine(durable.OS, b.path("board"))
		must(t, err)
		b.machine = m
		b.flash("a", system{code: 1}.image())
		b.flash("rescue", rescueSystem.image())
		return m
	}, func(c *config.Config) { c.Board.Rescue = "rescue" })
}

var rescueSystem = system{code: 9, health: "exit 1"}

// The whole life of a box with one system and a rescue system.
func TestRescueInstalls(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, health string
		result       ota.Phase
		slot         string
	}{
		{"the new system works", "exit 0", ota.PhaseConfirmed, "a"},
		{"the new system is not healthy", "exit 1", ota.PhaseRolledBack, "rescue"},
		{"the new system does not come up", hangs, ota.PhaseRolledBack, "rescue"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			b := rescueBox(t, s)
			var booted []string
			b.booted = func(slot string) { booted = append(booted, slot) }
			s.release(t, system{code: 2, health: c.health})
			last, service := b.live(ended(2))
			if last.Last.Result != c.result || last.Slot != c.slot || booted[0] != "rescue" || booted[1] != "a" {
				t.Errorf("ended with %+v in slot %s after %q", last.Last, last.Slot, booted)
			}
			if !b.holds("rescue", rescueSystem.image()) {
				t.Error("the rescue slot was written")
			}
			if c.slot == "rescue" { // a version that works brings the main system back
				if !strings.Contains(last.Reason, "rescue system runs") {
					t.Errorf("the reason is %q", last.Reason)
				}
				s.release(t, system{code: 10})
				service.stop()
				last, service = b.live(ended(10))
				if last.Last.Result != ota.PhaseConfirmed || last.Slot != "a" {
					t.Errorf("ended with %+v in slot %s", last.Last, last.Slot)
				}
			}
			service.stop()
			b.otad("rollback", "--yes").want(cli.Failed, "one system and a rescue system", "--below-floor")
		})
	}
}

// otad is killed and the power cut again and again, in both systems.
func TestRescueSurvivesKills(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	b := rescueBox(t, s)
	s.release(t, system{code: 2})
	for i := range 12 {
		b.killAfter(time.Duration(40+25*i) * time.Millisecond)
		if i%3 == 2 {
			b.boot()
		}
	}
	last, service := b.live(ended(2))
	service.stop()
	if last.Last.Result != ota.PhaseConfirmed || last.Slot != "a" || last.Version.Code != 2 {
		t.Errorf("ended with %+v in slot %s", last.Last, last.Slot)
	}
}

// A damaged artifact that is found out in the rescue system leaves the main
// system as it was, and the box goes back to it.
func TestRescueGivesUpAndGoesBack(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	b := rescueBox(t, s)
	b.configure(quiet, func(c *config.Config) { c.Board.Rescue = "rescue" })
	b.write("2.swu", system{code: 2}.artifact(t))
	b.otad("install", "2.swu", "--yes").want(cli.RebootNeeded)
	must(t, os.Remove(b.path("2.swu")))
	if slot := b.boot(); slot != "rescue" {
		t.Fatalf("slot %s was started", slot)
	}
	last, service := b.live(func(s report.State) bool { return s.Slot == "a" && s.Phase == ota.PhaseIdle && !s.Trial })
	service.stop()
	if !b.holds("a", system{code: 1}.image()) || last.Version.Code != 1 {
		t.Errorf("the main system is not what it was: %+v", last)
	}
	list := b.history()
	if len(list) != 2 || list[1].Result != ota.PhaseFailed || list[1].Failure.Code != ota.CodeFirmwareNotFound {
		t.Errorf("history %+v", list)
	}
}

const filesOnly = `software = { version = "2"; hardware-compatibility = ["#RE:.*"]; REBOOT
	files: ( { filename = "payload0"; path = "PATH"; sha256 = "%s"; } );
	vars: ( { name = "colour"; value = "red"; } ); }`

// Files alone change the running system: nothing is armed, and vars count once
// the box is found healthy.
func TestFilesAlone(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, reboot, health string
		result               ota.Phase
	}{
		{"with a restart", "", "exit 0", ota.PhaseConfirmed},
		{"without one", "reboot = false;", "exit 0", ota.PhaseConfirmed},
		{"not healthy", "", "exit 1", ota.PhaseFailed},
		{"not healthy, without a restart", "reboot = false;", "exit 1", ota.PhaseFailed},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			must(t, os.Mkdir(w.path("data"), 0o755))
			edit := func(cfg *config.Config) {
				cfg.Install.Directories, cfg.Install.Vars = []string{w.path("data")}, w.path("state/vars")
			}
			w.configure(edit)
			must(t, os.WriteFile(w.path("health.d/10-app"), []byte("#!/bin/sh\n"+c.health+"\n"), 0o755))
			before := w.condition()
			text := strings.NewReplacer("REBOOT", c.reboot, "PATH", w.path("data/app.conf")).Replace(filesOnly)
			url, file := w.site.serve("files.swu", described(t, authority(), text, []byte("setting")))
			w.site.offer(2, url)
			boots := 0
			w.booted = func(string) {
				boots++
				must(t, os.WriteFile(w.path("health.d/10-app"), []byte("#!/bin/sh\n"+c.health+"\n"), 0o755))
			}
			last, service := w.live(ended(2))
			service.stop()
			if last.Last.Result != c.result || last.Last.Slot != "" || last.Slot != "a" || last.Floor != "" {
				t.Errorf("ended with %+v, floor %q", last.Last, last.Floor)
			}
			if want := c.reboot == ""; (boots == 1) != want {
				t.Errorf("%d restarts", boots)
			}
			if got := string(w.read(w.path("data/app.conf"))); got != "setting" {
				t.Errorf("the file holds %q", got)
			}
			vars, _ := os.ReadFile(w.path("state/vars")) // else there are none
			if want := c.result == ota.PhaseConfirmed; (string(vars) == "colour=red\n") != want {
				t.Errorf("vars are %q", vars)
			}
			after := w.condition()
			if before.boot.ID, after.boot.ID = "", ""; before != after {
				t.Errorf("slots or bootloader changed: %+v, then %+v", before, after)
			}
			// The server goes on offering it; it is not fetched again.
			served := file.Stats().BytesServed
			again := w.start()
			again.await(func(s report.State) bool { return s.Checked != nil && s.Phase == ota.PhaseIdle })
			again.stop()
			if more := file.Stats().BytesServed - served; more > 0 {
				t.Errorf("%d bytes were fetched again", more)
			}
			if c.result == ota.PhaseConfirmed {
				w.otad("check").want(cli.Nothing, "in place already")
			}
		})
	}
}

// An artifact that asks for no restart is armed and waits for one.
func TestNoReboot(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	url, _ := w.site.serve("stay.swu", described(t, authority(), `software = { version = "2"; hardware-compatibility = ["#RE:.*"]; reboot = false;
	images: ( { filename = "payload0"; sha256 = "%s"; } ); }`, w.two.image()))
	w.site.offer(2, url)
	s := w.start()
	s.await(func(s report.State) bool {
		return s.Phase == ota.PhaseArmed && strings.Contains(s.Reason, "no restart")
	})
	s.stop()
	if reason := w.rebootWanted(); reason != "" {
		t.Errorf("it asked for a restart: %q", reason)
	}
	w.boot() // the viewer pulls the plug
	last, service := w.live(ended(2))
	service.stop()
	if last.Last.Result != ota.PhaseConfirmed || last.Slot != "b" {
		t.Errorf("ended with %+v", last.Last)
	}
	fmt.Fprintln(t.Output(), last.Reason)
}
