package main

import (
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// result is one run of a row.
type result struct {
	Row, Mode string
	Round     int
	Sampled   bool // its memory was sampled, its time does not count
	Fault     string
	Wall, CPU time.Duration
	Sync      time.Duration // of a sync of the slot afterwards
	Stages    map[string]stage
	Written   int64 // bytes on the slot's device
	Read      int64
	Flushes   int64
	Network   int64
	Charged   int64 // highest memory of the control group
	Memory    memory
}

// stage is one of otad's own log lines.
type stage struct{ Wall, CPU time.Duration }

func (r result) String() string {
	text := fmt.Sprintf("round %d %-6s %-38s wall %6.2f s (+%.2f) cpu %6.2f s wrote %d MiB, read %d MiB, flushed %d, fetched %d MiB, charged %d MiB",
		r.Round, r.Mode, r.Row, r.Wall.Seconds(), r.Sync.Seconds(), r.CPU.Seconds(), r.Written>>20, r.Read>>20, r.Flushes, r.Network>>20, r.Charged>>20)
	if r.Sampled {
		text += fmt.Sprintf(", %+v", r.Memory)
	}
	for name, s := range r.Stages {
		text += fmt.Sprintf(", %s %.2f/%.2f", name, s.Wall.Seconds(), s.CPU.Seconds())
	}
	if r.Fault != "" {
		text += " FAULT: " + r.Fault
	}
	return text
}

// timeout ends a run that hangs.
const timeout = 5 * time.Minute

// do does a row once: the box as new, the slot filled with something else, then
// the command, then a look at the slot. What an installer does wrong is in the
// result; the error is of the place.
func (p *place) do(r row, sampled bool) (result, error) {
	out := result{Row: r.name, Mode: r.mode, Sampled: sampled}
	if err := p.prepare(r, sampled); err != nil {
		return out, err
	}
	g, err := newGroup(r.limit)
	if err != nil {
		return out, err
	}
	defer g.remove()
	log, err := os.Create(p.run + "/daemon.log")
	if err != nil {
		return out, err
	}
	defer log.Close()
	stop, err := p.daemon(r, g, log)
	if err != nil {
		return out, err
	}
	defer stop()
	atRest := int64(0)
	if sampled && r.daemon != "" {
		atRest = idle(g)
	}

	ended, peak := make(chan struct{}), make(chan memory, 1)
	if sampled {
		go func() { peak <- sample(g, p.temp, ended) }()
	} else {
		peak <- memory{}
	}
	before, served := p.device(), p.served()
	used, begun := g.used(), time.Now()
	fault := p.command(r, g, log)
	out.Wall, out.CPU = time.Since(begun), g.used()-used
	close(ended)
	out.Memory = <-peak
	out.Memory.Idle = atRest
	after := p.device()
	if out.Sync, err = timed(func() error { return syncDevice(p.slotB) }); err != nil {
		return out, err
	}
	out.Charged = g.peak()
	out.Flushes, out.Read, out.Written = after.flushes-before.flushes, after.read-before.read, p.device().written-before.written
	stop()
	time.Sleep(20 * time.Millisecond) // the server writes its log behind the answer
	out.Network = p.served() - served
	out.Stages = stagesOf(p.run + "/daemon.log")
	if fault == nil {
		fault = p.compare(r)
	}
	if fault != nil {
		text, _ := os.ReadFile(p.run + "/daemon.log")
		out.Fault = fmt.Sprintf("%v: …%s", fault, text[max(0, len(text)-600):])
	}
	return out, nil
}

// command runs the row's command, and tells what is wrong with how it ended.
func (p *place) command(r row, g *group, log *os.File) error {
	command := p.shell(g.join()+p.words(r.command, r.art), log)
	if err := command.Start(); err != nil {
		return err
	}
	late := time.AfterFunc(timeout, func() { _ = syscall.Kill(-command.Process.Pid, syscall.SIGKILL) })
	defer late.Stop()
	_ = command.Wait()
	if code := command.ProcessState.ExitCode(); code != r.exit {
		return fmt.Errorf("ended with %d", code)
	}
	return nil
}

// shell is a command in a process group of its own.
func (p *place) shell(text string, log *os.File) *exec.Cmd {
	command := exec.Command("bash", "-c", text)
	command.Stdout, command.Stderr = log, log
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	return command
}

// daemon starts the service of a row, if it has one, and waits until it is ready.
// stop ends it, once.
func (p *place) daemon(r row, g *group, log *os.File) (stop func(), err error) {
	if r.daemon == "" {
		return func() {}, nil
	}
	service := p.shell(g.join()+p.words(r.daemon, r.art), log)
	if err := service.Start(); err != nil {
		return nil, err
	}
	stop = sync.OnceFunc(func() {
		_ = syscall.Kill(-service.Process.Pid, syscall.SIGTERM)
		_ = service.Wait()
	})
	for deadline := time.Now().Add(10 * time.Second); sh("%s", p.words(r.ready, r.art)) != nil; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			stop()
			text, _ := os.ReadFile(log.Name())
			return nil, fmt.Errorf("the service is not ready: %s", text)
		}
	}
	return stop, nil
}

// served is how many bytes the web server has sent since it was started.
func (p *place) served() int64 {
	text, _ := os.ReadFile(p.run + "/access.log")
	total := int64(0)
	for line := range strings.Lines(string(text)) {
		n, _ := strconv.ParseInt(strings.TrimSpace(line), 10, 64)
		total += n
	}
	return total
}

// stagesOf finds the stages of an install in otad's log.
func stagesOf(path string) map[string]stage {
	text, _ := os.ReadFile(path)
	stages := map[string]stage{}
	for line := range strings.Lines(string(text)) {
		if !strings.Contains(line, "stage ended") {
			continue
		}
		words := map[string]string{}
		for _, word := range strings.Fields(line) {
			name, value, _ := strings.Cut(word, "=")
			words[name] = value
		}
		wall, _ := time.ParseDuration(words["took"])
		cpu, _ := time.ParseDuration(words["processor"])
		stages[words["stage"]] = stage{wall, cpu}
	}
	return stages
}

func timed(work func() error) (time.Duration, error) {
	begun := time.Now()
	err := work()
	return time.Since(begun), err
}
