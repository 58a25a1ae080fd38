package agent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"otad/board"
	"otad/board/sim"
	"otad/ota"
	"otad/ota/durable"
	"otad/ota/durable/crashfs"
	"otad/ota/swu"
	"otad/ota/swu/swutest"
)

// firmware is what all crash tests install: made once, outside of any bubble.
type firmware struct {
	at        time.Time // a time at which the certificates are valid
	trust     *swu.Trust
	images    map[int64][]byte
	artifacts map[int64][]byte
	offset    int64            // of the image in each artifact
	kernels   map[int64][]byte // of the versions that have a part beside their image
	chunks    map[int64][]byte // of the versions that come as a delta
}

var crashFirmware = sync.OnceValue(func() firmware {
	authority, err := swutest.NewAuthority()
	if err != nil {
		panic(err)
	}
	trust, err := swu.ParseTrust(authority.CA)
	if err != nil {
		panic(err)
	}
	f := firmware{at: time.Now(), trust: trust, images: map[int64][]byte{}, artifacts: map[int64][]byte{}}
	f.kernels = map[int64][]byte{}
	for code, size := range map[int64]int{1: crashSlotBytes, 2: 5 << 19, 3: 5<<19 - 700} {
		image := make([]byte, size)
		_, _ = rand.NewChaCha8([32]byte{byte(code)}).Read(image) // never fails
		var artifact bytes.Buffer
		if err := authority.Pack(&artifact, testModel, fmt.Sprint(code), bytes.NewReader(image)); err != nil {
			panic(err)
		}
		f.images[code], f.artifacts[code] = image, artifact.Bytes()
		f.offset = max(f.offset, int64(bytes.Index(artifact.Bytes(), image[:64])))
	}
	f.addSet(authority)
	f.addDelta(authority)
	return f
})

// setCode is the version that is a set: an image and a kernel beside it.
const setCode = 4

func (f firmware) addSet(authority swutest.Authority) {
	for _, code := range []int64{1, setCode} {
		f.kernels[code] = make([]byte, 300<<10)
		_, _ = rand.NewChaCha8([32]byte{byte(code), 1}).Read(f.kernels[code])
	}
	f.images[setCode] = bytes.Clone(f.images[2])
	f.images[setCode][0] ^= 1
	m := swu.Manifest{Version: fmt.Sprint(setCode), Model: testModel}
	for name, content := range map[string][]byte{"rootfs": f.images[setCode], "kernel": f.kernels[setCode]} {
		var stored bytes.Buffer
		about, err := swu.Compress(&stored, bytes.NewReader(content), swu.KindNone)
		if err != nil {
			panic(err)
		}
		p := swu.Payload{Filename: name, Name: name, Stored: about, Content: &stored}
		if name == "kernel" {
			p.Devices = map[string]string{"copy1": name, "copy2": name}
		}
		m.Payloads = append(m.Payloads, p)
	}
	slices.SortFunc(m.Payloads, func(a, b swu.Payload) int { return strings.Compare(a.Filename, b.Filename) })
	var artifact bytes.Buffer
	if err := swu.Pack(&artifact, m, authority.Signer); err != nil {
		panic(err)
	}
	f.artifacts[setCode] = artifact.Bytes()
}

// identify tells which image a slot holds, 0 for none of them.
func (f firmware) identify(disk *crashfs.Disk, slot string) int64 {
	for code, image := range f.images {
		if holds(disk, slot, image) {
			return code
		}
	}
	return 0
}

// holds tells whether the file begins with want.
func holds(disk *crashfs.Disk, name string, want []byte) bool {
	file, err := disk.OpenFile(name, 0, 0)
	if err != nil {
		return len(want) == 0
	}
	defer file.Close()
	part := make([]byte, 64<<10)
	for at := 0; at < len(want); at += len(part) {
		n := min(len(part), len(want)-at)
		got, _ := file.ReadAt(part[:n], int64(at))
		if got != n || !bytes.Equal(part[:n], want[at:at+n]) {
			return false
		}
	}
	return true
}

// crashBoard is the simulated board of a system that is healthy or not.
type crashBoard struct {
	*sim.Board
	healthy bool
}

