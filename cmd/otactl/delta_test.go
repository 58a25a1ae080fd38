package main

import (
	"bytes"
	"encoding/json"
	"math/rand/v2"
	"os"
	"strings"
	"testing"

	"otad/cmd/internal/cli"
	"otad/ota"
	"otad/ota/swu"
	"otad/ota/zck"
)

// deltaImages writes two images of 512 KiB, of which the second has a few bytes
// more in its middle; noise that packs badly, or words that pack well.
func deltaImages(t *testing.T, in func(string) string, words bool) {
	t.Helper()
	old := make([]byte, 512<<10)
	rand.NewChaCha8([32]byte{1}).Read(old)
	if words {
		for i := range old {
			old[i] = 'a' + old[i]%4
		}
	}
	half := len(old) / 2
	write(t, in("old.img"), old)
	write(t, in("rootfs.ext4"), bytes.Join([][]byte{old[:half], []byte("something new"), old[half:]}, nil))
}

func write(t *testing.T, name string, b []byte) {
	t.Helper()
	if err := os.WriteFile(name, b, 0o644); err != nil {
		t.Fatal(err)
	}
}

func inspectDelta(t *testing.T, args ...string) contentsDelta {
	t.Helper()
	out, _ := want(t, cli.Done, append([]string{"inspect", "--json"}, args...)...)
	var r contents
	if err := json.Unmarshal([]byte(out), &r); err != nil {
		t.Fatal(err)
	}
	if len(r.Deltas) != 1 {
		t.Fatalf("deltas %+v", r.Deltas)
	}
	return r.Deltas[0]
}

func TestPackDelta(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name             string
		words            bool
		args             []string
		url, cuts        string
		packed, swupdate bool
	}{
		{"a base", false, []string{"--delta", "https://cdn.example/fw/"}, "https://cdn.example/fw/a-rootfs.zck", "4096/8192/32768", false, false},
		{"a whole URL, what packs well", true, []string{"--delta", "http://cdn.example/f?name=2.zck"}, "http://cdn.example/f?name=2.zck", "4096/8192/32768", true, false},
		{"beside the artifact", false, []string{"--delta", "rootfs=./"}, "a-rootfs.zck", "4096/8192/32768", false, false},
		{"for SWUpdate", false, []string{"--delta", "./", "--delta-chunks", "swupdate"}, "a-rootfs.zck", "8192/32768/131072", true, true},
		{"cut otherwise", true, []string{"--delta", "./", "--delta-chunks", "2048/4096/16384"}, "a-rootfs.zck", "2048/4096/16384", true, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, in := workshop(t, "ecdsa")
			deltaImages(t, in, tt.words)
			args := append(packArgs(in, tt.args...), "-o", in("a.swu"))
			want(t, cli.Done, args...)
			file, err := os.ReadFile(in("a-rootfs.zck"))
			if err != nil {
				t.Fatal(err)
			}
			artifact, _ := os.ReadFile(in("a.swu"))
			want(t, cli.Done, args...)
			again, _ := os.ReadFile(in("a.swu"))
			if fileAgain, _ := os.ReadFile(in("a-rootfs.zck")); !bytes.Equal(artifact, again) || !bytes.Equal(file, fileAgain) {
				t.Error("two runs differ")
			}
			want(t, cli.Done, "verify", "--trust", in("keys/ca.pem"), in("a.swu"))

			d := inspectDelta(t, "--running", in("old.img"), in("a.swu"))
			if d.URL != tt.url || d.Cuts != tt.cuts || d.Packed != tt.packed || d.SWUpdate != tt.swupdate || d.Error != "" {
				t.Errorf("delta %+v", d)
			}
			if d.HeaderBytes+d.BodyBytes != int64(len(file)) || !bytes.Contains(artifact, file[:d.HeaderBytes]) {
				t.Errorf("the file has %d bytes, the header in the artifact says %d and %d", len(file), d.HeaderBytes, d.BodyBytes)
			}
			if *d.FetchChunks < 1 || *d.FetchChunks > 3 {
				t.Errorf("%d of %d chunks to fetch for 13 new bytes", *d.FetchChunks, d.Chunks)
			}
			out, _ := want(t, cli.Done, "inspect", "--running", in("old.img"), in("a.swu"))
			says(t, out, "rootfs.zckheader", tt.url, "to fetch", tt.cuts)
		})
	}
}

