package console_test

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"otad/build/tooltest"
	"otad/ota"
	"otad/transport/console"
	"otad/transport/console/consoletest"
)

var update = flag.Bool("update", false, "write the golden transcripts anew")

// Each verb as a person sees it, on both kinds of terminal. The file has the
// line's bytes, with carriage returns as ␍.
func TestTranscripts(t *testing.T) {
	t.Parallel()
	withPIN := func(o *console.Options) { o.Login.PIN = "4711" }
	for _, c := range []struct {
		name string
		edit func(*console.Options)
		keys []string // each typed when the port said what is before the bar
	}{
		{"help", nil, []string{"> |help\r"}},
		{"status", nil, []string{"> |status\r"}},
		{"history", nil, []string{"> |history\r"}},
		{"cancel", nil, []string{"> |cancel\r"}},
		{"unknown", nil, []string{"> |reboot now\r"}},
		{"editing", nil, []string{"> |statsu\x7f\x08us\r", "> |cancel\x15\x1b[Astatus\r", "> |cancel\x03", "> |\r"}},
		{"upgrade", nil, []string{"> |upgrade\r", "[y/N] |n\r", "> |upgrade\r", "[y/N] |yes\r"}},
		{"upgrade-wait", nil, []string{"> |upgrade --yes --wait\r"}},
		{"install-wait", nil, []string{"> |install /media/usb/fw.swu --wait\r", "[y/N] |y\r"}},
		{"login", withPIN, []string{"> |cancel\r", "> |login\r", "PIN: |1234\r", "> |login\r", "PIN: |4711\r", "# |cancel\r", "# |logout\r"}},
		{"terminal", nil, []string{"> |terminal blue\r", "> |terminal dumb\r"}},
		{"receive-nobody", nil, []string{"> |receive --yes\r", "stops\r\nC|\x18\x18"}},
	} {
		for _, kind := range []string{"dumb", "vt100"} {
			t.Run(c.name+"/"+kind, func(t *testing.T) {
				t.Parallel()
				d := serve(t, &consoletest.Line{}, func(o *console.Options) {
					o.Dumb = kind == "dumb"
					if c.edit != nil {
						c.edit(o)
					}
				})
				term := d.terminal()
				for _, step := range c.keys {
					prompt, keys, _ := strings.Cut(step, "|")
					term.await(prompt)
					term.keys(keys)
				}
				term.await("otad> ")
				got := strings.ReplaceAll(term.text(), "\r", "␍")
				golden(t, filepath.Join("testdata", c.name+"."+kind+".txt"), got)
			})
		}
	}
}

func golden(t *testing.T, path, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s:\ngot:\n%s\nwant:\n%s", path, got, want)
	}
}

// ^C ends looking on, not the update.
func TestInterruptLeavesTheUpdate(t *testing.T) {
	t.Parallel()
	d := serve(t, &consoletest.Line{})
	d.box.mu.Lock()
	d.box.step = 50 * time.Millisecond
	d.box.mu.Unlock()
	term := d.terminal()
	term.say("upgrade --yes --wait")
	term.await(" 8%")
	term.keys("\x03")
	term.await("the update goes on")
	term.await("otad> ")
	term.keys("status\r")
	term.await("downloading")
}

func TestProgramAsks(t *testing.T) {
	t.Parallel()
	d := serve(t, &consoletest.Line{Baud: 115200, Speedup: 20, ErrorEvery: 5000, Seed: 5})
	d.box.long = strings.Repeat("0123456789|\x7f\n~", 1000) // many pieces, and all that is escaped
	c := d.client()
	for range 3 {
		var got string
		if err := c.Do(t.Context(), console.Request{Verb: "history"}, &got); err != nil {
			t.Fatal(err)
		}
		if got != d.box.long {
			t.Fatal("the answer is not what was sent")
		}
	}
	if n := len(d.box.obeyed()); n != 3 {
		t.Errorf("3 requests were obeyed %d times", n)
	}
	err := c.Do(t.Context(), console.Request{Words: []string{"explode"}}, nil)
	if f := ota.FaultOf(err); f.Code != ota.CodeUsage || f.Hint == "" {
		t.Errorf("fault came over as %+v", f)
	}
	reply, err := c.Ask(t.Context(), console.Request{Words: []string{"status"}})
	if err != nil || reply.Said == "" {
		t.Errorf("words answered with %+v, %v", reply, err)
	}
}

