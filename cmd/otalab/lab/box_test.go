package lab

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"otad/agent/config"
	"otad/board/sim"
	"otad/ota"
	"otad/ota/durable"
)

// standIn is an otad that says that it is there and waits for better days. The
// tests do the board's acts in its place.
const standIn = `#!/bin/sh
read -r version < etc/otad/version
echo $$ > "$(dirname "$3")/pid"
echo "otad $version up" >&2
exec sleep 600
`

// tape collects lines and lets a test wait for one.
type tape struct {
	t     *testing.T
	lines chan string
}

func newTape(t *testing.T) *tape { return &tape{t, make(chan string, 1000)} }

func (l *tape) Write(p []byte) (int, error) {
	for line := range bytes.Lines(p) {
		l.lines <- strings.TrimSpace(string(line))
	}
	return len(p), nil
}

// await returns when a line with text came; lines before it are passed over.
func (l *tape) await(text string) {
	l.t.Helper()
	timeout := time.After(20 * time.Second)
	for {
		select {
		case line := <-l.lines:
			l.t.Log(line)
			if strings.Contains(line, text) {
				return
			}
		case <-timeout:
			l.t.Fatalf("%q never came", text)
		}
	}
}

// rig is a box that runs version 1, with a version 2 to flash.
type rig struct {
	*Box
	*tape
	board *sim.Board
}

func newRig(t *testing.T, agent string) *rig {
	t.Helper()
	dir := t.TempDir()
	box, err := Create(filepath.Join(dir, "box"), Factory{
		Model: "stv1", Device: "02:00:00:00:00:01", Revision: "1.0",
		Image: image(t, 1, agent), SlotBytes: 4 << 20,
		TrustedCA: []byte("PEM"),
		Access: Access{URL: "http://127.0.0.1:1", AccessKey: "ak", SecretKey: "sk", URLKey: "uk",
			Brokers: []string{"tcp://127.0.0.1:1"}, Prefix: "otad"},
		Policy: config.Default().Policy,
	})
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{Box: box, tape: newTape(t)}
	box.Log = r.tape
	box.Console = func(line string) { r.lines <- line }
	if r.board, err = sim.Open(durable.OS, filepath.Join(dir, "box")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		box.PullPlug()
		r.wantNothingRunning()
	})
	return r
}

