package vbox

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// A virtual machine may freeze. One was seen to, in some thousand boots: not even
// time passed in it any more, neither for its watchdog nor for otad. That says
// nothing about the box, so the test is begun again, once, and the table tells of it.

// answerTime is how long a shell may take on a machine with other work.
const answerTime = 20 * time.Second

// freeze ends an attempt whose machine froze.
type freeze struct{}

// onMachine plays with a rig, and if the machine froze once more, with another.
func onMachine(t *testing.T, arch string, s setup, play func(r *rig)) {
	t.Helper()
	r := newRig(t, arch, s)
	if survives(func() { play(r) }) {
		return
	}
	r.enter("")
	r = newRig(t, arch, s)
	r.again = true
	play(r)
}

func survives(play func()) (yes bool) {
	defer func() {
		if p := recover(); p != nil && p != any(freeze{}) {
			panic(p)
		}
	}()
	play()
	return true
}

// examine finds out about a box that is on and does not do what it should. It
// ends the attempt when the machine froze, for the first time.
func (r *rig) examine() {
	r.t.Helper()
	cause := r.frozen()
	if cause != nil && !r.again {
		fmt.Printf("%s: the machine froze (%v), once more\n", r.t.Name(), cause)
		r.froze = true
		r.cut()
		panic(freeze{})
	}
	messages := r.view.Messages()
	for _, m := range messages[max(0, len(messages)-8):] {
		r.t.Logf("the broker got %s: %.800s", m.Topic, m.Payload)
	}
	answer, err := r.question("ps; cat /proc/uptime /proc/net/tcp; kill -QUIT $(pidof otad); sleep 2")
	r.t.Logf("the shell says (%v):\n%s", err, answer)
}

// frozen is what speaks for a machine that stands still; nil when the box itself
// may be to blame. A box is asked where otad has no say: when it is up, its shell
// must answer.
func (r *rig) frozen() error {
	if _, err := r.power.qmp.do("query-status", nil); err != nil {
		return err
	}
	r.mu.Lock()
	up := false
	for _, line := range slices.Backward(r.lines) {
		if strings.HasPrefix(line, "boot: ") {
			break
		}
		if strings.Contains(line, "msg=started") {
			up = true
			break
		}
	}
	r.mu.Unlock()
	if !up {
		return nil
	}
	_, err := r.question("true")
	return err
}

// question asks the root shell once, within a time.
func (r *rig) question(command string) (answer string, err error) {
	conn, err := net.Dial("unix", filepath.Join(r.dir, "shell"))
	if err != nil {
		return "", err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(answerTime)); err != nil {
		return "", err
	}
	return ask(conn, bufio.NewReader(conn), command)
}

// TestFreeze holds the judgement to a machine that does stand still, and to one
// that does not.
func TestFreeze(t *testing.T) {
	scenario(t, setup{runs: 1, only: "arm64"}, func(r *rig) {
		r.on()
		r.says("msg=started")
		if err := r.frozen(); err != nil {
			r.t.Errorf("a box that runs is said to be frozen: %v", err)
		}
		if !r.again {
			_, err := r.power.qmp.do("stop", nil)
			r.must(err)
			ctx, cancel := context.WithCancel(r.ctx)
			cancel() // its time is over
			r.ctx = ctx
			r.must(ctx.Err())
		}
		r.rests("A", "1")
	})
}
