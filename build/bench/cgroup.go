package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// group is the control group of one run: it counts what all processes of an
// installer use together, and may bound their memory. Version 2 is one directory,
// version 1 one for each controller.
type group struct {
	cpu, memory string // directories; the same in version 2
	v2          bool
}

// newGroup makes a new one: peaks cannot be taken back.
func newGroup(limitBytes int64) (*group, error) {
	name := fmt.Sprintf("otad-bench-%d-%d", os.Getpid(), time.Now().UnixNano())
	g := &group{cpu: "/sys/fs/cgroup/cpuacct/" + name, memory: "/sys/fs/cgroup/memory/" + name}
	if _, err := os.Stat("/sys/fs/cgroup/cgroup.controllers"); err == nil {
		g = &group{cpu: "/sys/fs/cgroup/" + name, memory: "/sys/fs/cgroup/" + name, v2: true}
		_ = os.WriteFile("/sys/fs/cgroup/cgroup.subtree_control", []byte("+cpu +memory"), 0)
	}
	err := os.Mkdir(g.cpu, 0o755)
	if !g.v2 {
		err = errors.Join(err, os.Mkdir(g.memory, 0o755))
	}
	if err == nil && limitBytes > 0 {
		file := map[bool]string{true: "memory.max", false: "memory.limit_in_bytes"}[g.v2]
		err = os.WriteFile(filepath.Join(g.memory, file), []byte(strconv.FormatInt(limitBytes, 10)), 0)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot make a control group: %w", err)
	}
	return g, nil
}

// join is a command of the shell that moves it into the group.
func (g *group) join() string {
	return fmt.Sprintf("echo $$ >%s/cgroup.procs; echo $$ >%s/cgroup.procs; ", g.cpu, g.memory)
}

// used is the processor time of all that were ever in the group.
func (g *group) used() time.Duration {
	if !g.v2 {
		return time.Duration(g.number(g.cpu, "cpuacct.usage"))
	}
	text, _ := os.ReadFile(g.cpu + "/cpu.stat")
	_, rest, _ := strings.Cut(string(text), "usage_usec ")
	micros, _ := strconv.ParseInt(strings.Fields(rest + " 0")[0], 10, 64)
	return time.Duration(micros) * time.Microsecond
}

// peak is the most memory that was charged to the group at a time, page cache
// included.
func (g *group) peak() int64 {
	return g.number(g.memory, map[bool]string{true: "memory.peak", false: "memory.max_usage_in_bytes"}[g.v2])
}

// number reads a file with a number, 0 if it cannot be read.
func (g *group) number(dir, file string) int64 {
	text, _ := os.ReadFile(filepath.Join(dir, file))
	n, _ := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
	return n
}

// processes that are in the group now.
func (g *group) processes() []string {
	text, _ := os.ReadFile(g.cpu + "/cgroup.procs")
	return strings.Fields(string(text))
}

// remove ends the group, when its last process is gone.
func (g *group) remove() {
	for deadline := time.Now().Add(time.Second); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		os.Remove(g.memory)
		os.Remove(g.cpu)
		if _, err := os.Stat(g.cpu); err != nil {
			return
		}
	}
}
