package lab

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"otad/cmd/otalab/rootfs"
	"otad/ota"
)

// System is a version of a set-top box's software.
type System struct {
	Version ota.Version
	Agent   string // the otad binary that it carries; none when empty
	// Health is the shell script that judges the system, without its first
	// line.
	Health string
	// SizeBytes is how much is in the image, together with what fills it up; 0
	// for nothing more than is needed.
	SizeBytes int64
}

// Health scripts.
const (
	Healthy = "echo 'app: up, 214 channels'\n"
	Broken  = "echo 'app: tuner 0 does not lock' >&2\nexit 1\n"
)

// Build makes the squashfs image of the system.
func (s System) Build(image string) error {
	return rootfs.Build(image, func(root string) error {
		left := s.SizeBytes
		if s.Agent != "" {
			n, err := copyFile(filepath.Join(root, "usr/sbin/otad"), s.Agent, 0o755)
			if err != nil {
				return err
			}
			left -= n
		}
		version := fmt.Sprintf("%d %s\n", s.Version.Code, s.Version.Name)
		if err := writeFile(filepath.Join(root, "etc/otad/version"), version, 0o644); err != nil {
			return err
		}
		hook := filepath.Join(root, "usr/lib/otad/health.d/10-app")
		if err := writeFile(hook, "#!/bin/sh\n"+s.Health, 0o755); err != nil {
			return err
		}
		for name, text := range map[string]string{"apply-config": applyHook, "install-package": installHook} {
			if err := writeFile(filepath.Join(root, "usr/lib/otad", name), text, 0o755); err != nil {
				return err
			}
		}
		return fill(filepath.Join(root, "usr/share"), left, s.Version.Code)
	})
}

// fill makes the image as heavy as a real one, with real files: the larger
// ones of the Go installation that fit. What is missing then, or all when
// there is no Go, is made up from seed.
func fill(dir string, sizeBytes, seed int64) error {
	if goroot, err := exec.Command("go", "env", "GOROOT").Output(); err == nil {
		n, err := fillFrom(filepath.Join(dir, "go"), string(bytes.TrimSpace(goroot)), sizeBytes)
		if err != nil {
			return err
		}
		sizeBytes -= n
	}
	if sizeBytes <= 0 {
		return nil
	}
	source := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)})
	_, err := writeFrom(filepath.Join(dir, "noise"), io.LimitReader(source, sizeBytes), 0o644)
	return err
}

// fillFrom copies files from below top to dir, at most sizeBytes, and returns
// how much they were.
func fillFrom(dir, top string, sizeBytes int64) (int64, error) {
	const worthwhile = 256 << 10 // an image holds few names
	var total int64
	err := filepath.WalkDir(top, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		info, err := entry.Info()
		if err != nil || info.Size() < worthwhile || total+info.Size() > sizeBytes {
			return err
		}
		n, err := copyFile(filepath.Join(dir, fmt.Sprintf("%d-%s", total, entry.Name())), path, 0o644)
		total += n
		return err
	})
	return total, err
}

func copyFile(name, from string, perm fs.FileMode) (int64, error) {
	f, err := os.Open(from)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	return writeFrom(name, f, perm)
}

func writeFile(name, text string, perm fs.FileMode) error {
	_, err := writeFrom(name, strings.NewReader(text), perm)
	return err
}

// writeFrom makes the new file name, and the directories above it, from r.
func writeFrom(name string, r io.Reader, perm fs.FileMode) (int64, error) {
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return 0, err
	}
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, perm)
	if err != nil {
		return 0, err
	}
	n, err := io.Copy(f, r)
	return n, errors.Join(err, f.Close())
}
