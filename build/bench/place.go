package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

const (
	slotMiB = 576
	tempMiB = 1536
	webPort = "28080"
	mqtPort = "28083"
	model   = "stb-bench"
)

// place is the box that is played, and the servers that it uses: slots on loop
// devices over memory, so that what is measured is the installer and not this
// machine's disk.
type place struct {
	options
	fw, art, keys, run, temp string
	slotA, slotB             string // loop devices
	root                     string // of Mender: it wants to see slot A as its root
	servers                  []*exec.Cmd
	loops                    []string
	inA                      string // what slot A holds
	digests                  map[string]digest
}

func newPlace(o options) (*place, error) {
	dir, err := filepath.Abs(o.dir)
	if err != nil {
		return nil, err
	}
	p := &place{options: o, fw: dir + "/fw", art: dir + "/art", keys: dir + "/keys", run: dir + "/run", temp: dir + "/run/temp",
		digests: map[string]digest{}}
	for _, program := range []*string{&p.otad, &p.otactl} {
		if *program, err = filepath.Abs(*program); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// open makes the place.
func (p *place) open() error {
	if err := os.RemoveAll(p.run); err != nil {
		return err
	}
	for _, dir := range []string{p.temp, p.run + "/ram", p.run + "/bin"} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	for _, step := range []func() error{p.mounts, p.slots, p.artifacts, p.configure, p.serve} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// mounts makes a file system for temporary files, whose use is measured, and one
// for the slots; and gives the box an /etc that can be written to.
func (p *place) mounts() error {
	ram := p.run + "/ram"
	return errors.Join(
		syscall.Mount("temp", p.temp, "tmpfs", 0, fmt.Sprintf("size=%dm,mode=1777", tempMiB)),
		syscall.Mount("ram", ram, "tmpfs", 0, "size=4g"),
		os.Mkdir(ram+"/etc", 0o755),
		os.Mkdir(ram+"/etc-work", 0o755),
		syscall.Mount("etc", "/etc", "overlay", 0, "lowerdir=/etc,upperdir="+ram+"/etc,workdir="+ram+"/etc-work"))
}

// slots makes both, and a small one for the root that Mender believes in.
func (p *place) slots() (err error) {
	if p.slotA, err = p.loop("a", slotMiB); err != nil {
		return err
	}
	if p.slotB, err = p.loop("b", slotMiB); err != nil {
		return err
	}
	p.root, err = p.loop("root", 16)
	return err
}

// loop makes a loop device over a file in memory, all of it allocated: the first
// install is not slower than the next.
func (p *place) loop(name string, mebibytes int) (string, error) {
	file := p.run + "/ram/" + name
	if err := sh("dd if=/dev/zero of=%s bs=1M count=%d status=none", file, mebibytes); err != nil {
		return "", err
	}
	device, err := exec.Command("losetup", "-f", "--show", file).Output()
	if err != nil {
		return "", fmt.Errorf("cannot make a slot: %w", err)
	}
	p.loops = append(p.loops, strings.TrimSpace(string(device)))
	return p.loops[len(p.loops)-1], nil
}

// artifacts packages the firmware. Names of slots are signed in some, so they go
// by names that stay the same from run to run.
func (p *place) artifacts() error {
	links := map[string]string{"/dev/otad-bench-a": p.slotA, "/dev/otad-bench-b": p.slotB}
	for name, device := range links {
		os.Remove(name)
		if err := os.Symlink(device, name); err != nil {
			return err
		}
	}
	if _, err := os.Stat("build/bench/artifacts.sh"); err != nil {
		return fmt.Errorf("bench is run from the root of the project: %w", err)
	}
	return sh("SLOTA=/dev/otad-bench-a SLOTB=/dev/otad-bench-b URL=http://127.0.0.1:%s build/bench/artifacts.sh %s %s",
		webPort, filepath.Dir(p.run), p.otactl)
}

// serve starts the web server, the broker and, for RAUC, a bus.
func (p *place) serve() error {
	log, err := os.Create(p.run + "/servers.log")
	if err != nil {
		return err
	}
	defer log.Close()
	for _, s := range []struct {
		wait    string // an address that answers when it is ready
		command []string
	}{
		{"tcp 127.0.0.1:" + webPort, []string{"nginx", "-c", p.run + "/nginx.conf", "-p", p.run}},
		{"tcp 127.0.0.1:" + mqtPort, []string{"mosquitto", "-c", p.run + "/mosquitto.conf"}},
		{"unix " + p.run + "/dbus.sock", []string{"dbus-daemon", "--config-file=" + p.run + "/dbus.conf", "--nofork", "--nopidfile"}},
	} {
		server := exec.Command(s.command[0], s.command[1:]...)
		server.Stderr = log
		server.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
		if err := server.Start(); err != nil {
			return err
		}
		p.servers = append(p.servers, server)
		network, address, _ := strings.Cut(s.wait, " ")
		if err := answers(network, address); err != nil {
			return fmt.Errorf("cannot start %s: %w; see %s", s.command[0], err, log.Name())
		}
	}
	return nil
}

func answers(network, address string) error {
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		c, err := net.Dial(network, address)
		if err == nil {
			return c.Close()
		}
		if time.Now().After(deadline) {
			return err
		}
	}
}

// close ends the servers and frees the loop devices. The mounts end with this
// program.
func (p *place) close() {
	for _, s := range p.servers {
		_ = s.Process.Signal(syscall.SIGTERM)
		_ = s.Wait()
	}
	os.Remove("/dev/otad-bench-a")
	os.Remove("/dev/otad-bench-b")
	for _, device := range p.loops {
		_ = sh("umount -q -l %s; losetup -d %s", device, device)
	}
}

// words fills in the places of a command.
func (p *place) words(text, art string) string {
	return strings.NewReplacer("{file}", p.art+"/"+art, "{url}", "http://127.0.0.1:"+webPort+"/"+art,
		"{target}", p.slotB, "{run}", p.run, "{keys}", p.keys, "{temp}", p.temp).Replace(text)
}

// sh runs a command of the shell; what it says is part of the error.
func sh(format string, args ...any) error {
	command := fmt.Sprintf(format, args...)
	if out, err := exec.Command("bash", "-c", command).CombinedOutput(); err != nil {
		return fmt.Errorf("cannot do %q: %w: %s", command, err, strings.TrimSpace(string(out)))
	}
	return nil
}

// said is the first line that a command says; empty if it fails.
func said(command string) string {
	out, _ := exec.Command("bash", "-c", command).Output()
	first, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
	return first
}
