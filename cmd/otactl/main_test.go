package main

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"otad/build/tooltest"
	"otad/cmd/internal/cli"
)

// otactl runs the program and returns its exit code, answer and the rest.
func otactl(args ...string) (code int, stdout, stderr string) {
	var out, errs bytes.Buffer
	code = cli.Main("otactl", "test", cli.Env{Stdin: strings.NewReader(""), Stdout: &out, Stderr: &errs}, commands(), args)
	return code, out.String(), errs.String()
}

// want runs the program and demands its exit code.
func want(t *testing.T, code int, args ...string) (stdout, stderr string) {
	t.Helper()
	got, stdout, stderr := otactl(args...)
	if got != code {
		t.Fatalf("otactl %s: exit %d, want %d\n%s%s", strings.Join(args, " "), got, code, stdout, stderr)
	}
	return stdout, stderr
}

func says(t *testing.T, text string, words ...string) {
	t.Helper()
	for _, w := range words {
		if !strings.Contains(text, w) {
			t.Errorf("%q does not say %q", text, w)
		}
	}
}

// workshop is a directory with keys and an image.
func workshop(t *testing.T, kind string) (dir string, in func(string) string) {
	t.Helper()
	dir = t.TempDir()
	in = func(name string) string { return filepath.Join(dir, name) }
	want(t, cli.Done, "keygen", "--out", in("keys"), "--type", kind, "--cn", "Release "+kind)
	if err := os.WriteFile(in("rootfs.ext4"), bytes.Repeat([]byte("root file system "), 10_000), 0o644); err != nil {
		t.Fatal(err)
	}
	return dir, in
}

func packArgs(in func(string) string, more ...string) []string {
	return append([]string{"pack", "--key", in("keys/signer.key"), "--cert", in("keys/signer.pem"), "--model", "stv1",
		"--version", "2.0", "--image", "rootfs=" + in("rootfs.ext4")}, more...)
}

func TestPackInspectVerifySign(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"rsa", "ecdsa"} {
		for _, compress := range []string{"zstd", "zlib", "xz", "none"} {
			_, in := workshop(t, kind)
			args := packArgs(in, "--revision", "1.0", "--compress", compress, "--device", "copy1=/dev/a,copy2=/dev/b")
			want(t, cli.Done, append(args, "-o", in("one.swu"))...)
			want(t, cli.Done, append(args, "-o", in("two.swu"))...)
			one, _ := os.ReadFile(in("one.swu"))
			two, _ := os.ReadFile(in("two.swu"))
			if len(one) == 0 || !bytes.Equal(one, two) {
				t.Errorf("%s %s: two runs differ", kind, compress)
			}
			out, _ := want(t, cli.Done, "verify", "--trust", in("keys/ca.pem"), in("one.swu"))
			says(t, out, "good", "2.0", "Release "+kind)
			out, _ = want(t, cli.Done, "inspect", in("one.swu"))
			says(t, out, "stv1.stable.copy2", "/dev/b", "Release "+kind+" CA", "sw-description.sig")

			want(t, cli.Done, "keygen", "--out", in("new"), "--cn", "New")
			want(t, cli.Done, "sign", "--key", in("new/signer.key"), "--cert", in("new/signer.pem"), in("one.swu"), "-o", in("new.swu"))
			want(t, cli.Done, "verify", "--trust", in("keys/ca.pem"), "--trust", in("new/ca.pem"), in("new.swu"))
			_, errs := want(t, cli.NotTrusted, "verify", "--trust", in("keys/ca.pem"), in("new.swu"))
			says(t, errs, `"New"`, "hint:")
		}
	}
}

func TestInspectJSON(t *testing.T) {
	t.Parallel()
	_, in := workshop(t, "ecdsa")
	want(t, cli.Done, packArgs(in, "--json-description", "-o", in("a.swu"))...)
	out, _ := want(t, cli.Done, "inspect", "--json", in("a.swu"))
	var r contents
	if err := json.Unmarshal([]byte(out), &r); err != nil {
		t.Fatal(err)
	}
	if !r.Signed || r.Header["version"] != "2.0" || len(r.Items) != 2 || r.Items[0].Fields["properties.decompressed-size"] != "170000" {
		t.Errorf("contents %+v", r)
	}
}

