package uboot

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"time"

	"otad/ota/durable"
	"otad/ota/hook"
)

// rebootTimeout is how long the command may take to accept the request.
const rebootTimeout = 30 * time.Second

// Reboot implements [board.Rebooter]: it keeps the reason in the reason file,
// then runs the command.
func (b *Board) Reboot(ctx context.Context, reason string) error {
	id, err := b.bootID()
	if err != nil {
		return err
	}
	if err := b.keepReason(rebootNote{asked: id, reason: reason}); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, rebootTimeout)
	defer cancel()
	if _, err := hook.Run(ctx, b.reboot[0], nil, b.reboot[1:]...); err != nil {
		return fmt.Errorf("cannot restart the box: %w", err)
	}
	return nil
}

// Reason returns why the system that ran before asked for the restart that led
// to this one; "" when it asked for none.
func (b *Board) Reason() (string, error) {
	id, err := b.bootID()
	if err != nil {
		return "", err
	}
	note, err := b.readReason()
	if err != nil || note.found != id {
		return "", err
	}
	return note.reason, nil
}

// rebootNote is the reason file: the boot that asked, the boot that found the
// note, "-" before one did, and the reason, each on a line of its own.
type rebootNote struct{ asked, found, reason string }

func (b *Board) readReason() (rebootNote, error) {
	data, err := durable.ReadFile(b.fs, b.path(b.reasonFile), maxProc)
	if errors.Is(err, fs.ErrNotExist) {
		return rebootNote{}, nil
	}
	if err != nil {
		return rebootNote{}, err
	}
	lines := append(strings.SplitN(string(data), "\n", 4), "", "", "")
	return rebootNote{asked: lines[0], found: lines[1], reason: lines[2]}, nil
}

func (b *Board) keepReason(n rebootNote) error {
	if n.found == "" {
		n.found = "-"
	}
	name := b.path(b.reasonFile)
	if err := durable.MkdirAll(b.fs, filepath.Dir(name), 0o755); err != nil {
		return err
	}
	reason := strings.ReplaceAll(n.reason, "\n", " ")
	return durable.WriteFile(b.fs, name, []byte(n.asked+"\n"+n.found+"\n"+reason+"\n"), 0o644)
}

// findReason makes a note that an earlier boot left the reason of this one.
func (b *Board) findReason() error {
	id, err := b.bootID()
	if err != nil {
		return err
	}
	note, err := b.readReason()
	if err != nil || note.found != "-" || note.asked == id {
		return err
	}
	note.found = id
	return b.keepReason(note)
}
