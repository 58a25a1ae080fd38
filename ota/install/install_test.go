package install

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"testing"
	"time"

	"otad/ota"
	"otad/ota/swu"
)

func TestInstall(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{swu.KindNone, swu.KindZlib, swu.KindZstd} {
		for _, size := range []int{1, mib, mib + 1, 2 * mib} {
			t.Run(fmt.Sprint(kind, " ", size), func(t *testing.T) {
				t.Parallel()
				image := pattern(size, 1)
				s := newSlot(pattern(2*mib, 2))
				got, err := run(t.Context(), pack(t, kind, image), rulesFor(t, s.Size()), s, false)
				if err != nil {
					t.Fatal(err)
				}
				if !bytes.Equal(s.medium[:size], image) {
					t.Error("the slot differs from the image")
				}
				if !bytes.Equal(s.medium[size:], pattern(2*mib, 2)[size:]) {
					t.Error("something was written behind the image")
				}
				if got.Version != "2.0" || got.Signer != "otad lab signer" || got.SizeBytes != int64(size) || len(got.SHA256) != 64 {
					t.Errorf("image %+v", got)
				}
				for i, w := range s.writes {
					if w.offset != int64(i)*blockBytes || w.length != min(blockBytes, int64(size)-w.offset) {
						t.Errorf("write %d is %+v", i, w)
					}
				}
			})
		}
	}
}

// What is refused before the slot is touched.
func TestRefused(t *testing.T) {
	t.Parallel()
	image := pattern(2*mib, 1)
	whole := pack(t, swu.KindNone, image)
	var foreign bytes.Buffer
	if err := stranger().Pack(&foreign, "stv1", "2.0", bytes.NewReader(image)); err != nil {
		t.Fatal(err)
	}
	flip := func(find []byte, behind int) []byte {
		at := bytes.Index(whole, find)
		if at < 0 {
			t.Fatalf("%q is not in the artifact", find)
		}
		b := bytes.Clone(whole)
		b[at+behind] ^= 1
		return b
	}
	signature := bytes.Index(whole, []byte(swu.SignatureName))
	// Without check sums in the archive it is the signature that tells.
	unsummed := packText(t, "none", image, `{SUM;}`)
	tamper := func(find []byte, behind int) []byte {
		b := bytes.Clone(unsummed)
		b[bytes.Index(b, find)+behind] ^= 1
		return b
	}
	for _, tt := range []struct {
		name     string
		artifact []byte
		rules    func(r *Rules)
		code     ota.Code
	}{
		{"nothing", nil, nil, ota.CodeArtifactDamaged},
		{"a web page", []byte("<html>captive portal</html>"), nil, ota.CodeArtifactDamaged},
		{"truncated", whole[:len(whole)/2], nil, ota.CodeArtifactDamaged},
		{"a flipped bit in the description", flip([]byte("version"), 12), nil, ota.CodeArtifactDamaged}, // cpio's check sum
		{"a flipped bit in the signature", flip(whole[signature:signature+18], 300), nil, ota.CodeArtifactDamaged},
		{"a flipped bit in the payload", flip(image[mib:mib+64], 0), nil, ota.CodeArtifactDamaged},
		{"a description that was not signed", tamper([]byte(`"2.0"`), 1), nil, ota.CodeArtifactSignature},
		{"a payload that was not signed", tamper(image[mib:mib+64], 0), nil, ota.CodeArtifactHash},
		{"another payload, check sum right", packText(t, "none", image, `{filename = "rootfs.img"; sha256 = "`+fmt.Sprintf("%064x", 1)+`";}`), nil, ota.CodeArtifactHash},
		{"signed by a stranger", foreign.Bytes(), nil, ota.CodeArtifactUntrusted},
		{"a certificate that is not valid yet", whole, func(r *Rules) { r.At = time.Date(2001, 1, 1, 0, 0, 0, 0, time.UTC) }, ota.CodeArtifactUntrusted},
		{"for another model", whole, func(r *Rules) { r.Selection.Board = "stv9" }, ota.CodeWrongHardware},
		{"below the floor", whole, func(r *Rules) { r.Floor = "2.1" }, ota.CodeBelowFloor},
		{"larger than the slot", whole, func(r *Rules) { r.Target.SizeBytes = 2*mib - 1 }, ota.CodeImageTooLarge},
		{"larger than the slot, zlib", pack(t, swu.KindZlib, image), func(r *Rules) { r.Target.SizeBytes = 2*mib - 1 }, ota.CodeImageTooLarge},
		{"larger than the slot, zstd", pack(t, swu.KindZstd, image), func(r *Rules) { r.Target.SizeBytes = 2*mib - 1 }, ota.CodeImageTooLarge},
		{"into the active slot", packText(t, "none", image, `{SUM; device = "/dev/slot-a";}`), nil, ota.CodeTargetForbidden},
		{"into the active slot by name", packText(t, "none", image, `{SUM; device = "a";}`), nil, ota.CodeTargetForbidden},
		{"into a device that is not declared", packText(t, "none", image, `{SUM; device = "/dev/mmcblk0";}`), nil, ota.CodeTargetForbidden},
		{"into the idle slot by a detour", packText(t, "none", image, `{SUM; device = "/dev/../dev/slot-b";}`), nil, ota.CodeTargetForbidden},
		{"two images", packText(t, "none", image, `{SUM;}, {SUM;}`), nil, ota.CodeArtifactUnsupported},
		{"beyond the slot by its offset", packText(t, "none", image, `{SUM; offset = "2097153";}`), nil, ota.CodeImageTooLarge},
		{"at an offset beyond all", packText(t, "none", image, `{SUM; offset = "4000000000G";}`), nil, ota.CodeImageTooLarge},
		{"if different", packText(t, "none", image, `{SUM; name = "r"; version = "1"; install-if-different = true;}`), nil, ota.CodeArtifactUnsupported},
		{"if higher", packText(t, "none", image, `{SUM; name = "r"; version = "1"; install-if-higher = true;}`), nil, ota.CodeArtifactUnsupported},
		{"an image that is not there", packText(t, "none", image, `{filename = "other.img"; sha256 = "`+fmt.Sprintf("%064x", 1)+`";}`), nil, ota.CodeArtifactDamaged},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := newSlot(make([]byte, 4*mib))
			rules := rulesFor(t, s.Size())
			if tt.rules != nil {
				tt.rules(&rules)
			}
			_, err := run(t.Context(), tt.artifact, rules, s, false)
			wantFault(t, err, ota.Permanent, tt.code)
			if len(s.writes) != 0 {
				t.Errorf("%d writes into the slot", len(s.writes))
			}
		})
	}
}

