package lab

import (
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"

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
	// FillBytes is roughly how much else is in the image.
	FillBytes int64
}

// Health scripts.
const (
	Healthy = "echo 'app: up, 214 channels'\n"
	Broken  = "echo 'app: tuner 0 does not lock' >&2\nexit 1\n"
)

// Build makes the squashfs image of the system.
func (s System) Build(image string) error {
	return rootfs.Build(image, func(root string) error {
		if s.Agent != "" {
			if err := copyFile(filepath.Join(root, "usr/sbin/otad"), s.Agent, 0o755); err != nil {
				return err
			}
		}
		version := fmt.Sprintf("%d %s\n", s.Version.Code, s.Version.Name)
		if err := writeFile(filepath.Join(root, "etc/otad/version"), version, 0o644); err != nil {
			return err
		}
		hook := filepath.Join(root, "usr/lib/otad/health.d/10-app")
		if err := writeFile(hook, "#!/bin/sh\n"+s.Health, 0o755); err != nil {
			return err
		}
		return fill(filepath.Join(root, "usr/share"), s.FillBytes, uint64(s.Version.Code))
	})
}

// fill makes the image as heavy as a real one, with real files: the larger
// ones of the Go installation. What is missing, or all when there is no Go, is
// made up from seed.
func fill(dir string, sizeBytes int64, seed uint64) error {
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
	return writeFrom(filepath.Join(dir, "noise"), io.LimitReader(source, sizeBytes), 0o644)
}

// fillFrom copies files from below top to dir until they are sizeBytes, and
// returns how much they were.
func fillFrom(dir, top string, sizeBytes int64) (int64, error) {
	const worthwhile = 256 << 10 // an image holds few names
	var n int64
	err := filepath.WalkDir(top, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		info, err := entry.Info()
		if err != nil || info.Size() < worthwhile {
			return err
		}
		n += info.Size()
		if err := copyFile(filepath.Join(dir, entry.Name()), path, 0o644); err != nil {
			return err
		}
		if n >= sizeBytes {
			return fs.SkipAll
		}
		return nil
	})
	return n, err
}

func copyFile(name, from string, perm fs.FileMode) error {
	f, err := os.Open(from)
	if err != nil {
		return err
	}
	defer f.Close()
	return writeFrom(name, f, perm)
}

func writeFile(name, text string, perm fs.FileMode) error {
	return writeFrom(name, bytes.NewReader([]byte(text)), perm)
}

// writeFrom makes name, and the directories above it, from r. A file of the
// same name is replaced.
func writeFrom(name string, r io.Reader, perm fs.FileMode) error {
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, perm)
	if err != nil {
		return err
	}
	if _, err := io.Copy(f, r); err != nil {
		f.Close()
		return err
	}
	return f.Close()
}
