package swu

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/klauspost/compress/zstd"

	"otad/build/tooltest"
)

// sample is n bytes, half of them random.
func sample(n int) []byte {
	r := rand.New(rand.NewPCG(1, 2))
	b := make([]byte, n)
	for i := range b {
		if i&4096 == 0 {
			b[i] = byte(r.Uint32())
		}
	}
	return b
}

// pack makes an artifact of one image.
func pack(t testing.TB, m Manifest, kind string, image []byte) []byte {
	t.Helper()
	var stored, out bytes.Buffer
	s, err := Compress(&stored, bytes.NewReader(image), kind)
	must(t, err)
	m.Payloads = []Payload{{Filename: "rootfs.img", Name: "rootfs", Stored: s, Content: &stored, Devices: map[string]string{"copy1": "/dev/a"}}}
	w := theWorld()
	must(t, Pack(&out, m, Signer{Key: w.signer.key, Certificate: w.signer.cert}))
	return out.Bytes()
}

func TestPackIsReadBack(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"", KindNone, KindZlib, KindZstd} {
		for _, asJSON := range []bool{false, true} {
			sizes := []int{0, 1, 5000}
			if kind == KindZstd && !asJSON {
				sizes = append(sizes, FrameBytes+12345)
			}
			for _, size := range sizes {
				image := sample(size)
				m := Manifest{Version: "2.0", Description: "a \"test\"\n", Model: "stv1", JSON: asJSON}
				b := pack(t, m, kind, image)
				if !bytes.Equal(b, pack(t, m, kind, image)) {
					t.Errorf("%q of %d: two runs differ", kind, size)
				}
				if len(b)%blockBytes != 0 {
					t.Errorf("%d bytes are not whole blocks", len(b))
				}
				p, a, err := install(t, b, theWorld().trust, box)
				must(t, err)
				if p.Version != m.Version || p.Description != m.Description || p.Images[0].Device != "" {
					t.Errorf("plan %+v", p)
				}
				e, _ := a.Entry(p.Images[0].Filename)
				r, err := p.Images[0].Decompress(a.Payload(e))
				must(t, err)
				if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, image) {
					t.Errorf("%q of %d: %d bytes, %v", kind, size, len(got), err)
				}
				r.Close()
				other := box
				other.Mode = "copy1"
				if p, _, err := install(t, b, theWorld().trust, other); err != nil || p.Images[0].Device != "/dev/a" {
					t.Errorf("copy1: %+v, %v", p, err)
				}
			}
		}
	}
}

func TestPackedHardware(t *testing.T) {
	t.Parallel()
	b := pack(t, Manifest{Version: "1", Model: "stv1", Revisions: []string{"1.0", "#RE:^2"}}, "", []byte("x"))
	for _, tt := range []struct {
		model, revision string
		kind            Kind
	}{{"stv1", "1.0", ""}, {"stv1", "2.5", ""}, {"stv1", "3", WrongHardware}, {"stv1", "", WrongHardware}, {"stv2", "1.0", WrongHardware}, {"", "1.0", WrongHardware}} {
		_, _, err := install(t, b, theWorld().trust, Selection{tt.model, tt.revision, "stable", "copy1"})
		if KindOf(err) != tt.kind {
			t.Errorf("%s %s: %v", tt.model, tt.revision, err)
		}
	}
}

func TestPackRefuses(t *testing.T) {
	t.Parallel()
	one := []Payload{{Filename: "a"}}
	for name, m := range map[string]Manifest{
		"no version":           {Payloads: one},
		"no image":             {Version: "1"},
		"a model of digits":    {Version: "1", Model: "4k", Payloads: one},
		"a model with a dot":   {Version: "1", Model: "a.b", Payloads: one},
		"a model called set":   {Version: "1", Model: "stable", Payloads: one},
		"a model called value": {Version: "1", Model: "version", Payloads: one},
		"an image twice":       {Version: "1", Payloads: append(one, one...)},
		"a reserved name":      {Version: "1", Payloads: []Payload{{Filename: DescriptionName}}},
		"a third copy":         {Version: "1", Payloads: []Payload{{Filename: "a", Devices: map[string]string{"copy3": "/dev/x"}}}},
	} {
		if _, err := m.Describe(); err == nil {
			t.Errorf("%s was taken", name)
		}
	}
	w := theWorld()
	m := Manifest{Version: "1", Payloads: []Payload{{Filename: "a", Stored: Stored{SizeBytes: 3, SHA256: emptyHash}, Content: strings.NewReader("four")}}}
	if err := Pack(io.Discard, m, Signer{Key: w.signer.key, Certificate: w.signer.cert}); err == nil {
		t.Error("a payload that changed was taken")
	}
	m.Payloads[0].Filename = "../a"
	if err := Pack(io.Discard, m, Signer{Key: w.signer.key, Certificate: w.signer.cert}); err == nil {
		t.Error("a name that leaves was taken")
	}
}

