package install

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"otad/ota"
	"otad/ota/swu"
)

// Scripts says how the scripts of an artifact are run: each alone, as the user
// that otad is, with the environment given and no other, in a process group
// that is killed when it takes too long.
type Scripts struct {
	// Dir is where each script gets a directory of its own for as long as it
	// runs: on a file system that lets programs run, and best one that a restart
	// empties. It is made if it is not there. Empty: scripts are refused.
	Dir     string
	Timeout time.Duration // of one run; must be above zero
	Env     []string      // such as "PATH=/usr/sbin:/usr/bin:/sbin:/bin"
}

// The moments at which scripts run, as a shellscript gets them for its first
// argument.
const (
	beforeImages = "preinst"
	afterImages  = "postinst"
	afterFailure = "postfailure"
)

// runsAt lists the types that run at each moment.
var runsAt = map[string][]string{
	beforeImages: {swu.TypeShellScript, swu.TypePreinstall},
	afterImages:  {swu.TypeShellScript, swu.TypePostinstall},
	afterFailure: {swu.TypeShellScript},
}

// runScripts runs those of the moment, in the description's order. The first
// that fails ends it.
func (p *Plan) runScripts(ctx context.Context, moment string) error {
	for _, script := range p.scripts {
		if !slices.Contains(runsAt[moment], script.Type) {
			continue
		}
		if err := p.runScript(ctx, script, moment); err != nil {
			return err
		}
	}
	return nil
}

func (p *Plan) runScript(ctx context.Context, script swu.Image, moment string) error {
	s := p.around.Scripts
	if err := os.MkdirAll(s.Dir, 0o700); err != nil {
		return scriptFault(script, moment, err)
	}
	dir, err := os.MkdirTemp(s.Dir, "script-*")
	if err != nil {
		return scriptFault(script, moment, err)
	}
	defer os.RemoveAll(dir)
	file, direct, err := p.unpackScript(script, dir)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, s.Timeout)
	defer cancel()
	command := append([]string{file}, strings.Fields(script.Data)...)
	if script.Type == swu.TypeShellScript { // the others have only one moment
		command = slices.Insert(command, 1, moment)
	}
	if !direct {
		command = append([]string{"/bin/sh"}, command...)
	}
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	said := &tail{}
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = dir, append([]string{}, s.Env...), said, said
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = time.Second // for a child that left the group and holds the pipe
	err = cmd.Run()
	switch {
	case err == nil:
		return nil
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		err = fmt.Errorf("it took longer than %v", s.Timeout)
	case ctx.Err() != nil:
		return ctx.Err()
	}
	if len(said.b) > 0 {
		err = fmt.Errorf("%w: %q", err, bytes.TrimSpace(said.b))
	}
	return scriptFault(script, moment, err)
}

// unpackScript writes the script to its own directory. One without a first
// line that names its interpreter is the shell's.
func (p *Plan) unpackScript(script swu.Image, dir string) (file string, direct bool, err error) {
	content, err := p.open(script)
	if err != nil {
		return "", false, err
	}
	defer content.Close()
	file = filepath.Join(dir, filepath.Base(script.Filename))
	out, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o700)
	if err != nil {
		return "", false, scriptFault(script, "unpack", err)
	}
	in := bufio.NewReader(content)
	start, _ := in.Peek(4) // a shorter one is the shell's; an error comes back below
	direct = bytes.HasPrefix(start, []byte("#!")) || bytes.Equal(start, []byte("\x7fELF"))
	_, err = io.Copy(out, in)
	return file, direct, artifactFault(errors.Join(err, out.Close()))
}

func scriptFault(script swu.Image, moment string, err error) error {
	return ota.NewPermanent(ota.CodeScript, fmt.Errorf("cannot run script %q for %s: %w", script.Filename, moment, err))
}

// maxSaid is how much of what a script says is kept: its last words.
const maxSaid = 512

type tail struct{ b []byte }

func (t *tail) Write(p []byte) (int, error) {
	t.b = append(t.b, p[max(0, len(p)-maxSaid):]...)
	t.b = append(t.b[:0], t.b[max(0, len(t.b)-maxSaid):]...)
	return len(p), nil
}