func TestLogin(t *testing.T) {
	t.Parallel()
	d := serve(t, &consoletest.Line{}, func(o *console.Options) { o.Login = console.Login{PIN: "4711", Key: "long and secret"} })
	c := d.client()
	var s state
	if err := c.Do(t.Context(), console.Request{Verb: "status"}, &s); err != nil {
		t.Fatalf("looking needs a login: %v", err)
	}
	upgrade := func() error { return c.Do(t.Context(), console.Request{Verb: "upgrade"}, nil) }
	code := func(err error) ota.Code {
		if err == nil {
			return ""
		}
		return ota.FaultOf(err).Code
	}
	if got := code(upgrade()); got != "login" {
		t.Fatalf("upgrade without login: %q", got)
	}
	if got := code(c.Login(t.Context(), console.Login{Key: "another"})); got != "login" {
		t.Errorf("wrong key: %q", got)
	}
	if err := c.Login(t.Context(), console.Login{Key: "long and secret"}); err != nil {
		t.Fatal(err)
	}
	if err := upgrade(); err != nil {
		t.Fatal(err)
	}
	if err := c.Do(t.Context(), console.Request{Verb: "logout"}, nil); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if got := code(c.Login(t.Context(), console.Login{PIN: "0000"})); got != "login" {
			t.Errorf("wrong PIN: %q", got)
		}
	}
	err := c.Login(t.Context(), console.Login{PIN: "4711"})
	if err == nil || !strings.Contains(err.Error(), "locked") {
		t.Errorf("the right PIN after three wrong ones: %v", err)
	}
	log := d.log.String()
	for _, secret := range []string{"4711", "0000", "long and secret", "another"} {
		if strings.Contains(log, secret) {
			t.Errorf("the log has %q:\n%s", secret, log)
		}
	}
	if !strings.Contains(log, "who=program verb=upgrade ok=true") || !strings.Contains(log, "console login refused") {
		t.Errorf("not all is in the log:\n%s", log)
	}
}

// The log comes as it is written, until a key is pressed.
func TestTail(t *testing.T) {
	t.Parallel()
	d := serve(t, &consoletest.Line{})
	term := d.terminal()
	term.say("logs")
	for i := range 5 {
		term.await(fmt.Sprintf("line %d after 3\r\n", i+1))
		<-d.box.tick
	}
	term.keys("q")
	term.await("otad> ")
	term.keys("status\r")
	term.await(`"idle"`)
	c := d.client()
	err := c.Do(t.Context(), console.Request{Words: []string{"logs"}}, nil)
	if f := ota.FaultOf(err); f == nil || f.Code != ota.CodeUsage {
		t.Errorf("a program is told %v", err)
	}
}

// The box learns who asked, and what the console settled by itself.
func TestAudit(t *testing.T) {
	t.Parallel()
	d := serve(t, &consoletest.Line{}, func(o *console.Options) { o.Login = console.Login{PIN: "4711", Key: "long and secret"} })
	term := d.terminal()
	term.say("cancel")
	term.await("otad> ")
	term.keys("login\r")
	term.await("PIN: ")
	term.keys("1\r")
	term.await("otad> ")
	term.keys("login\r")
	term.await("PIN: ")
	term.keys("4711\r")
	term.await("otad# ")
	term.keys("cancel\r")
	term.await("otad# ")
	term.keys("logout\rstatus\r")
	term.await(`"idle"`)
	c := d.client()
	if err := c.Login(t.Context(), console.Login{Key: "long and secret"}); err != nil {
		t.Fatal(err)
	}
	if err := c.Do(t.Context(), console.Request{Verb: "upgrade"}, nil); err != nil {
		t.Fatal(err)
	}
	settled := func() int {
		d.box.mu.Lock()
		defer d.box.mu.Unlock()
		return len(d.box.notes)
	}
	for end := time.Now().Add(patience); settled() < 4 && time.Now().Before(end); time.Sleep(time.Millisecond) {
	}
	want := []string{"person cancel false", "person (PIN) login false", "person (PIN) login true", "program (key) login true"}
	d.box.mu.Lock()
	defer d.box.mu.Unlock()
	if !slices.Equal(d.box.notes, want) {
		t.Errorf("settled %q, want %q", d.box.notes, want)
	}
	if want := []string{"person (PIN)", "person", "program (key)"}; !slices.Equal(d.box.who, want) {
		t.Errorf("asked by %q, want %q", d.box.who, want)
	}
}