func (b crashBoard) Health(context.Context) error {
	if !b.healthy {
		return errors.New("the application does not start")
	}
	return nil
}

var _ board.Health = crashBoard{}

// crashFetcher brings artifacts in as transport/download does, call by call:
// the name is synced before anything vouches for it, a checkpoint is saved
// after the bytes were synced, and what is behind it is cut off. A transfer
// from the start breaks after the first checkpoint, so that each is resumed.
type crashFetcher struct{ fs durable.FS }

const (
	crashChunk      = 512 << 10
	crashCheckpoint = 1 << 20
)

func (c crashFetcher) FreeBytes(string) (int64, error) { return 1 << 40, nil }

func (c crashFetcher) Fetch(_ context.Context, f Fetch) error {
	err := c.fetch(f)
	if err == nil || ota.FaultOf(err).Code == ota.CodeJournal {
		return err
	}
	return ota.NewTransient(ota.CodeDownloadNetwork, fmt.Errorf("cannot download %q: %w", f.URL, err))
}

func (c crashFetcher) fetch(f Fetch) error {
	data := crashFirmware().artifacts[crashCode(f.URL)]
	total := int64(len(data))
	file, err := c.fs.OpenFile(f.Path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	defer file.Close()
	if err := c.fs.SyncDir(filepath.Dir(f.Path)); err != nil {
		return err
	}
	info, err := file.Stat()
	if err != nil {
		return err
	}
	done := f.From.SyncedBytes
	if f.From.URL != f.URL || done > info.Size() {
		done = 0
	}
	if err := file.Truncate(done); err != nil {
		return err
	}
	fresh := done == 0
	for done < total {
		n := min(crashChunk, total-done)
		if _, err := file.WriteAt(data[done:done+n], done); err != nil {
			return err
		}
		done += n
		if done%crashCheckpoint != 0 && done != total {
			continue
		}
		if err := errors.Join(file.Sync(), file.DropCache()); err != nil {
			return err
		}
		if err := f.Save(ota.Checkpoint{URL: f.URL, Validator: `"1"`, SyncedBytes: done, TotalBytes: total}); err != nil {
			return err
		}
		if fresh {
			return errors.New("connection reset by peer")
		}
	}
	return nil
}

// crashStreamer reads artifacts as transport/download does: from the start, with
// what is on the slot skipped. A reading from the start breaks once the first
// checkpoint was made, so that each is resumed.
type crashStreamer struct{}

func (crashStreamer) Stream(_ context.Context, s Stream) (Incoming, error) {
	in := &crashIncoming{url: s.URL, data: crashFirmware().artifacts[crashCode(s.URL)]}
	in.resumed = s.From.URL == s.URL && s.From.SyncedBytes > 0
	return in, nil
}

type crashIncoming struct {
	url     string
	data    []byte
	at      int64
	resumed bool
}

func (in *crashIncoming) Read(p []byte) (int, error) {
	if !in.resumed && in.at > crashCheckpoint+crashCheckpoint/2 {
		return 0, ota.NewTransient(ota.CodeDownloadNetwork, errors.New("cannot download: connection reset by peer"))
	}
	if in.at >= int64(len(in.data)) {
		return 0, io.EOF
	}
	n := copy(p[:min(len(p), crashChunk)], in.data[in.at:])
	in.at += int64(n)
	return n, nil
}

func (in *crashIncoming) SkipTo(offset int64) error {
	in.at = offset
	return nil
}

func (in *crashIncoming) Close() error      { return nil }
func (in *crashIncoming) Resumed() bool     { return in.resumed }
func (in *crashIncoming) TotalBytes() int64 { return int64(len(in.data)) }

func (in *crashIncoming) Checkpoint(offset int64) ota.Checkpoint {
	return ota.Checkpoint{URL: in.url, Validator: `"1"`, SyncedBytes: offset, TotalBytes: int64(len(in.data))}
}

// crashCode is the version that a URL brings.
func crashCode(url string) (code int64) {
	_, _ = fmt.Sscanf(path.Base(url), "%d.swu", &code) // else 0, which there is none of
	return code
}