// image builds a small system with the given script as its otad.
func image(t *testing.T, code int64, agent string) string {
	t.Helper()
	dir := t.TempDir()
	system := System{Version: ota.Version{Code: code}, Health: Healthy}
	if agent != "" {
		system.Agent = filepath.Join(dir, "otad")
		if err := os.WriteFile(system.Agent, []byte(agent), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	name := filepath.Join(dir, "image")
	if err := system.Build(name); err != nil {
		t.Fatal(err)
	}
	return name
}

func (r *rig) pid() int {
	r.t.Helper()
	text, err := os.ReadFile(filepath.Join(r.dir, "pid"))
	if errors.Is(err, os.ErrNotExist) {
		return 0
	}
	pid, parseErr := strconv.Atoi(strings.TrimSpace(string(text)))
	if err := errors.Join(err, parseErr); err != nil {
		r.t.Fatal(err)
	}
	return pid
}

func (r *rig) wantNothingRunning() {
	r.t.Helper()
	if pid := r.pid(); pid != 0 && !errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
		r.t.Errorf("process %d still runs", pid)
	}
}

func (r *rig) wantBoot(slot string, trial bool) {
	r.t.Helper()
	boot, err := r.board.Current(r.t.Context())
	if err != nil || boot.Slot != slot || boot.Trial != trial {
		r.t.Errorf("got %+v and %v, want slot %s, trial %t", boot, err, slot, trial)
	}
}

func (r *rig) do(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
}

// update flashes an image into slot b and asks for a reboot into it.
func (r *rig) update(image string) {
	r.t.Helper()
	r.do(r.flash("b", image))
	r.do(r.board.Arm(r.t.Context(), "b"))
	r.do(r.board.Reboot(r.t.Context(), "update"))
}

func TestKilledAgentComesBack(t *testing.T) {
	t.Parallel()
	r := newRig(t, standIn)
	r.PowerOn()
	r.await("otad 1 up")
	first := r.pid()
	r.KillAgent()
	r.await("init: otad ended: signal: killed")
	r.await("otad 1 up")
	if r.pid() == first {
		t.Error("otad was not started again")
	}
	r.PullPlug()
	r.await("power: off")
	r.wantNothingRunning()
	r.PullPlug() // twice is once
	r.KillAgent()
	r.PowerOn()
	r.await("otad 1 up")
	r.wantBoot("a", false)
}

func TestUpdateConfirmed(t *testing.T) {
	t.Parallel()
	r := newRig(t, standIn)
	r.PowerOn()
	r.await("otad 1 up")
	r.update(image(t, 2, standIn))
	r.await("init: rebooting: update") // though the stand-in did not end by itself
	r.await("otad 2 up")
	r.wantBoot("b", true)
	r.do(r.board.Confirm(t.Context()))
	for range sim.Tries {
		r.PullPlug()
		r.PowerOn()
		r.await("otad 2 up")
		r.wantBoot("b", false)
	}
}

func TestUpdateFallsBack(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name  string
		agent string
		image bool
		panic string
	}{
		{"no file system", "", false, "kernel: panic: cannot mount"},
		{"no otad", "", true, "kernel: panic: no init"},
		{"an otad that is no program", "\x00\x01\x02\x03", true, "kernel: panic: no init"},
		{"an otad that does not stay up", "#!/bin/sh\nexit 1\n", true, "kernel: panic: init: otad does not stay up"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, standIn)
			r.PowerOn()
			r.await("otad 1 up")
			update := filepath.Join(t.TempDir(), "garbage")
			if test.image {
				update = image(t, 2, test.agent)
			} else {
				r.do(os.WriteFile(update, bytes.Repeat([]byte("garbage"), 1000), 0o644))
			}
			r.update(update)
			for range sim.Tries {
				r.await("bootloader: starting slot b")
				r.await(test.panic)
			}
			r.await("bootloader: starting slot a")
			r.await("otad 1 up")
			r.wantBoot("a", false)
		})
	}
}

func TestConfiguration(t *testing.T) {
	t.Parallel()
	r := newRig(t, standIn)
	c, err := config.Load(r.ConfigFile())
	r.do(err)
	if c.Device.Key != "02:00:00:00:00:01" || c.Board.Dir != r.dir {
		t.Errorf("got %+v", c)
	}
	secret, err := config.ReadSecret(c.Server.SecretKeyFile)
	if err != nil || secret != "sk" {
		t.Errorf("got secret %q and %v, want sk", secret, err)
	}
}

func TestCreateRefuses(t *testing.T) {
	t.Parallel()
	r := newRig(t, standIn)
	if _, err := Create(r.dir, Factory{Image: image(t, 1, ""), SlotBytes: 1 << 20}); err == nil {
		t.Error("a box that is there: got no error")
	}
	big := filepath.Join(t.TempDir(), "big")
	r.do(os.WriteFile(big, make([]byte, 2<<20), 0o644))
	if _, err := Create(t.TempDir(), Factory{Image: big, SlotBytes: 1 << 20}); err == nil {
		t.Error("an image larger than the slot: got no error")
	}
}

func TestSystemIsFilled(t *testing.T) {
	t.Parallel()
	name := filepath.Join(t.TempDir(), "image")
	if err := (System{Version: ota.Version{Code: 7, Name: "v7"}, Health: Broken, SizeBytes: 8 << 20}).Build(name); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(name)
	if err != nil || info.Size() < 8<<20 || info.Size() > 9<<20 {
		t.Errorf("got %v and %v, want 8 MiB and a little", info, err)
	}
}