func TestResign(t *testing.T) {
	t.Parallel()
	ca := issue(t, "New CA", newKey(t, "p256"), nil, asCA)
	id := issue(t, "New signer", newKey(t, "rsa"), &ca, nil)
	trust, err := ParseTrust(ca.pem())
	must(t, err)
	old := pack(t, Manifest{Version: "1", Model: "stv1"}, KindZlib, sample(1000))
	var out bytes.Buffer
	must(t, Resign(&out, open(t, old), Signer{Key: id.key, Certificate: id.cert}))
	_, _, err = install(t, old, trust, box)
	wantError(t, err, Untrusted, "Release Signer", "Test CA")
	_, _, err = install(t, out.Bytes(), trust, box)
	must(t, err)
}

// An artifact made without our code: a shell list, cpio and openssl.
func TestArtifactOfCpioAndOpenSSL(t *testing.T) {
	t.Parallel()
	for _, format := range []string{"crc", "newc"} {
		dir := t.TempDir()
		image := sample(100_000)
		write(t, dir, "rootfs.ext4", image)
		write(t, dir, DescriptionName, []byte(describe(`filename = "rootfs.ext4"; type = "raw"; sha256 = "`+hashOf(string(image))+`";`)))
		w := theWorld()
		write(t, dir, "cert.pem", w.signer.pem())
		write(t, dir, "key.pem", w.signer.keyPEM(t))
		run(t, dir, "", "openssl", "cms", "-sign", "-in", DescriptionName, "-out", SignatureName, "-signer", "cert.pem",
			"-inkey", "key.pem", "-outform", "DER", "-nosmimecap", "-binary")
		b := run(t, dir, DescriptionName+"\n"+SignatureName+"\nrootfs.ext4\n", "cpio", "-o", "-H", format)
		p, a, err := install(t, b, w.trust, box)
		must(t, err)
		e, _ := a.Entry(p.Images[0].Filename)
		if got, err := io.ReadAll(a.Payload(e)); err != nil || !bytes.Equal(got, image) {
			t.Errorf("%s: %d bytes, %v", format, len(got), err)
		}
	}
}

// Other tools read what we write: cpio unpacks it, zstd and gzip decompress it.
func TestOthersReadOurs(t *testing.T) {
	t.Parallel()
	for kind, decompress := range map[string][]string{KindZstd: {"zstd", "-dc"}, KindZlib: {"gzip", "-dc"}} {
		dir := t.TempDir()
		image := sample(100_999)
		b := pack(t, Manifest{Version: "1", Model: "stv1"}, kind, image)
		run(t, dir, string(b), "cpio", "-i")
		cmd := exec.Command(tooltest.Path(t, decompress[0]), append(decompress[1:], "-")...)
		stored, err := os.Open(filepath.Join(dir, "rootfs.img"))
		must(t, err)
		defer stored.Close()
		cmd.Stdin = stored
		if got, err := cmd.Output(); err != nil || !bytes.Equal(got, image) {
			t.Errorf("%s: %d bytes, %v", kind, len(got), err)
		}
	}
}

