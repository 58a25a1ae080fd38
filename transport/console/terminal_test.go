package console_test

import (
	"bytes"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"otad/build/tooltest"
	"otad/transport/console"
	"otad/transport/console/consoletest"
)

// patience bounds every wait: far more than anything takes on a slow machine.
const patience = 60 * time.Second

// terminal is a person's: it keeps all that the port says.
type terminal struct {
	t    testing.TB
	port *os.File
	mu   sync.Mutex
	said bytes.Buffer
	more chan struct{}
	seen int // all before was waited for
}

func (d *desk) terminal() *terminal {
	d.t.Helper()
	port, err := os.OpenFile(d.near.Path, os.O_RDWR, 0)
	if err != nil {
		d.t.Fatal(err)
	}
	d.t.Cleanup(func() { port.Close() })
	return watch(d.t, port)
}

// watch is a terminal on an open port.
func watch(tb testing.TB, port *os.File) *terminal {
	t := &terminal{t: tb, port: port, more: make(chan struct{}, 1)}
	go func() {
		buffer := make([]byte, 4096)
		for {
			n, err := port.Read(buffer)
			if err != nil {
				return
			}
			t.mu.Lock()
			t.said.Write(buffer[:n])
			t.mu.Unlock()
			select {
			case t.more <- struct{}{}:
			default:
			}
		}
	}()
	return t
}

func (t *terminal) text() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.said.String()
}

// await waits until the port says text, after what was awaited before.
func (t *terminal) await(text string) {
	t.t.Helper()
	for deadline := time.After(patience); ; {
		if i := strings.Index(t.text()[t.seen:], text); i >= 0 {
			t.seen += i + len(text)
			return
		}
		select {
		case <-t.more:
		case <-deadline:
			t.t.Fatalf("the port never says %q; it says:\n%s", text, t.text()[t.seen:])
		}
	}
}

func (t *terminal) keys(keys string) {
	t.t.Helper()
	if _, err := t.port.WriteString(keys); err != nil {
		t.t.Fatal(err)
	}
}

// say types each line when there is a prompt.
func (t *terminal) say(lines ...string) {
	t.t.Helper()
	for _, line := range lines {
		t.await("otad> ")
		t.keys(line + "\r")
	}
}

// sb sends a file with Debian's sender of YMODEM, as a terminal program does.
func (t *terminal) sb(path string) error {
	t.t.Helper()
	cmd := exec.Command(tooltest.Path(t.t, "sb"), "--ymodem", "--1k", path)
	port, err := os.OpenFile(t.port.Name(), os.O_RDWR, 0)
	if err != nil {
		t.t.Fatal(err)
	}
	defer port.Close()
	cmd.Stdin, cmd.Stdout = port, port
	return cmd.Run()
}

// pushBySb types receive and sends a file, with nobody else on the terminal.
func pushBySb(t *testing.T, d *desk, file []byte) *terminal {
	t.Helper()
	tooltest.Path(t, "sb")
	path := t.TempDir() + "/fw.swu"
	if err := os.WriteFile(path, file, 0o644); err != nil {
		t.Fatal(err)
	}
	port, err := os.OpenFile(d.near.Path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer port.Close()
	// The terminal is not open yet: it would take the sender's answers away.
	if _, err := port.WriteString("receive --yes\r"); err != nil {
		t.Fatal(err)
	}
	if err := (&terminal{t: t, port: port}).sb(path); err != nil {
		t.Fatalf("sb: %v", err)
	}
	return d.terminal()
}

func TestReceiveFromSb(t *testing.T) {
	t.Parallel()
	d := serve(t, bad(5))
	file := noise(4<<20+77, 3)
	began := time.Now()
	term := pushBySb(t, d, file)
	term.await("received")
	t.Logf("%d bytes in %s, %d carried", len(file), time.Since(began), d.line.Carried.Load())
	term.await("otad> ")
	got, err := os.ReadFile(d.inbox + "/fw.swu")
	if err != nil || !bytes.Equal(got, file) {
		t.Errorf("%v; the box has %d bytes, not those that were sent", err, len(got))
	}
	if did := d.box.obeyed(); len(did) != 1 || !strings.Contains(did[0], d.inbox+"/fw.swu") {
		t.Errorf("obeyed %q", did)
	}
	if !regexp.MustCompile(`msg="console command".*verb=receive ok=true`).MatchString(d.log.String()) {
		t.Errorf("no audit:\n%s", d.log)
	}
}

func TestReceiveIsRefused(t *testing.T) {
	t.Parallel()
	small := func(o *console.Options) { o.Inbox.MaxBytes = 1000 }
	d := serve(t, &consoletest.Line{}, small)
	tooltest.Path(t, "sb")
	path := t.TempDir() + "/fw.swu"
	if err := os.WriteFile(path, noise(2000, 1), 0o644); err != nil {
		t.Fatal(err)
	}
	port, err := os.OpenFile(d.near.Path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer port.Close()
	if _, err := port.WriteString("receive --yes\r"); err != nil {
		t.Fatal(err)
	}
	if err := (&terminal{t: t, port: port}).sb(path); err == nil {
		t.Error("sb thinks that the file arrived")
	}
	term := d.terminal()
	term.await("more than the 1000 allowed")
	term.await("otad> ")
	if did := d.box.obeyed(); len(did) != 0 {
		t.Errorf("obeyed %q", did)
	}
}
