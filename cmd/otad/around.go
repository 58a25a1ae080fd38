package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"otad/agent/config"
	"otad/board"
	"otad/ota"
	"otad/ota/install"
	"otad/ota/swu"
)

// openTrust reads whom to believe: the certificates of the settings, and the
// anchors that confirmed artifacts brought.
func openTrust(cfg *config.Config) (*swu.Trust, error) {
	files := cfg.Trust.CA
	if cfg.Trust.Dir != "" {
		brought, err := filepath.Glob(filepath.Join(cfg.Trust.Dir, "*.pem"))
		if err != nil {
			return nil, ota.NewPermanent(ota.CodeConfig, fmt.Errorf("cannot use trust.dir: %w", err))
		}
		files = append(files[:len(files):len(files)], brought...)
	}
	bundles, err := config.ReadFiles(files...)
	if err != nil {
		return nil, err
	}
	trust, err := swu.ParseTrust(bundles...)
	if err != nil {
		return nil, ota.NewPermanent(ota.CodeConfig, fmt.Errorf("cannot use trust.ca: %w", err))
	}
	if trust, err = trust.For(cfg.Trust.Purpose); err != nil {
		return nil, ota.NewPermanent(ota.CodeConfig, fmt.Errorf("cannot use trust.purpose: %w", err))
	}
	return trust, nil
}

// trustDevice is how a description calls the directory of anchors.
const trustDevice = "trust"

// openAround says what artifacts may do beyond filling the idle slot.
func openAround(cfg *config.Config, b board.Board) (install.Around, error) {
	c := cfg.Install
	around := install.Around{Vars: c.Vars, Scripts: install.Scripts{
		Dir: c.Scripts, Timeout: time.Duration(c.ScriptTimeout),
		Env: []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C"},
	}}
	if cfg.Trust.Dir != "" {
		around.Directories = append(around.Directories, install.Directory{Device: trustDevice, Path: cfg.Trust.Dir, Trust: true})
	}
	for _, d := range c.Directories {
		at := strings.LastIndex(d, "=")
		around.Directories = append(around.Directories, install.Directory{Device: d[:max(0, at)], Path: d[at+1:]})
	}
	if c.Versions != "" {
		around.Installed = func(component string) (string, bool) { return installedVersion(c.Versions, component) }
	}
	if v, ok := b.(board.Variables); ok {
		around.BootEnv = bootEnv{v}
	}
	if c.KeyFile == "" {
		return around, nil
	}
	secret, err := config.ReadSecret(c.KeyFile)
	if err != nil {
		return around, err
	}
	if around.Key, err = swu.ParseKey([]byte(secret)); err != nil {
		return around, ota.NewPermanent(ota.CodeConfig, fmt.Errorf("cannot use install.key_file: %w", err))
	}
	return around, nil
}

// bootEnv is the board's variables as the engine sees them.
type bootEnv struct{ board board.Variables }

func (e bootEnv) Check(slot string, change swu.Variable) error {
	err := e.board.CheckVariable(slot, board.Variable{Name: change.Name, Value: change.Value})
	if err != nil && !errors.Is(err, board.ErrVariable) { // the board could not tell; the artifact may be good
		return ota.NewTransient(ota.CodeBootEnvironment, fmt.Errorf("cannot check variable %q: %w", change.Name, err))
	}
	return err
}

func (e bootEnv) Stage(ctx context.Context, slot string, changes []swu.Variable) error {
	list := make([]board.Variable, 0, len(changes))
	for _, c := range changes {
		list = append(list, board.Variable{Name: c.Name, Value: c.Value})
	}
	return e.board.StageVariables(ctx, slot, list)
}

// installedVersion looks a component up in a file of lines "component version",
// as SWUpdate's sw-versions. A file that cannot be read knows none.
func installedVersion(path, component string) (string, bool) {
	content, err := config.ReadFiles(path)
	if err != nil {
		return "", false
	}
	lines := bufio.NewScanner(bytes.NewReader(content[0]))
	for lines.Scan() {
		if fields := strings.Fields(lines.Text()); len(fields) == 2 && fields[0] == component {
			return fields[1], true
		}
	}
	return "", false
}
