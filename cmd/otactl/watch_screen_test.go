package main

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"otad/cmd/internal/cli"
	"otad/cmd/otactl/fleet"
	"otad/ota"
	"otad/transport"
	"otad/transport/console/consoletest"
	"otad/transport/mqtt/mqtttest"
)

// viewer is somebody before a terminal on which otactl runs.
type viewer struct {
	t      *testing.T
	port   *consoletest.Pty
	screen *consoletest.Screen
	ended  chan int
}

const viewerPatience = 30 * time.Second

// newViewer starts something on a terminal of a size.
func newViewer(t *testing.T, width, height int, run func(tty *os.File) int) *viewer {
	t.Helper()
	t.Setenv("TERM", "vt100")
	v := &viewer{t: t, port: consoletest.NewPty(t), screen: consoletest.NewScreen(width, height), ended: make(chan int, 1)}
	tty, err := os.OpenFile(v.port.Path, os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tty.Close() })
	if err := unix.IoctlSetWinsize(int(tty.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: uint16(height), Col: uint16(width)}); err != nil {
		t.Fatal(err)
	}
	go func() {
		buffer := make([]byte, 4096)
		for {
			n, err := v.port.Cable.Read(buffer)
			if err != nil {
				return
			}
			_, _ = v.screen.Write(buffer[:n]) // never fails
		}
	}()
	go func() { v.ended <- run(tty) }()
	return v
}

// sees waits until the screen is as wanted.
func (v *viewer) sees(what string, want func(lines []string) bool) []string {
	v.t.Helper()
	for deadline := time.After(viewerPatience); ; {
		changed := v.screen.Changed()
		lines := v.screen.Lines()
		if want(lines) {
			return lines
		}
		select {
		case <-changed:
		case <-deadline:
			v.t.Fatalf("the screen never shows %s:\n%s", what, strings.Join(lines, "\n"))
		}
	}
}

func (v *viewer) presses(keys string) {
	v.t.Helper()
	if _, err := v.port.Cable.WriteString(keys); err != nil {
		v.t.Fatal(err)
	}
}

func (v *viewer) ends(code int) {
	v.t.Helper()
	select {
	case got := <-v.ended:
		if got != code {
			v.t.Errorf("exit %d, want %d", got, code)
		}
	case <-time.After(viewerPatience):
		v.t.Fatal("it does not end")
	}
}

func has(texts ...string) func([]string) bool {
	return func(lines []string) bool {
		all := strings.Join(lines, "\n")
		return !slices.ContainsFunc(texts, func(text string) bool { return !strings.Contains(all, text) })
	}
}

// The whole program on a terminal: two boxes, a filter, another order, the end.
func TestWatchOnATerminal(t *testing.T) {
	broker := mqtttest.NewBroker(t, mqtttest.Config{})
	newFakeBox(t, broker, "one", ota.PhaseConfirmed)
	newFakeBox(t, broker, "two", ota.PhaseConfirmed)
	var stderr strings.Builder
	v := newViewer(t, 80, 24, func(tty *os.File) int {
		return cli.Main("otactl", "test", cli.Env{Stdin: tty, Stdout: tty, Stderr: &stderr}, commands(), []string{"watch", "--broker", broker.URL()})
	})
	v.sees("both boxes", has("2 boxes, 2 online", "stv1/one", "stv1/two", "sorted by news", "q quit"))
	v.presses("/ONE")
	v.sees("the filter while it is typed", has("filter: ONE_"))
	v.sees("one box", func(lines []string) bool { return has("1 boxes", "stv1/one")(lines) && !has("stv1/two")(lines) })
	v.presses("\r")
	v.sees("the filter that works", has(`filter "ONE"`))
	v.presses("s")
	v.sees("another order", has("sorted by name"))
	v.presses("/\x1b")
	v.sees("both boxes again", has("2 boxes", "stv1/two"))
	v.presses("q")
	v.ends(cli.Done)
	lines := v.sees("the last state left behind", has("2 boxes", "stv1/one"))
	if has("q quit")(lines) {
		t.Errorf("the keys are still there:\n%s", strings.Join(lines, "\n"))
	}
}

// Two thousand boxes: what calls for a person comes first, the rest is counted
// and in reach.
func TestWatchManyOnATerminal(t *testing.T) {
	boxes := fleet.New("otad")
	say := func(name, state string) {
		boxes.Take(transport.Message{Topic: "otad/stv1/" + name + "/state", Payload: []byte(state)})
	}
	for i := range 2000 {
		say(fmt.Sprintf("box-%04d", i), `{"v":1,"online":true,"version":{"code":1},"slot":"a","phase":"idle"}`)
	}
	say("box-1234", `{"v":1,"online":true,"version":{"code":1},"slot":"a","phase":"idle",
		"last":{"id":"u","result":"rolled-back","failure":{"class":"permanent","code":"unhealthy","text":"hook 10-app failed"}}}`)
	call := &watchCall{order: string(fleet.OrderNews)}
	v := newViewer(t, 80, 24, func(tty *os.File) int {
		if err := call.screen(t.Context(), tty, tty, boxes); err != cli.Exit(cli.Interrupted) {
			t.Errorf("ended with %v", err)
		}
		return cli.Interrupted
	})
	lines := v.sees("the fleet", has("2000 boxes, 2000 online, 0 updating, 1 in trouble", "of 2000"))
	if !strings.Contains(lines[2], "box-1234") || !strings.Contains(lines[2], "hook 10-app failed") {
		t.Errorf("the first row is %q", lines[2])
	}
	v.presses("\x1b[F") // End
	v.sees("the last row", has("box-1999", "1981-2000 of 2000"))
	v.presses("\x1b[H")
	v.sees("the first row", has("box-1234"))
	v.presses("\x1b[6~")
	v.sees("the next page", has("21-40 of 2000"))
	say("box-1500", `{"v":1,"online":true,"version":{"code":1},"slot":"a","phase":"downloading","percent":40,
		"update":{"id":"x","to":{"code":2},"type":2,"by":"poll"},"transfer":{"done_bytes":4,"total_bytes":10}}`)
	v.presses("/box-1500\r")
	v.sees("the bar of a box that moves", has("1 boxes", "[####......]  40%", "1>2"))
	v.presses("\x03")
	v.ends(cli.Interrupted)
}