func TestAccepted(t *testing.T) {
	t.Parallel()
	image := pattern(mib, 1)
	for _, tt := range []struct {
		name     string
		artifact []byte
		rules    func(r *Rules)
	}{
		{"at the floor", pack(t, "none", image), func(r *Rules) { r.Floor = "2.0" }},
		{"above the floor", pack(t, "none", image), func(r *Rules) { r.Floor = "1.10" }},
		{"below the floor, allowed by a person", pack(t, "none", image), func(r *Rules) { r.Floor, r.BelowOK = "9", true }},
		{"a slot of just that size", pack(t, "none", image), func(r *Rules) { r.Target.SizeBytes = mib }},
		{"into the idle slot's device", packText(t, "none", image, `{SUM; device = "/dev/slot-b";}`), nil},
		{"into the idle slot by name", packText(t, "none", image, `{SUM; device = "b";}`), nil},
		{"zstd of undeclared size", packText(t, "zstd", image, `{SUM; compressed = "zstd";}`), nil},
		{"zlib of undeclared size", packText(t, "zlib", image, `{SUM; compressed = "zlib";}`), nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := newSlot(make([]byte, 2*mib))
			rules := rulesFor(t, s.Size())
			if tt.rules != nil {
				tt.rules(&rules)
			}
			if _, err := run(t.Context(), tt.artifact, rules, s, false); err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(s.medium[:mib], image) {
				t.Error("the slot differs from the image")
			}
		})
	}
}