func TestDecompressRefuses(t *testing.T) {
	t.Parallel()
	compress := func(kind string, b []byte) []byte {
		var out bytes.Buffer
		_, err := Compress(&out, bytes.NewReader(b), kind)
		must(t, err)
		return out.Bytes()
	}
	var wide bytes.Buffer
	z, err := zstd.NewWriter(&wide, zstd.WithWindowSize(2*MaxZstdWindowBytes))
	must(t, err)
	_, err = z.Write(make([]byte, 3*MaxZstdWindowBytes))
	must(t, err)
	must(t, z.Close())
	bomb := make([]byte, 1<<20)
	gz, zs := compress(KindZlib, bomb), compress(KindZstd, bomb)
	tests := []struct {
		name string
		kind string
		in   []byte
		want int64
		err  Kind
	}{
		{"gzip cut", KindZlib, gz[:len(gz)-3], 1 << 20, Damaged},
		{"zstd cut", KindZstd, zs[:len(zs)-3], 1 << 20, Damaged},
		{"gzip garbage", KindZlib, []byte("garbage garbage"), 1, Damaged},
		{"zstd garbage", KindZstd, []byte("garbage garbage"), 1, Damaged},
		{"gzip empty", KindZlib, nil, 1, Damaged},
		{"gzip bomb", KindZlib, gz, 1000, Damaged},
		{"zstd bomb", KindZstd, zs, 1000, Damaged},
		{"gzip short", KindZlib, gz, 1<<20 + 1, Damaged},
		{"zstd window", KindZstd, wide.Bytes(), 3 * MaxZstdWindowBytes, Unsupported},
		{"unknown kind", "bzip2", nil, 0, Unsupported},
		{"plain too long", "", []byte("abc"), 2, Damaged},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var n int64
			r, err := Image{Filename: "img", Compressed: tt.kind, DecompressedBytes: tt.want, DecompressedSHA256: emptyHash}.Decompress(bytes.NewReader(tt.in))
			if err == nil {
				n, err = io.Copy(io.Discard, r)
				must(t, r.Close())
			}
			wantError(t, err, tt.err)
			if n > tt.want {
				t.Errorf("%d bytes came out, %d were allowed", n, tt.want)
			}
		})
	}
	broken := errors.New("wire cut")
	for _, kind := range []string{KindZlib, KindZstd} {
		whole := compress(kind, sample(100_000))
		r, err := Decompress(kind, io.MultiReader(bytes.NewReader(whole[:5000]), iotest.ErrReader(broken)))
		must(t, err)
		if _, err := io.Copy(io.Discard, r); !errors.Is(err, broken) {
			t.Errorf("%s: %v", kind, err)
		}
	}
}

// A file that changes after it was verified is noticed while it is written.
func TestDecompressChecksTheStoredBytes(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{KindZlib, KindZstd} {
		var one, other bytes.Buffer
		s, err := Compress(&one, bytes.NewReader(sample(5000)), kind)
		must(t, err)
		_, err = Compress(&other, bytes.NewReader(sample(5001)), kind)
		must(t, err)
		image := Image{Filename: "img", Compressed: kind, SHA256: s.SHA256, DecompressedBytes: -1}
		for i, stored := range []*bytes.Buffer{&one, &other} {
			r, err := image.Decompress(stored)
			must(t, err)
			if _, err = io.Copy(io.Discard, r); i == 0 {
				must(t, err)
			} else {
				wantError(t, err, BadHash, "sha256")
			}
		}
	}
}

func TestLibconfigStringsAreReadBack(t *testing.T) {
	t.Parallel()
	all := make([]byte, 255)
	for i := range all {
		all[i] = byte(i + 1)
	}
	for _, s := range []string{"", string(all), `\x41`, `\`, `"`, "é\n"} {
		root, err := parseLibconfig([]byte("a = " + quoteLibconfig(s)))
		must(t, err)
		if got := root.child("a").text; got != s {
			t.Errorf("%q became %q", s, got)
		}
	}
}

func FuzzOpen(f *testing.F) {
	f.Add(artifact(f, "payload"))
	f.Add(build(magicPlain, file{DescriptionName, "d"}, file{"a", "b"}))
	f.Add([]byte(fixture(f, "cpio-crc.swu")))
	f.Add(pack(f, Manifest{Version: "1", Model: "stv1"}, KindZstd, sample(1000)))
	f.Fuzz(func(t *testing.T, b []byte) {
		a, err := Open(bytes.NewReader(b), int64(len(b)))
		streamErr := func() error {
			c := NewReader(bytes.NewReader(b))
			for {
				if _, err := c.Next(); err != nil {
					return err
				}
			}
		}()
		if err != nil {
			if KindOf(err) == "" {
				t.Fatalf("untyped error %v", err)
			}
			return
		}
		if streamErr != io.EOF && !strings.Contains(streamErr.Error(), "check sum") {
			t.Fatalf("opens, but streaming says %v", streamErr)
		}
		for _, e := range a.Entries() {
			if e.OffsetBytes+e.SizeBytes > int64(len(b)) {
				t.Fatalf("entry %+v is outside", e)
			}
		}
		if _, _, err := a.Description(theWorld().trust, now); err != nil && KindOf(err) == "" {
			t.Fatalf("untyped error %v", err)
		}
	})
}
