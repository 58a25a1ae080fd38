package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// prepare makes the box as new for a row: slot A holds the old release, slot B
// something that no installer can skip, and nothing of either is in the page
// cache. The artifact is there where time is measured, so that this machine's disk
// is not; it is not where memory is: who reads a file fills the cache with it.
func (p *place) prepare(r row, sampled bool) error {
	from := r.from
	if from == "" {
		from = "v1"
	}
	if image := p.fw + "/" + from + "." + r.image; p.inA != image {
		if err := sh("dd if=%s of=%s bs=1M conv=fsync status=none", image, p.slotA); err != nil {
			return err
		}
		p.inA = image
	}
	want, err := p.digestOf(r)
	if err != nil {
		return err
	}
	if err := fill(p.slotB, want.size); err != nil {
		return err
	}
	if err := errors.Join(forget(p.slotA), forget(p.slotB)); err != nil {
		return err
	}
	artifact := p.art + "/" + r.art
	if err := map[bool]func(string) error{true: forget, false: remember}[sampled](artifact); err != nil {
		return err
	}
	if err := sh("find %s -mindepth 1 -delete", p.temp); err != nil {
		return err
	}
	if r.reset == "" {
		return nil
	}
	return sh("%s", p.words(r.reset, r.art))
}

// fill overwrites the beginning of a device with noise.
func fill(device string, bytes int64) error {
	noise := make([]byte, 1<<20)
	rand.NewChaCha8([32]byte{7}).Read(noise)
	f, err := os.OpenFile(device, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	for at := int64(0); at < bytes; at += int64(len(noise)) {
		if _, err := f.WriteAt(noise, at); err != nil {
			return err
		}
	}
	return f.Sync()
}

// forget drops a file from the page cache.
func forget(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED)
}

// remember brings a file into the page cache.
func remember(path string) error { return sh("cat %s >/dev/null", path) }

func syncDevice(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// digest says what a slot must hold.
type digest struct {
	size   int64
	sha256 string
}

// digestOf is of the release that a row installs.
func (p *place) digestOf(r row) (digest, error) {
	to := r.to
	if to == "" {
		to = "v2"
	}
	path := p.fw + "/" + to + "." + r.image
	if known, ok := p.digests[path]; ok {
		return known, nil
	}
	info, err := os.Stat(path)
	if err != nil {
		return digest{}, err
	}
	sum, err := hashOf(path, info.Size())
	p.digests[path] = digest{info.Size(), sum}
	return p.digests[path], err
}

// compare reads slot B back.
func (p *place) compare(r row) error {
	want, err := p.digestOf(r)
	if err != nil {
		return err
	}
	if err := forget(p.slotB); err != nil {
		return err
	}
	got, err := hashOf(p.slotB, want.size)
	if err == nil && got != want.sha256 {
		err = errors.New("the slot does not hold the image")
	}
	return err
}

func hashOf(path string, size int64) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	sum := sha256.New()
	if _, err := io.CopyBuffer(sum, struct{ io.Reader }{io.LimitReader(f, size)}, make([]byte, 1<<20)); err != nil {
		return "", err
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}

// traffic is what went to and from the device of slot B since it was made.
type traffic struct{ read, written, flushes int64 }

// device reads the kernel's count: sectors of 512 bytes, and flushes.
func (p *place) device() traffic {
	text, _ := os.ReadFile(fmt.Sprintf("/sys/block/%s/stat", filepath.Base(p.slotB)))
	words := strings.Fields(string(bytes.TrimSpace(text)))
	number := func(i int) int64 {
		if i >= len(words) {
			return 0
		}
		n, _ := strconv.ParseInt(words[i], 10, 64)
		return n
	}
	return traffic{read: number(2) * 512, written: number(6) * 512, flushes: number(15)}
}
