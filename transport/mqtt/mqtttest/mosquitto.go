package mqtttest

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
)

// ErrNoMosquitto says that the program mosquitto, or the one that makes its
// password file, is not installed.
var ErrNoMosquitto = errors.New("mosquitto is not installed")

// Mosquitto is a mosquitto broker in a child process. It writes every change
// to its database at once, so that a Kill loses nothing that it acknowledged.
type Mosquitto struct {
	config  Config
	program string
	dir     string // of its own; removed by Close
	addr    string
	views   views

	cmd    *exec.Cmd
	exited chan struct{} // closed when cmd has ended
	log    lockedBuffer
}

// StartMosquitto starts mosquitto and waits until it answers. The caller
// closes it.
func StartMosquitto(config Config) (*Mosquitto, error) {
	m := &Mosquitto{config: config, addr: config.Addr}
	var err error
	if m.program, err = find("mosquitto"); err != nil {
		return nil, err
	}
	if m.addr == "" {
		if m.addr, err = freeAddr(); err != nil {
			return nil, err
		}
	}
	if m.dir, err = os.MkdirTemp("", "mosquitto-"); err != nil {
		return nil, err
	}
	if err = m.writeConfig(); err == nil {
		err = m.start()
	}
	if err != nil {
		m.Close()
		return nil, fmt.Errorf("cannot start mosquitto: %w", err)
	}
	return m, nil
}

// URL is where clients connect: tcp:// or ssl://.
func (m *Mosquitto) URL() string { return m.config.scheme() + "://" + m.addr }

// Stop kills mosquitto with SIGKILL. Stopping it twice is fine.
func (m *Mosquitto) Stop() {
	if m.cmd != nil {
		m.cmd.Process.Kill()
		<-m.exited
		m.cmd = nil
	}
}

// Restart kills mosquitto if it runs, and starts it again on the same port,
// with its database or, with Config.Forget, without.
func (m *Mosquitto) Restart() error {
	m.Stop()
	if m.config.Forget {
		os.Remove(filepath.Join(m.dir, "mosquitto.db"))
	}
	if err := m.start(); err != nil {
		return fmt.Errorf("cannot restart mosquitto: %w", err)
	}
	return nil
}

// Close kills mosquitto and removes its files.
func (m *Mosquitto) Close() error {
	m.views.close()
	m.Stop()
	return os.RemoveAll(m.dir)
}

// Log is what mosquitto has printed.
func (m *Mosquitto) Log() string { return m.log.String() }

// Observe opens a [View] of the topics that match filters. With Users the
// view comes in as any one of them.
func (m *Mosquitto) Observe(filters ...string) (*View, error) {
	return m.views.open(m.URL(), m.config, filters)
}

func (m *Mosquitto) writeConfig() error {
	host, port, err := net.SplitHostPort(m.addr)
	if err != nil {
		return err
	}
	lines := []string{
		"listener " + port + " " + host,
		"persistence true",
		"persistence_location " + m.dir + "/",
		"autosave_interval 1",
		"autosave_on_changes true",
		"log_type all",
	}
	if os.Geteuid() == 0 {
		lines = append(lines, "user root") // or it could not read its files
	}
	if a := m.config.Authority; a != nil {
		if err := a.writeFiles(m.dir); err != nil {
			return err
		}
		lines = append(lines, "cafile "+m.dir+"/ca.pem", "certfile "+m.dir+"/server.pem",
			"keyfile "+m.dir+"/server.key", fmt.Sprintf("require_certificate %t", m.config.Mutual))
	}
	if len(m.config.Users) == 0 {
		lines = append(lines, "allow_anonymous true")
	} else {
		if err := m.writePasswords(); err != nil {
			return err
		}
		lines = append(lines, "allow_anonymous false", "password_file "+m.dir+"/passwords")
	}
	lines = append(lines, m.config.Lines...)
	return os.WriteFile(m.dir+"/mosquitto.conf", []byte(strings.Join(lines, "\n")+"\n"), 0o600)
}

func (m *Mosquitto) writePasswords() error {
	program, err := find("mosquitto_passwd")
	if err != nil {
		return err
	}
	var plain strings.Builder
	for name, password := range m.config.Users {
		fmt.Fprintf(&plain, "%s:%s\n", name, password)
	}
	file := m.dir + "/passwords"
	if err := os.WriteFile(file, []byte(plain.String()), 0o600); err != nil {
		return err
	}
	if out, err := exec.Command(program, "-U", file).CombinedOutput(); err != nil {
		return fmt.Errorf("cannot hash passwords: %w: %s", err, out)
	}
	return nil
}

func (m *Mosquitto) start() error {
	cmd := exec.Command(m.program, "-c", m.dir+"/mosquitto.conf")
	cmd.Stdout, cmd.Stderr = &m.log, &m.log
	exited, err := launch(cmd, m.addr)
	if exited != nil {
		m.cmd, m.exited = cmd, exited
	}
	if err != nil {
		return fmt.Errorf("%w; it said: %s", err, m.Log())
	}
	return nil
}

// launch starts a broker and waits until it listens at addr. exited is closed
// when it has ended; nil when it was never started.
func launch(cmd *exec.Cmd, addr string) (exited chan struct{}, err error) {
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	exited = make(chan struct{})
	go func() {
		_ = cmd.Wait() // it is killed
		close(exited)
	}()
	return exited, waitFor(addr, exited)
}

// find looks for a program in the path and where Debian puts daemons.
func find(program string) (string, error) {
	for _, name := range []string{program, "/usr/sbin/" + program, "/usr/local/sbin/" + program} {
		if path, err := exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("cannot find %q: %w", program, ErrNoMosquitto)
}

// lockedBuffer is a buffer for a child's output that may be read meanwhile.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}