// What shows only while writing.
func TestWriteFaults(t *testing.T) {
	t.Parallel()
	image := pattern(2*mib+mib/2, 1)
	broken := errors.New("input/output error")
	packed := pack(t, "none", image)
	wrongPlain := `properties: {decompressed-size = "2621440"; decompressed-sha256 = "` + fmt.Sprintf("%064x", 1) + `";};`
	for _, tt := range []struct {
		name     string
		artifact []byte
		slot     func(s *slot)
		class    ota.Class
		code     ota.Code
	}{
		{"undeclared size, larger than the slot", packText(t, "zstd", pattern(4*mib+1, 1), `{SUM; compressed = "zstd";}`), nil, ota.Permanent, ota.CodeImageTooLarge},
		{"shorter than declared", packText(t, "zstd", image, `{SUM; compressed = "zstd"; properties: {decompressed-size = "2621441";};}`), nil, ota.Permanent, ota.CodeArtifactDamaged},
		{"longer than declared", packText(t, "zstd", image, `{SUM; compressed = "zstd"; properties: {decompressed-size = "2621439";};}`), nil, ota.Permanent, ota.CodeArtifactDamaged},
		{"unpacks to something else", packText(t, "zstd", image, `{SUM; compressed = "zstd"; `+wrongPlain+`}`), nil, ota.Permanent, ota.CodeArtifactHash},
		{"not compressed as it says", packText(t, "none", image, `{SUM; compressed = "zstd";}`), nil, ota.Permanent, ota.CodeArtifactDamaged},
		{"empty", packText(t, "none", nil, `{SUM;}`), nil, ota.Permanent, ota.CodeArtifactUnsupported},
		{"the slot cannot be written", packed, func(s *slot) { s.writeFault = broken }, ota.Transient, ota.CodeBoard},
		{"the slot cannot be synced", packed, func(s *slot) { s.syncFault = broken }, ota.Transient, ota.CodeBoard},
		{"the medium keeps another byte", packed, func(s *slot) { s.flip = 2*mib + 77 }, ota.Transient, ota.CodeReadback},
		{"the medium keeps another first byte", pack(t, "zstd", image), func(s *slot) { s.flip = 0 }, ota.Transient, ota.CodeReadback},
		{"the medium keeps another last byte", pack(t, "zlib", image), func(s *slot) { s.flip = 2*mib + mib/2 - 1 }, ota.Transient, ota.CodeReadback},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := newSlot(make([]byte, 4*mib))
			if tt.slot != nil {
				tt.slot(s)
			}
			_, err := run(t.Context(), tt.artifact, rulesFor(t, s.Size()), s, false)
			wantFault(t, err, tt.class, tt.code)
			if tt.slot != nil && s.flip < 0 && !errors.Is(err, broken) {
				t.Errorf("the cause is lost in %v", err)
			}
		})
	}
}

// turncoat shows other bytes when it is read again, as a failing or a hostile
// medium does.
type turncoat struct {
	first, then []byte
	turned      bool
}

func (m *turncoat) ReadAt(p []byte, offset int64) (int, error) {
	if m.turned {
		return bytes.NewReader(m.then).ReadAt(p, offset)
	}
	return bytes.NewReader(m.first).ReadAt(p, offset)
}

func TestArtifactChangesAfterItWasVerified(t *testing.T) {
	t.Parallel()
	for kind, fields := range map[string]string{"none": `{SUM;}`, "zlib": `{SUM; compressed = "zlib";}`} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			// Random bytes do not compress, so both payloads have the same length.
			image, other := pattern(2*mib, 1), pattern(2*mib, 9)
			first := packText(t, kind, image, fields)
			was, is := stored(t, kind, image), stored(t, kind, other)
			if len(was) != len(is) {
				t.Fatalf("payloads of %d and %d bytes", len(was), len(is))
			}
			medium := &turncoat{first: first, then: bytes.Replace(first, was, is, 1)}
			s := newSlot(make([]byte, 2*mib))
			plan, err := Open(t.Context(), medium, int64(len(first)), rulesFor(t, s.Size()), quiet)
			if err != nil {
				t.Fatal(err)
			}
			medium.turned = true
			_, err = plan.Write(t.Context(), s, false, quiet)
			wantFault(t, err, ota.Permanent, ota.CodeArtifactHash)
		})
	}
}

