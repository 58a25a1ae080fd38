package main_test

import (
	"bytes"
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"otad/agent/config"
	"otad/agent/control"
	"otad/cmd/internal/cli"
	"otad/ota"
	"otad/ota/swu/swutest"
	"otad/transport/console/consoletest"
)

// otactl is the desk's program, built once.
var otactl = sync.OnceValues(func() (string, error) {
	path := filepath.Join(filepath.Dir(program), "otactl")
	build := exec.Command("go", "build", "-o", path, "../otactl")
	build.Stderr = os.Stderr
	return path, build.Run()
})

// cable is a serial line between a box and a desk.
type cable struct {
	*consoletest.Line
	near, far *consoletest.Pty
}

func newCable(t *testing.T, line *consoletest.Line) *cable {
	t.Helper()
	c := &cable{line, consoletest.NewPty(t), consoletest.NewPty(t)}
	line.Connect(c.near, c.far)
	return c
}

// served makes the service open the console on the cable.
func (c *cable) served(cfg *config.Config) { cfg.Console.Port = c.far.Path }

// serial starts otactl at the desk's end; finish waits for it.
func (b *box) serial(c *cable, args ...string) (finish func() result) {
	b.t.Helper()
	path, err := otactl()
	must(b.t, err)
	ctx, cancel := context.WithTimeout(b.t.Context(), patience)
	cmd := exec.CommandContext(ctx, path, append([]string{"serial", "--port", c.near.Path, "--baud", "115200"}, args...)...)
	done := make(chan result, 1)
	go func() {
		defer cancel()
		done <- b.finish(cmd)
	}()
	return func() result { return <-done }
}

// The console of the service starts an update; otactl follows it through the
// restart to its end.
func TestConsoleUpgrade(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	c := newCable(t, &consoletest.Line{})
	b := newBox(t, s, c.served)
	s.release(t, system{code: 2})
	finish := b.serial(c, "upgrade", "--yes", "--wait")
	_, service := b.live(ended(2))
	r := finish().want(cli.Done, "downloading").said("confirmed")
	t.Logf("the desk saw:\n%s%s", r.stderr, r.stdout)
	if h := b.history(); len(h) != 1 || h[0].By != "console" || h[0].Result != ota.PhaseConfirmed {
		t.Errorf("history %+v", h)
	}
	if !b.holds("b", system{code: 2}.image()) || b.condition().boot.Next != "b" {
		t.Error("the box does not run what was installed")
	}
	b.serial(c, "status")().want(cli.Done).said("version 2 (v2) in slot b", "none under way")
	b.serial(c, "upgrade", "--to", "7", "--yes")().want(cli.Nothing)
	if r := service.stop(); !strings.Contains(r.stderr, `msg="console command"`) {
		t.Errorf("no audit:\n%s", r.stderr)
	}
}

// A file that comes over the line is held to the same trust as any other.
func TestConsolePush(t *testing.T) {
	t.Parallel()
	good := system{code: 2, bytes: 200_000}.artifact(t)
	bad := bytes.Clone(good)
	bad[len(bad)-100_000] ^= 1
	stranger, err := swutest.NewAuthority()
	must(t, err)
	strange := pack(t, stranger, model, "2", system{code: 2, bytes: 200_000}.image())
	for _, tt := range []struct {
		name     string
		artifact []byte
		code     int
		slot     string
	}{
		{"signed", good, cli.Done, "b"},
		{"one bit wrong", bad, cli.Failed, "a"},
		{"signed by a stranger", strange, cli.NotTrusted, "a"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			c := newCable(t, &consoletest.Line{Baud: 1_500_000, ErrorEvery: 10_000, Seed: 1})
			b := newBox(t, s, c.served)
			b.write("fw.swu", tt.artifact)
			finish := b.serial(c, "push", b.path("fw.swu"), "--yes", "--wait")
			over := make(chan struct{})
			go func() { // the machine
				defer close(over)
				b.live(ended(0))
			}()
			finish().want(tt.code, "sending")
			<-over
			if got := b.condition().boot.Next; got != tt.slot {
				t.Errorf("the bootloader starts %s next, want %s", got, tt.slot)
			}
			if got := b.read(b.path("staging/console/fw.swu")); !bytes.Equal(got, tt.artifact) {
				t.Error("the file is not what was pushed")
			}
		})
	}
}

// One update at a time: the console is told who holds it, and takes no file.
func TestConsoleIsToldWhoUpdates(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	c := newCable(t, &consoletest.Line{})
	b := newBox(t, s, c.served)
	url, _ := s.serve("2.swu", system{code: 2}.artifact(t))
	s.offerAs(ota.UpgradePrompt, 2, url)
	service := b.start()
	client := service.client()
	if _, err := client.Do(t.Context(), control.Request{Verb: control.Check, By: "mqtt:1"}); err != nil && ota.FaultOf(err).Code != ota.CodeBusy {
		t.Fatal(err) // busy: its own first check was faster
	}
	service.await(inPhase(ota.PhaseOffered))
	b.write("fw.swu", []byte("whatever"))
	b.serial(c, "push", b.path("fw.swu"))().want(cli.Failed, "cannot take a file: update", "is offered")
	b.serial(c, "install", "/media/fw.swu", "--yes")().want(cli.Failed, "is offered (started by ")
	b.serial(c, "cancel")().want(cli.Done)
	service.await(inPhase(ota.PhaseIdle))
}

// Without a service `otad console` is the agent. A person at a dumb terminal
// looks, updates and sees the box restart.
func TestConsoleAlone(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	c := newCable(t, &consoletest.Line{})
	b := newBox(t, s, func(cfg *config.Config) { cfg.Console.Terminal = "dumb" })
	s.release(t, system{code: 2})
	cmd := b.command(t.Context(), "console", "--port", c.far.Path)
	done := make(chan result, 1)
	go func() { done <- b.finish(cmd) }()
	person := newPerson(t, c.near.Path)
	person.says("otad> ", "status")
	person.says("otad> ", "upgrade --wait")
	person.says("[y/N] ", "y")
	(<-done).want(cli.RebootNeeded)
	text := person.text()
	for _, want := range []string{"version 1 (v1) in slot a", "installing", "installed", "the box or its agent restarts"} {
		if !strings.Contains(text, want) {
			t.Errorf("the terminal lacks %q", want)
		}
	}
	if regexp.MustCompile(`\r[^\n]`).MatchString(text) {
		t.Error("a line was drawn again on a dumb terminal")
	}
	t.Logf("the terminal shows:\n%s", text)
	b.boot()
	b.live(ended(2))
	if b.condition().boot.Next != "b" {
		t.Error("not confirmed")
	}
}

// person is somebody at a terminal.
type person struct {
	t    *testing.T
	port *os.File
	tape tape
	seen int
}

func newPerson(t *testing.T, path string) *person {
	t.Helper()
	port, err := os.OpenFile(path, os.O_RDWR, 0)
	must(t, err)
	t.Cleanup(func() { port.Close() })
	p := &person{t: t, port: port}
	go func() { _, _ = io.Copy(&p.tape, port) }() // until the port closes
	return p
}

func (p *person) text() string { return p.tape.String() }

// says types a line when the terminal shows the prompt.
func (p *person) says(prompt, line string) {
	p.t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		if i := strings.Index(p.text()[p.seen:], prompt); i >= 0 {
			p.seen += i + len(prompt)
			break
		}
		if time.Now().After(end) {
			p.t.Fatalf("the terminal never shows %q:\n%s", prompt, p.text())
		}
	}
	_, err := p.port.WriteString(line + "\r")
	must(p.t, err)
}