// Kernel messages between and inside of the frames do no harm.
func TestKernelMessages(t *testing.T) {
	t.Parallel()
	d := serve(t, &consoletest.Line{})
	d.box.long = strings.Repeat("history ", 3000)
	stop, kernel := make(chan struct{}), sync.WaitGroup{}
	kernel.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			case <-time.After(time.Millisecond):
				// The other side of the box's port is what the kernel writes to.
				fmt.Fprintf(d.near.Cable, "[%8.6f] usb 1-1: new high-speed USB device\r\n", float64(i)/1000)
			}
		}
	})
	defer kernel.Wait()
	defer close(stop)
	c := d.client()
	for range 5 {
		var got string
		if err := c.Do(t.Context(), console.Request{Verb: "history"}, &got); err != nil || got != d.box.long {
			t.Fatalf("%v, %d bytes", err, len(got))
		}
	}
}

// The port goes away in the middle of things and comes back as another device.
func TestPortVanishes(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	opened, path := 0, ""
	d := serve(t, &consoletest.Line{}, func(o *console.Options) {
		path = o.Port
		o.Open = func() (io.ReadWriteCloser, error) {
			mu.Lock()
			defer mu.Unlock()
			if opened++; opened == 2 {
				return nil, errors.New("no such device")
			}
			return console.OpenPort(path, 115200)
		}
	})
	term := d.terminal()
	term.say("status")
	term.await("idle")
	term.await("otad> ")
	term.keys("sta")
	near, far := consoletest.NewPty(t), consoletest.NewPty(t)
	d.line.Connect(near, far)
	mu.Lock()
	path = far.Path
	mu.Unlock()
	d.far.Pull()
	d.near = near
	term = d.terminal()
	term.say("status")
	term.await("idle")
	mu.Lock()
	defer mu.Unlock()
	if opened != 3 {
		t.Errorf("opened %d times, want 3", opened)
	}
	if n := strings.Count(d.log.String(), "console port lost"); n != 1 {
		t.Errorf("the loss is logged %d times:\n%s", n, d.log)
	}
}

func TestDialFindsTheSpeed(t *testing.T) {
	t.Parallel()
	d := serve(t, &consoletest.Line{MatchBaud: true}, at(460800))
	c, err := console.Dial(t.Context(), d.near.Path, 0, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if c.Baud() != 460800 {
		t.Errorf("found %d baud", c.Baud())
	}
}

func TestNobodyThere(t *testing.T) {
	t.Parallel()
	port, err := console.OpenPort(consoletest.NewPty(t).Path, 115200)
	if err != nil {
		t.Fatal(err)
	}
	c := console.NewClient(port, 115200, nil)
	defer c.Close()
	c.Patience = 50 * time.Millisecond
	if _, err := c.Hello(t.Context()); !errors.Is(err, console.ErrSilent) {
		t.Errorf("asking nobody: %v", err)
	}
}

// An ordinary terminal program drives the console, and socat carries it.
func TestPicocomThroughSocat(t *testing.T) {
	t.Parallel()
	picocom, socat := tooltest.Path(t, "picocom"), tooltest.Path(t, "socat")
	d := serve(t, &consoletest.Line{})
	link := filepath.Join(t.TempDir(), "tty")
	bridge := exec.CommandContext(t.Context(), socat, "PTY,raw,echo=0,link="+link, d.near.Path+",raw,echo=0")
	if err := bridge.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { bridge.Process.Kill(); bridge.Wait() })
	for end := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		if _, err := os.Stat(link); err == nil {
			break
		} else if time.Now().After(end) {
			t.Fatal(err)
		}
	}
	screen := consoletest.NewPty(t) // picocom's own terminal
	tty, err := os.OpenFile(screen.Path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer tty.Close()
	cmd := exec.CommandContext(t.Context(), picocom, "-b", "115200", link)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = tty, tty, tty
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	term := watch(t, screen.Cable)
	term.await("Terminal ready")
	term.keys("\r")
	term.say("status")
	term.await(`"idle"`)
	term.say("upgrade --yes --wait")
	term.await("version 2")
}