func TestVerifyExitCodes(t *testing.T) {
	t.Parallel()
	_, in := workshop(t, "ecdsa")
	want(t, cli.Done, packArgs(in, "--compress", "none", "-o", in("a.swu"))...)
	good, err := os.ReadFile(in("a.swu"))
	if err != nil {
		t.Fatal(err)
	}
	swapped := bytes.Replace(good, []byte("root file system "), []byte("root file ystems "), 1)
	for _, tt := range []struct {
		name  string
		bytes []byte
		code  int
	}{
		{"payload swapped", swapped, cli.NotTrusted},
		{"version changed", bytes.Replace(good, []byte(`"2.0"`), []byte(`"0.2"`), 1), cli.NotTrusted},
		{"cut", good[:len(good)/2], cli.Failed},
		{"a web page", []byte("<html>"), cli.Failed},
	} {
		if err := os.WriteFile(in("b.swu"), tt.bytes, 0o644); err != nil {
			t.Fatal(err)
		}
		if code, _, errs := otactl("verify", "--trust", in("keys/ca.pem"), in("b.swu")); code != tt.code {
			t.Errorf("%s: exit %d, want %d: %s", tt.name, code, tt.code, errs)
		}
	}
	want(t, cli.Failed, "verify", "--trust", in("keys/ca.pem"), in("none.swu"))
	want(t, cli.Usage, "verify", in("a.swu"))
}

func TestKeygenKeepsWhatIsThere(t *testing.T) {
	t.Parallel()
	_, in := workshop(t, "ecdsa")
	before, _ := os.ReadFile(in("keys/ca.key"))
	want(t, cli.Failed, "keygen", "--out", in("keys"))
	after, _ := os.ReadFile(in("keys/ca.key"))
	if !bytes.Equal(before, after) {
		t.Error("a key was overwritten")
	}
	for _, name := range []string{"keys/ca.key", "keys/signer.key"} {
		info, err := os.Stat(in(name))
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", name, info, err)
		}
	}
}

func TestPackUsage(t *testing.T) {
	t.Parallel()
	dir, in := workshop(t, "ecdsa")
	for _, more := range [][]string{
		{},
		{"-o", in("a.swu"), "--compress", "lz4"},
		{"-o", in("a.swu"), "--image", "no-file"},
		{"-o", in("a.swu"), "--device", "copy1"},
		{"-o", in("a.swu"), "--device", "other:copy1=/dev/a"},
		{"-o", in("a.swu"), "extra"},
	} {
		want(t, cli.Usage, packArgs(in, more...)...)
	}
	want(t, cli.Failed, packArgs(in, "-o", in("a.swu"), "--device", "copy3=/dev/a")...)
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 2 {
		t.Errorf("what is left: %v, %v", left, err)
	}
}

// The certificates are good enough for OpenSSL's own verification.
func TestOpenSSLTakesOurKeys(t *testing.T) {
	t.Parallel()
	openssl := tooltest.Path(t, "openssl")
	_, in := workshop(t, "rsa")
	for _, args := range [][]string{
		{"cms", "-sign", "-in", in("rootfs.ext4"), "-out", in("sig"), "-signer", in("keys/signer.pem"), "-inkey", in("keys/signer.key"), "-outform", "DER", "-nosmimecap", "-binary"},
		{"cms", "-verify", "-inform", "DER", "-in", in("sig"), "-content", in("rootfs.ext4"), "-CAfile", in("keys/ca.pem"), "-binary", "-out", os.DevNull},
	} {
		if out, err := exec.Command(openssl, args...).CombinedOutput(); err != nil {
			t.Errorf("openssl %v: %v\n%s", args, err, out)
		}
	}
}
