package main

import (
	"bytes"
	"os"
	"os/exec"
	"strings"
	"testing"

	"otad/build/tooltest"
	"otad/cmd/internal/cli"
)

func put(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestSignInTwoSteps(t *testing.T) {
	t.Parallel()
	openssl := tooltest.Path(t, "openssl")
	for _, kind := range []string{"rsa", "ecdsa"} {
		_, in := workshop(t, kind)
		args := append([]string{"pack", "--unsigned"}, packArgs(in, "-o", in("bare.swu"))[5:]...)
		want(t, cli.Done, args...)
		want(t, cli.NotTrusted, "verify", "--trust", in("keys/ca.pem"), in("bare.swu"))
		want(t, cli.Usage, append(args, "--key", in("keys/signer.key"))...)

		// The HSM gets a few bytes and answers with a bare signature.
		want(t, cli.Done, "sign", "--cert", in("keys/signer.pem"), "--to-sign", in("in"), in("bare.swu"))
		if out, err := exec.Command(openssl, "dgst", "-sha256", "-sign", in("keys/signer.key"), "-out", in("answer"), in("in")).CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		want(t, cli.Done, "sign", "--cert", in("keys/signer.pem"), "--signature", in("answer"), in("bare.swu"), "-o", in("one.swu"))
		want(t, cli.Done, "verify", "--trust", in("keys/ca.pem"), in("one.swu"))
		put(t, in("wrong"), strings.Repeat("x", 256))
		_, errs := want(t, cli.Failed, "sign", "--cert", in("keys/signer.pem"), "--signature", in("wrong"), in("bare.swu"), "-o", in("no.swu"))
		says(t, errs, "does not fit")

		// Or it gets the description and answers with a CMS message.
		want(t, cli.Done, "sign", "--to-sign", in("sw-description"), in("bare.swu"))
		if out, err := exec.Command(openssl, "cms", "-sign", "-binary", "-nosmimecap", "-outform", "DER", "-in", in("sw-description"),
			"-signer", in("keys/signer.pem"), "-inkey", in("keys/signer.key"), "-out", in("cms")).CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		want(t, cli.Done, "sign", "--signature", in("cms"), in("bare.swu"), "-o", in("two.swu"))
		want(t, cli.Done, "verify", "--trust", in("keys/ca.pem"), "--purpose", "emailProtection", in("two.swu"))

		// At once, it is the same as packing with the key.
		want(t, cli.Done, "sign", "--key", in("keys/signer.key"), "--cert", in("keys/signer.pem"), in("bare.swu"), "-o", in("three.swu"))
		want(t, cli.Done, packArgs(in, "-o", in("four.swu"))...)
		three, _ := os.ReadFile(in("three.swu"))
		four, _ := os.ReadFile(in("four.swu"))
		if len(three) == 0 || !bytes.Equal(three, four) {
			t.Errorf("%s: signing later gives another artifact", kind)
		}
		want(t, cli.Usage, "sign", in("bare.swu"), "-o", in("no.swu"))
		want(t, cli.Usage, "sign", "--to-sign", in("x"), "-o", in("no.swu"), in("bare.swu"))
	}
}

func TestPackFrom(t *testing.T) {
	t.Parallel()
	_, in := workshop(t, "ecdsa")
	put(t, in("f.conf"), "setting = 1\n")
	put(t, in("s.sh"), "#!/bin/sh\n")
	body := `"version": "2.0", "hardware-compatibility": [ "1.0" ],
		"images": [ { "filename": "rootfs.ext4", "type": "raw", "device": "/dev/a", "sha256": "stale", "size": 1 } ],
		"files": [ { "filename": "f.conf", "path": "/data/f.conf" }, { "filename": "f.conf", "path": "/data/g.conf", "factor": 1.5, "nothing": null } ],
		"scripts": [ { "filename": "s.sh", "type": "shellscript" } ]`
	put(t, in("description.json"), `{ "software": { `+body+` } }`)
	libconfig := strings.NewReplacer(`"version"`, "version", `"hardware-compatibility"`, "hardware-compatibility", `"images"`, "images", `"files"`, "files",
		`"scripts"`, "scripts", `"filename"`, "filename", `"type"`, "type", `"device"`, "device", `"sha256"`, "sha256", `"size"`, "size",
		`"path"`, "path", `"factor"`, "factor", `, "nothing": null`, "", "[ {", "( {", "} ]", "} )").Replace(body)
	put(t, in("description"), "# by hand\nsoftware: { "+libconfig+" }")
	for _, from := range []string{"description", "description.json"} {
		args := []string{"pack", "--key", in("keys/signer.key"), "--cert", in("keys/signer.pem"), "--from", in(from), "-o", in("a.swu")}
		want(t, cli.Done, args...)
		want(t, cli.Done, "verify", "--trust", in("keys/ca.pem"), in("a.swu"))
		out, _ := want(t, cli.Done, "inspect", in("a.swu"))
		says(t, out, "rootfs.ext4", "/data/g.conf", "s.sh")
		want(t, cli.Usage, append(args, "--version", "3")...)
	}
	put(t, in("description"), `software = { version = "1"; images = ( { filename = "none"; } ); };`)
	want(t, cli.Failed, "pack", "--unsigned", "--from", in("description"), "-o", in("b.swu"))
	put(t, in("description"), `software = {`)
	want(t, cli.Failed, "pack", "--unsigned", "--from", in("description"), "-o", in("b.swu"))
	if _, err := os.Stat(in("b.swu")); err == nil {
		t.Error("something was written")
	}
}
