package install

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"otad/ota"
	"otad/ota/swu"
	"otad/ota/swu/swutest"
)

const mib = 1 << 20

// authority signs for the boxes of all tests; stranger is trusted by none.
var authority, stranger = sync.OnceValue(newAuthority), sync.OnceValue(newAuthority)

func newAuthority() swutest.Authority {
	a, err := swutest.NewAuthority()
	if err != nil {
		panic(err)
	}
	return a
}

// pattern is n bytes without repetition, the same for the same seed.
func pattern(n int, seed uint64) []byte {
	b := make([]byte, n)
	random := rand.NewChaCha8([32]byte{byte(seed)})
	_, _ = random.Read(b) // never fails
	return b
}

// pack makes an artifact for model stv1 of one image.
func pack(t testing.TB, kind string, image []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	if err := authority().PackAs(&out, swu.Manifest{Version: "2.0", Model: "stv1"}, kind, bytes.NewReader(image)); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// packText signs a description of one image with the given fields, which may
// name the sha256 of the stored bytes as SUM.
func packText(t testing.TB, kind string, image []byte, fields string) []byte {
	t.Helper()
	var stored bytes.Buffer
	about, err := swu.Compress(&stored, bytes.NewReader(image), kind)
	if err != nil {
		t.Fatal(err)
	}
	payload := stored.Bytes()
	description := `software = { version = "2.0"; hardware-compatibility = ["#RE:.*"]; images: (` +
		strings.ReplaceAll(fields, "SUM", `filename = "rootfs.img"; sha256 = "`+about.SHA256+`"`) + `); }`
	signature, err := authority().Signer.Sign([]byte(description))
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	for _, part := range []struct {
		name string
		data []byte
	}{{swu.DescriptionName, []byte(description)}, {swu.SignatureName, signature}, {"rootfs.img", payload}, {"TRAILER!!!", nil}} {
		fmt.Fprintf(&out, "070701%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%s\x00",
			0, 0o100644, 0, 0, 1, 0, len(part.data), 0, 0, 0, 0, len(part.name)+1, 0, part.name)
		align(&out)
		out.Write(part.data)
		align(&out)
	}
	return out.Bytes()
}

func align(b *bytes.Buffer) { b.Write(make([]byte, -b.Len()&3)) }

// rulesFor are those of a box of model stv1 whose idle slot b has size bytes.
func rulesFor(t testing.TB, size int64) Rules {
	t.Helper()
	trust, err := swu.ParseTrust(authority().CA)
	if err != nil {
		t.Fatal(err)
	}
	return Rules{
		Trust: trust, Selection: swu.Selection{Board: "stv1", Set: "stable", Mode: "copy2"}, At: time.Now(),
		Target: Target{Name: "b", Device: "/dev/slot-b", Forbidden: []string{"a", "/dev/slot-a"}, SizeBytes: size},
	}
}

func quiet(Stage, int64, int64) {}

// slot is an idle slot in memory with a cache before the medium: only a sync
// brings bytes to the medium, only dropping the cache brings them back.
type slot struct {
	cache, medium []byte
	dirty         bool
	writes        []write
	syncs         int

	writeFault, syncFault error // met by the next call
	flip                  int   // the medium keeps another byte here; -1 for none
	onWrite               func()
}

type write struct{ offset, length int64 }

func newSlot(content []byte) *slot {
	return &slot{cache: bytes.Clone(content), medium: bytes.Clone(content), flip: -1}
}

func (s *slot) Size() int64 { return int64(len(s.cache)) }

func (s *slot) ReadAt(p []byte, offset int64) (int, error) {
	if offset >= s.Size() {
		return 0, io.EOF
	}
	n := copy(p, s.cache[offset:])
	if n < len(p) || offset+int64(n) == s.Size() {
		return n, io.EOF // as a reader may at the very end
	}
	return n, nil
}

func (s *slot) WriteAt(p []byte, offset int64) (int, error) {
	if s.onWrite != nil {
		s.onWrite()
	}
	if s.writeFault != nil {
		return 0, s.writeFault
	}
	if offset+int64(len(p)) > s.Size() {
		return 0, errors.New("beyond the end")
	}
	s.writes = append(s.writes, write{offset, int64(len(p))})
	s.dirty = true
	return copy(s.cache[offset:], p), nil
}

func (s *slot) Sync() error {
	s.syncs++
	if s.syncFault != nil {
		return s.syncFault
	}
	copy(s.medium, s.cache)
	if s.flip >= 0 {
		s.medium[s.flip] ^= 1
	}
	s.dirty = false
	return nil
}

func (s *slot) DropCache() error {
	if !s.dirty {
		copy(s.cache, s.medium)
	}
	return nil
}

// run installs an artifact as the agent does: open, write, read back.
func run(ctx context.Context, artifact []byte, rules Rules, s *slot, skipEqual bool) (ota.Image, error) {
	plan, err := Open(ctx, bytes.NewReader(artifact), int64(len(artifact)), rules, quiet)
	if err != nil {
		return ota.Image{}, err
	}
	image, err := plan.Write(ctx, s, skipEqual, quiet)
	if err != nil {
		return ota.Image{}, err
	}
	return image, ReadBack(ctx, s, image, quiet)
}

func wantFault(t *testing.T, err error, class ota.Class, code ota.Code) {
	t.Helper()
	f := ota.FaultOf(err)
	if f == nil || f.Class != class || f.Code != code {
		t.Errorf("got %+v (%v), want %s %s", f, err, class, code)
	}
}

func sumOf(s string) [sha256.Size]byte { return sha256.Sum256([]byte(s)) }
