package install

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"otad/ota"
	"otad/ota/swu"
)

// stream is an artifact that comes in. It breaks where it is told to, and
// counts what was read.
type stream struct {
	artifact []byte
	at       int64
	breakAt  int64 // a read of this byte fails; 0 for none
	fault    error
	read     int64
	closed   bool
}

func (s *stream) Read(p []byte) (int, error) {
	switch {
	case s.closed:
		return 0, errors.New("closed")
	case s.breakAt > 0 && s.at >= s.breakAt:
		return 0, s.fault
	case s.at == int64(len(s.artifact)):
		return 0, io.EOF
	}
	end := min(s.at+64<<10, int64(len(s.artifact)))
	if s.breakAt > 0 {
		end = min(end, s.breakAt)
	}
	n := copy(p, s.artifact[s.at:end])
	s.at += int64(n)
	s.read += int64(n)
	return n, nil
}

func (s *stream) SkipTo(offset int64) error {
	if offset > int64(len(s.artifact)) {
		return io.ErrUnexpectedEOF
	}
	s.at = offset
	return nil
}

func (s *stream) Close() error { s.closed = true; return nil }

// pour streams an artifact as the agent does: open, write, read back.
func pour(ctx context.Context, in *stream, rules Rules, to StreamTo) (ota.Image, error) {
	if to.Save == nil {
		to.Save = func(Landed) error { return nil }
	}
	to.Progress = quiet
	s, err := OpenStream(in, rules)
	if err != nil {
		return ota.Image{}, err
	}
	image, err := s.Write(ctx, to)
	if err != nil {
		return ota.Image{}, err
	}
	return image, ReadBack(ctx, to.Slot, image, quiet)
}

func TestStream(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{swu.KindNone, swu.KindZlib, swu.KindZstd} {
		for _, size := range []int{1, mib, mib + 1, 5*mib + 7} {
			t.Run(fmt.Sprint(kind, " ", size), func(t *testing.T) {
				t.Parallel()
				image := pattern(size, 1)
				artifact := pack(t, kind, image)
				s := newSlot(pattern(6*mib, 2))
				got, err := pour(t.Context(), &stream{artifact: artifact}, rulesFor(t, s.Size()), StreamTo{Slot: s})
				if err != nil {
					t.Fatal(err)
				}
				staged, err := run(t.Context(), artifact, rulesFor(t, s.Size()), newSlot(make([]byte, 6*mib)), false)
				if err != nil || got != staged {
					t.Errorf("streamed %+v, staged %+v (%v)", got, staged, err)
				}
				if !bytes.Equal(s.medium[:size], image) || !bytes.Equal(s.medium[size:], pattern(6*mib, 2)[size:]) {
					t.Error("the slot differs from the image")
				}
			})
		}
	}
}

// TestStreamGoesOn breaks a stream at bytes of every class and lets another
// process go on from what was saved, with what the medium kept of the rest. It
// ends with the right image, and reads no more again than one mark.
func TestStreamGoesOn(t *testing.T) {
	t.Parallel()
	const every = mib
	image := pattern(20*mib+12345, 3)
	for _, kind := range []string{swu.KindNone, swu.KindZstd} {
		artifact := pack(t, kind, image)
		list := members(artifact)
		payload := list[2]
		breaks := map[string]int{
			"in the first header": 50, "in the description": list[0].data + 10, "in the signature": list[1].data + 10,
			"in the payload's header": payload.header + 60, "at the payload's first byte": payload.data, "in its first block": payload.data + 1000,
			"before its last byte": payload.end - 1, "behind its last byte": payload.end, "in the trailer": list[3].header + 20,
		}
		random := rand.New(rand.NewPCG(7, uint64(len(artifact))))
		for n := range 8 {
			breaks[fmt.Sprint("in the payload, ", n)] = payload.data + random.IntN(payload.end-payload.data)
		}
		for name, at := range breaks {
			t.Run(kind+" "+name, func(t *testing.T) {
				t.Parallel()
				s := newSlot(make([]byte, 21*mib))
				broken := ota.NewTransient(ota.CodeDownloadNetwork, errors.New("the line broke"))
				in := &stream{artifact: artifact, breakAt: int64(at), fault: broken}
				var saved Landed
				to := StreamTo{Slot: s, MarkEvery: every, Save: func(l Landed) error {
					if s.dirty {
						t.Error("what was saved is not on the medium")
					}
					saved = l
					return nil
				}}
				if _, err := pour(t.Context(), in, rulesFor(t, s.Size()), to); !errors.Is(err, broken) {
					t.Fatalf("broke with %v", err)
				}
				// The power goes: what is not on the medium is lost, or in part.
				copy(s.cache, s.medium)
				lost := int(saved.Point.PlainBytes)
				_, _ = rand.NewChaCha8([32]byte{}).Read(s.cache[lost:min(lost+3*mib, len(s.cache))]) // never fails
				copy(s.medium, s.cache)

				again := &stream{artifact: artifact}
				to.From, to.SkipEqual = saved, true
				got, err := pour(t.Context(), again, rulesFor(t, s.Size()), to)
				if err != nil {
					t.Fatal(err)
				}
				if !bytes.Equal(s.medium[:len(image)], image) || got.SizeBytes != int64(len(image)) {
					t.Error("the slot differs from the image")
				}
				// One mark, and what was read ahead of the medium.
				twice := in.read + again.read - int64(len(artifact))
				if limit := int64(every + 4<<20 + transferBlocks*blockBytes + (aheadPieces+1)*aheadBytes); twice > limit {
					t.Errorf("%d bytes were read twice, more than %d", twice, limit)
				}
			})
		}
	}
}