func stored(t *testing.T, kind string, image []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	if _, err := swu.Compress(&out, bytes.NewReader(image), kind); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func TestStagedFileCannotBeRead(t *testing.T) {
	t.Parallel()
	artifact := pack(t, "none", pattern(2*mib, 1))
	broken := errors.New("input/output error")
	_, err := Open(t.Context(), failingReader{bytes.NewReader(artifact), mib, broken}, int64(len(artifact)), rulesFor(t, 4*mib), quiet)
	if !errors.Is(err, broken) || ota.FaultOf(err).Class != ota.Transient {
		t.Errorf("got %v", err)
	}
}

type failingReader struct {
	io.ReaderAt
	from int64
	err  error
}

func (r failingReader) ReadAt(p []byte, offset int64) (int, error) {
	if offset+int64(len(p)) > r.from {
		return 0, r.err
	}
	return r.ReaderAt.ReadAt(p, offset)
}

// An interrupted install goes on: what the slot holds is not written again,
// and all of it is read back nevertheless.
func TestSkipEqual(t *testing.T) {
	t.Parallel()
	image := pattern(4*mib+100, 1)
	held := append(bytes.Clone(image), make([]byte, mib)...)
	for _, tt := range []struct {
		name    string
		damage  []int // offsets where the slot differs
		flip    int
		writes  int
		trusted bool
	}{
		{"all is there", nil, -1, 0, true},
		{"one block differs", []int{2*mib + 5}, -1, 1, true},
		{"the last, short block differs", []int{4*mib + 99}, -1, 1, true},
		{"three differ", []int{0, 3 * mib, 4 * mib}, -1, 3, true},
		{"behind the image", []int{4*mib + 100}, -1, 0, true},
		{"the medium is not as the cache says", nil, mib, 0, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := newSlot(held)
			s.flip = tt.flip
			for _, at := range tt.damage {
				s.cache[at] ^= 1
				s.medium[at] ^= 1
			}
			_, err := run(t.Context(), pack(t, "zstd", image), rulesFor(t, s.Size()), s, true)
			if tt.trusted && err != nil {
				t.Fatal(err)
			}
			if !tt.trusted {
				wantFault(t, err, ota.Transient, ota.CodeReadback)
			}
			if len(s.writes) != tt.writes {
				t.Errorf("%d writes, want %d", len(s.writes), tt.writes)
			}
			if s.syncs == 0 {
				t.Error("no sync")
			}
		})
	}
}

func TestCancelled(t *testing.T) {
	t.Parallel()
	artifact := pack(t, "none", pattern(4*mib, 1))
	for _, stage := range []Stage{StageVerify, StageWrite, StageReadBack} {
		t.Run(string(stage), func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			stop := func(at Stage, _, _ int64) {
				if at == stage {
					cancel()
				}
			}
			s := newSlot(make([]byte, 4*mib))
			plan, err := Open(ctx, bytes.NewReader(artifact), int64(len(artifact)), rulesFor(t, s.Size()), stop)
			if err == nil {
				var image ota.Image
				if image, err = plan.Write(ctx, s, false, stop); err == nil {
					err = ReadBack(ctx, s, image, stop)
				}
			}
			if !errors.Is(err, context.Canceled) {
				t.Errorf("got %v", err)
			}
			if stage == StageWrite && len(s.writes) != 1 {
				t.Errorf("%d writes after it was cancelled in the first", len(s.writes))
			}
		})
	}
}

func TestProgress(t *testing.T) {
	t.Parallel()
	image := pattern(3*mib+1, 1)
	for _, tt := range []struct {
		name     string
		artifact []byte
		total    int64 // of the write
	}{
		{"declared", pack(t, "zstd", image), 3*mib + 1},
		{"undeclared", packText(t, "zstd", image, `{SUM; compressed = "zstd";}`), 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			done := map[Stage]int64{}
			progress := func(stage Stage, now, total int64) {
				if now < done[stage] || total != 0 && now > total || stage == StageWrite && total != tt.total {
					t.Errorf("%s: %d after %d of %d", stage, now, done[stage], total)
				}
				done[stage] = now
			}
			s := newSlot(make([]byte, 4*mib))
			plan, err := Open(t.Context(), bytes.NewReader(tt.artifact), int64(len(tt.artifact)), rulesFor(t, s.Size()), progress)
			if err != nil {
				t.Fatal(err)
			}
			written, err := plan.Write(t.Context(), s, false, progress)
			if err != nil {
				t.Fatal(err)
			}
			if err := ReadBack(t.Context(), s, written, progress); err != nil {
				t.Fatal(err)
			}
			if done[StageWrite] != 3*mib+1 || done[StageReadBack] != 3*mib+1 || done[StageVerify] == 0 {
				t.Errorf("the stages end at %v", done)
			}
		})
	}
}

// Every kind of error of the format is a code that people can look up.
func TestKindsAreCodes(t *testing.T) {
	t.Parallel()
	for kind, code := range map[swu.Kind]ota.Code{
		swu.Damaged: ota.CodeArtifactDamaged, swu.Unsupported: ota.CodeArtifactUnsupported,
		swu.BadSignature: ota.CodeArtifactSignature, swu.Untrusted: ota.CodeArtifactUntrusted,
		swu.BadHash: ota.CodeArtifactHash, swu.WrongHardware: ota.CodeWrongHardware,
	} {
		wantFault(t, artifactFault(&swu.Error{Kind: kind, Err: errors.New("x")}), ota.Permanent, code)
	}
}