func TestPackDeltaOfReadyFile(t *testing.T) {
	t.Parallel()
	_, in := workshop(t, "ecdsa")
	deltaImages(t, in, true)
	image, err := os.ReadFile(in("rootfs.ext4"))
	if err != nil {
		t.Fatal(err)
	}
	zckOf := func(name string, image []byte, o zck.Options) {
		var body bytes.Buffer
		header, err := zck.Pack(&body, bytes.NewReader(image), o)
		if err != nil {
			t.Fatal(err)
		}
		write(t, in(name), append(header, body.Bytes()...))
	}
	zckOf("good.zck", image, zck.ToolOptions)
	zckOf("other.zck", image[1:], zck.ToolOptions)
	odd := zck.ToolOptions
	odd.Params.Min = 4096 + 512
	zckOf("odd.zck", image, odd)
	good, _ := os.ReadFile(in("good.zck"))
	write(t, in("cut.zck"), good[:len(good)-1])
	flipped := bytes.Clone(good)
	flipped[len(good)-9] ^= 1
	write(t, in("flipped.zck"), flipped)
	write(t, in("page.zck"), []byte("<html>"))

	pack := func(name string) []string {
		return packArgs(in, "--delta", "https://cdn.example/", "--delta-from", in(name), "-o", in("a.swu"))
	}
	want(t, cli.Done, pack("good.zck")...)
	d := inspectDelta(t, in("a.swu"))
	if d.URL != "https://cdn.example/good.zck" || !d.SWUpdate || d.ImageBytes != int64(len(image)) {
		t.Errorf("delta %+v", d)
	}
	for name, says := range map[string]string{
		"other.zck": "another image", "odd.zck": "no box would find", "cut.zck": "cut", "flipped.zck": "differs from the digest", "page.zck": "no zchunk file",
	} {
		_, errs := want(t, cli.Failed, pack(name)...)
		if !strings.Contains(errs, says) {
			t.Errorf("%s: %s, want %q", name, errs, says)
		}
	}
}

func TestPackDeltaUsage(t *testing.T) {
	t.Parallel()
	_, in := workshop(t, "ecdsa")
	for _, tt := range []struct {
		says string
		args []string
	}{
		{"need --delta", []string{"--delta-chunks", "swupdate"}},
		{"names no image", []string{"--delta", "kernel=http://x/k.zck"}},
		{"without a login", []string{"--delta", "ftp://x/"}},
		{"without a login", []string{"--delta", "http://me:word@x/"}},
		{"several images", []string{"--delta", "http://x/a.zck", "--image", "kernel=" + in("rootfs.ext4")}},
		{"no effect", []string{"--delta", "./", "--delta-from", "x", "--delta-chunks", "swupdate"}},
		{"not swupdate or", []string{"--delta", "./", "--delta-chunks", "8K"}},
		{"power of two", []string{"--delta", "./", "--delta-chunks", "4096/9000/32768"}},
	} {
		_, errs := want(t, cli.Usage, packArgs(in, append(tt.args, "-o", in("a.swu"))...)...)
		says(t, errs, tt.says)
	}
}

// A delta whose header no box would hold in memory is not made.
func TestHeaderFits(t *testing.T) {
	t.Parallel()
	if err := headerFits("rootfs", swu.MaxDeltaHeaderBytes); err != nil {
		t.Error(err)
	}
	err := headerFits("rootfs", swu.MaxDeltaHeaderBytes+1)
	if f := ota.FaultOf(err); err == nil || f.Code != ota.CodeArtifactUnsupported || !strings.Contains(f.Hint, "--delta-chunks") {
		t.Errorf("%v", err)
	}
}

// A description that was written by hand is packed as it is; verify tells what
// is wrong with its delta.
func TestVerifyLooksIntoDeltas(t *testing.T) {
	t.Parallel()
	_, in := workshop(t, "ecdsa")
	deltaImages(t, in, true)
	image, err := os.ReadFile(in("rootfs.ext4"))
	if err != nil {
		t.Fatal(err)
	}
	header, err := zck.Pack(new(bytes.Buffer), bytes.NewReader(image), zck.ToolOptions)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name, properties, says string
		header                 []byte
		code                   int
	}{
		{"good", "", "good", header, cli.Done},
		{"the whole file's name", "", "no zchunk file", []byte("rootfs.zck"), cli.Failed},
		{"another size", `decompressed-size = "5"; `, "the description says 5", header, cli.Failed},
		{"odd cuts", `chunk-min = "1"; chunk-average = "2"; chunk-max = "3"; `, "power of two", header, cli.Failed},
	} {
		write(t, in("h"), tt.header)
		write(t, in("sw-description"), []byte(`software = { version = "2"; hardware-compatibility = [ "1.0" ]; images = ( {
			filename = "h"; type = "delta"; properties = { url = "http://x/2.zck"; chain = "raw"; `+tt.properties+`}; } ); };`))
		want(t, cli.Done, "pack", "--key", in("keys/signer.key"), "--cert", in("keys/signer.pem"), "--from", in("sw-description"), "-o", in("a.swu"))
		out, errs := want(t, tt.code, "verify", "--trust", in("keys/ca.pem"), in("a.swu"))
		if !strings.Contains(out+errs, tt.says) {
			t.Errorf("%s: %s%s", tt.name, out, errs)
		}
	}
}