// A damaged artifact never ends well, and nothing beside the slot is touched.
func TestStreamMutationsFail(t *testing.T) {
	t.Parallel()
	image := pattern(100_000, 1)
	for _, kind := range []string{swu.KindNone, swu.KindZstd} {
		n := 0
		mutate(pack(t, kind, image), func(m mutation) {
			n++
			s := newSlot(make([]byte, 2*len(image)))
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			_, err := pour(ctx, &stream{artifact: m.artifact}, rulesFor(t, s.Size()), StreamTo{Slot: s})
			var f *ota.Fault
			if err == nil {
				t.Errorf("%s, %s: accepted", kind, m.name)
			} else if !errors.As(err, &f) || f.Class != ota.Permanent {
				if !errors.Is(err, io.ErrUnexpectedEOF) { // of the source: its transport says what it is
					t.Errorf("%s, %s: %v", kind, m.name, err)
				}
			}
		})
		if n < mutations/2 {
			t.Errorf("only %d mutations", n)
		}
	}
}

// A hash state that was spoilt must not be believed.
func TestStreamIgnoresABadMark(t *testing.T) {
	t.Parallel()
	image := pattern(3*mib, 1)
	artifact := pack(t, swu.KindNone, image)
	for name, hash := range map[string]string{"none": "", "no base64": "***", "short": "AAAA"} {
		s := newSlot(make([]byte, 3*mib))
		from := Landed{Offset: mib, Point: ota.StreamPoint{Entry: "rootfs.img", Stored: mib, PlainBytes: mib, Hash: hash}}
		if _, err := pour(t.Context(), &stream{artifact: artifact}, rulesFor(t, s.Size()), StreamTo{Slot: s, From: from}); err != nil || !bytes.Equal(s.medium, image) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestStreamRefused(t *testing.T) {
	t.Parallel()
	image := pattern(mib, 1)
	whole := pack(t, swu.KindNone, image)
	for _, tt := range []struct {
		name     string
		artifact []byte
		rules    func(r *Rules)
		code     ota.Code
	}{
		{"nothing", nil, nil, ota.CodeArtifactDamaged},
		{"a web page", []byte(strings.Repeat("<html>captive portal</html>", 20)), nil, ota.CodeArtifactDamaged},
		{"below the floor", whole, func(r *Rules) { r.Floor = "2.1" }, ota.CodeBelowFloor},
		{"for another model", whole, func(r *Rules) { r.Selection.Board = "stv9" }, ota.CodeWrongHardware},
		{"into the active slot", packText(t, "none", image, `{SUM; device = "/dev/slot-a";}`), nil, ota.CodeTargetForbidden},
		{"larger than the slot", whole, func(r *Rules) { r.Target.SizeBytes = mib - 1 }, ota.CodeImageTooLarge},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := newSlot(make([]byte, 2*mib))
			rules := rulesFor(t, s.Size())
			if tt.rules != nil {
				tt.rules(&rules)
			}
			in := &stream{artifact: tt.artifact}
			_, err := pour(t.Context(), in, rules, StreamTo{Slot: s})
			wantFault(t, err, ota.Permanent, tt.code)
			if len(s.writes) != 0 || in.read > 128<<10 {
				t.Errorf("%d writes into the slot, %d bytes read", len(s.writes), in.read)
			}
		})
	}
}

// A fault of the medium, of the journal or of the caller ends a stream that
// waits for the network, at once.
func TestStreamIsInterrupted(t *testing.T) {
	t.Parallel()
	artifact := pack(t, swu.KindNone, pattern(8*mib, 1))
	for name, spoil := range map[string]func(s *slot, to *StreamTo, cancel func()){
		"write": func(s *slot, _ *StreamTo, _ func()) { s.writeFault = errors.New("worn out") },
		"sync":  func(s *slot, _ *StreamTo, _ func()) { s.syncFault = errors.New("worn out") },
		"save": func(_ *slot, to *StreamTo, _ func()) {
			to.Save = func(Landed) error { return errors.New("no journal") }
		},
		"cancel": func(s *slot, _ *StreamTo, cancel func()) { s.onWrite = cancel },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			s := newSlot(make([]byte, 8*mib))
			in := &waits{stream: stream{artifact: artifact}, at: 6 * mib, done: make(chan struct{})}
			to := StreamTo{Slot: s, MarkEvery: mib, Progress: quiet, Save: func(Landed) error { return nil }}
			spoil(s, &to, func() { cancel(); in.Close() }) // a transport hears of its context
			streaming, err := OpenStream(in, rulesFor(t, s.Size()))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := streaming.Write(ctx, to); err == nil || strings.Contains(err.Error(), "hung up") {
				t.Errorf("ended with %v", err)
			}
		})
	}
}

