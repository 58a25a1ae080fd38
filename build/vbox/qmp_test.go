package vbox

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net"
	"strings"
	"syscall"
	"time"
)

// qmp is the line to QEMU itself. It is for one goroutine.
type qmp struct {
	conn net.Conn
	in   *bufio.Reader
}

// patience is how long QEMU may take to answer, on a machine with other work.
const patience = 2 * time.Minute

// dialQMP waits for the socket and opens the line.
func dialQMP(path string) (*qmp, error) {
	conn, err := dial(path)
	if err != nil {
		return nil, err
	}
	q := &qmp{conn: conn, in: bufio.NewReader(conn)}
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return nil, err
	}
	if _, err := q.in.ReadString('\n'); err != nil { // the greeting
		return nil, err
	}
	_, err = q.do("qmp_capabilities", nil)
	return q, err
}

// dial connects to a socket that QEMU is about to make.
func dial(path string) (net.Conn, error) {
	for deadline := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		conn, err := net.Dial("unix", path)
		if err == nil {
			return conn, nil
		}
		if time.Now().After(deadline) {
			return nil, fmt.Errorf("cannot reach QEMU: %w", err)
		}
	}
}

func (q *qmp) close() { q.conn.Close() }

// do performs a command and returns its answer; events are passed over.
func (q *qmp) do(command string, arguments map[string]any) (json.RawMessage, error) {
	request := map[string]any{"execute": command}
	if arguments != nil {
		request["arguments"] = arguments
	}
	if err := q.conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return nil, err
	}
	if err := json.NewEncoder(q.conn).Encode(request); err != nil {
		return nil, err
	}
	for {
		line, err := q.in.ReadBytes('\n')
		if err != nil {
			return nil, fmt.Errorf("QEMU did not answer %s: %w", command, err)
		}
		var answer struct {
			Return json.RawMessage
			Error  *struct{ Desc string }
		}
		if err := json.Unmarshal(line, &answer); err != nil {
			return nil, err
		}
		if answer.Error != nil {
			return nil, fmt.Errorf("QEMU refused %s: %s", command, answer.Error.Desc)
		}
		if answer.Return != nil {
			return answer.Return, nil
		}
	}
}

// link plugs the network cable in or pulls it.
func (q *qmp) link(up bool) error {
	_, err := q.do("set_link", map[string]any{"name": "n0", "up": up})
	return err
}

// consolePort is the terminal that is the other end of the box's second
// serial port.
func (q *qmp) consolePort() (string, error) {
	answer, err := q.do("query-chardev", nil)
	if err != nil {
		return "", err
	}
	var devices []struct{ Label, Filename string }
	if err := json.Unmarshal(answer, &devices); err != nil {
		return "", err
	}
	for _, d := range devices {
		if port, ok := strings.CutPrefix(d.Filename, "pty:"); ok && d.Label == "console" {
			return port, nil
		}
	}
	return "", fmt.Errorf("QEMU has no console among %s", answer)
}

// dieWithUs makes a child end with the test, even with one that is killed.
func dieWithUs() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }
