package main

import (
	"bytes"
	"encoding/json"
	"io"
	"strings"
	"testing"

	"otad/cmd/internal/cli"
	"otad/transport/console/consoletest"
)

func TestSerialUsage(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		code int
		want string
		args []string
	}{
		{"no port", cli.Usage, "missing --port", []string{"status"}},
		{"no verb", cli.Usage, "want a verb", []string{"--port", "/dev/null", "--", "--wait"}},
		{"odd option", cli.Usage, "not defined", []string{"--prot", "/dev/null"}},
		{"odd speed", cli.Usage, "makes no sense", []string{"--port", "/dev/null", "--baud", "-1", "status"}},
		{"no such port", cli.Failed, "cannot open port", []string{"--port", "/dev/nothing", "status"}},
		{"no terminal", cli.Failed, "cannot open port", []string{"--port", "/dev/null", "status"}},
		{"no such secret", cli.Failed, "cannot read secret", []string{"--port", "/dev/null", "--pin-file", "/nowhere", "status"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, stderr := want(t, c.code, append([]string{"serial"}, c.args...)...)
			says(t, stderr, c.want)
		})
	}
}

func TestSerialListsPorts(t *testing.T) {
	t.Parallel()
	stdout, _ := want(t, cli.Done, "serial", "--json")
	var ports []serialPort
	if err := json.Unmarshal([]byte(stdout), &ports); err != nil {
		t.Errorf("%v: %s", err, stdout)
	}
}

// The terminal hands on every byte both ways until ^].
// Not parallel: beside a test with two thousand connections the port gets a
// number that select, which the serial module waits with, cannot hold.
func TestSerialTerminal(t *testing.T) {
	port := consoletest.NewPty(t)
	go func() { // a box that answers each Enter
		buffer := make([]byte, 64)
		for {
			n, err := port.Cable.Read(buffer)
			if err != nil {
				return
			}
			for range bytes.Count(buffer[:n], []byte("\r")) {
				if _, err := port.Cable.WriteString("otad> "); err != nil {
					return
				}
			}
		}
	}()
	typed, keys := io.Pipe()
	var screen screen
	screen.on("otad> ", func() { _, _ = keys.Write([]byte("\x03status\r")) }) // fails when the terminal is gone
	screen.on("otad> otad> ", func() { _, _ = keys.Write([]byte("x\x1dlost")) })
	var stderr strings.Builder
	env := cli.Env{Stdin: typed, Stdout: &screen, Stderr: &stderr}
	code := cli.Main("otactl", "test", env, commands(), []string{"serial", "--port", port.Path, "--baud", "115200"})
	if code != cli.Done {
		t.Errorf("exit %d: %s", code, stderr.String())
	}
	says(t, stderr.String(), "115200 baud, ^] leaves")
}

// screen does something, once, when it shows a text.
type screen struct {
	shown string
	next  []func() bool
}

func (s *screen) on(text string, do func()) {
	s.next = append(s.next, func() bool {
		if !strings.Contains(s.shown, text) {
			return false
		}
		go do()
		return true
	})
}

func (s *screen) Write(p []byte) (int, error) {
	s.shown += string(p)
	for len(s.next) > 0 && s.next[0]() {
		s.next = s.next[1:]
	}
	return len(p), nil
}