// waits is a stream that comes to a halt, until it is closed.
type waits struct {
	stream
	at   int64
	done chan struct{}
}

func (w *waits) Read(p []byte) (int, error) {
	if w.stream.at >= w.at {
		<-w.done
		return 0, errors.New("hung up")
	}
	return w.stream.Read(p)
}

func (w *waits) Close() error {
	select {
	case <-w.done:
	default:
		close(w.done)
	}
	return nil
}

// cpio writes an archive without check sums.
func cpio(parts ...[2]string) []byte {
	var out bytes.Buffer
	for _, part := range append(parts, [2]string{"TRAILER!!!", ""}) {
		fmt.Fprintf(&out, "070701%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%s\x00",
			0, 0o100644, 0, 0, 1, 0, len(part[1]), 0, 0, 0, 0, len(part[0])+1, 0, part[0])
		align(&out)
		out.WriteString(part[1])
		align(&out)
	}
	return out.Bytes()
}

// TestStreamOrder streams an artifact with a script, a file and an image in
// several orders.
func TestStreamOrder(t *testing.T) {
	t.Parallel()
	image := string(pattern(mib, 1))
	for _, tt := range []struct {
		name   string
		order  []string
		script string // its type
		pad    int    // makes the script larger
		says   string // of the refusal; "" for none
	}{
		{"the script first", []string{"go.sh", "image", "note"}, "shellscript", 0, ""},
		{"the file first", []string{"go.sh", "note", "image"}, "preinstall", 0, ""},
		{"a script for the end, at the end", []string{"image", "note", "go.sh"}, "postinstall", 0, ""},
		{"a script that comes too late", []string{"image", "go.sh", "note"}, "shellscript", 0, `"go.sh" must run before "image" is installed`},
		{"a script that is too large", []string{"go.sh", "image", "note"}, "preinstall", maxHeldBytes, `can be kept in memory`},
		{"something that nobody wants", []string{"other", "go.sh", "other2", "image", "note"}, "preinstall", 0, ""},
		{"an image that is missing", []string{"go.sh", "note"}, "preinstall", 0, `no entry "image"`},
		{"a file that is missing", []string{"go.sh", "image"}, "preinstall", 0, `no entry "note"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			content := map[string]string{"image": image, "note": "a note", "other": "x", "other2": strings.Repeat("y", 300_000),
				"go.sh": "#!/bin/sh\necho $1 >> " + dir + "/ran\n" + strings.Repeat("#", tt.pad)}
			sum := func(name string) string {
				return fmt.Sprintf(`filename = %q; sha256 = "%x"`, name, sumOf(content[name]))
			}
			description := `software = { version = "2.0"; hardware-compatibility = ["#RE:.*"]; images: ({` + sum("image") + `;}); files: ({` +
				sum("note") + `; path = "` + dir + `/note";}); scripts: ({` + sum("go.sh") + `; type = "` + tt.script + `";}); }`
			signature, err := authority().Signer.Sign([]byte(description))
			if err != nil {
				t.Fatal(err)
			}
			parts := [][2]string{{swu.DescriptionName, description}, {swu.SignatureName, string(signature)}}
			for _, name := range tt.order {
				parts = append(parts, [2]string{name, content[name]})
			}
			s := newSlot(make([]byte, mib))
			rules := rulesFor(t, s.Size())
			rules.Around = Around{Directories: []Directory{{Path: dir}}, Scripts: Scripts{Dir: filepath.Join(dir, "run"), Timeout: time.Minute}}
			_, err = pour(t.Context(), &stream{artifact: cpio(parts...)}, rules, StreamTo{Slot: s})
			if tt.says != "" {
				if err == nil || !strings.Contains(err.Error(), tt.says) {
					t.Errorf("got %v, want %q", err, tt.says)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if note, _ := os.ReadFile(filepath.Join(dir, "note")); string(note) != "a note" || string(s.medium) != image {
				t.Error("file or slot differ")
			}
			ran, _ := os.ReadFile(filepath.Join(dir, "ran"))
			if want := map[string]string{"shellscript": "preinst\npostinst\n", "preinstall": "\n", "postinstall": "\n"}[tt.script]; string(ran) != want {
				t.Errorf("the script ran %q, want %q", ran, want)
			}
		})
	}
}
