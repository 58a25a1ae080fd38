package main

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"otad/build/tooltest"
	"otad/cmd/internal/cli"
)

// Files, an archive and a script beside an image, or alone: packed the same
// every time, shown by inspect, and installed by swupdate as by otad.
func TestPackFilesAndScripts(t *testing.T) {
	t.Parallel()
	tooltest.Path(t, "swupdate")
	for _, tt := range []struct {
		name  string
		image bool
	}{{"beside an image", true}, {"alone", false}} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, in := workshop(t, "rsa")
			p := newPlaces(t)
			for name, text := range map[string]string{
				"app.conf": "colour = red\n", "tree.tar": theTar, "hook.sh": "#!/bin/sh\necho $1 >> " + p.in("data") + "/trace\n",
			} {
				if err := os.WriteFile(in(name), []byte(text), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			args := []string{"pack", "--key", in("keys/signer.key"), "--cert", in("keys/signer.pem"), "--model", "stv1", "--version", "2.0",
				"--file", p.in("data") + "/app.conf=" + in("app.conf"), "--file", p.in("data") + "/=" + in("tree.tar"), "--script", in("hook.sh"), "--no-reboot"}
			if tt.image {
				args = append(args, "--image", "rootfs="+in("rootfs.ext4"), "--device", "copy1="+p.in("dev2")+",copy2="+p.in("dev"))
			}
			want(t, cli.Done, append(args, "-o", in("one.swu"))...)
			want(t, cli.Done, append(args, "-o", in("two.swu"))...)
			one, err := os.ReadFile(in("one.swu"))
			two, err2 := os.ReadFile(in("two.swu"))
			if err != nil || err2 != nil || !bytes.Equal(one, two) {
				t.Errorf("the same input gives other bytes: %v, %v", err, err2)
			}
			want(t, cli.Done, "verify", "--trust", in("keys/ca.pem"), in("one.swu"))
			stdout, _ := want(t, cli.Done, "inspect", in("one.swu"))
			says(t, stdout, "scripts", "hook.sh", "shellscript", "files", "app.conf", "/app.conf", "archive", "reboot  ")
			tr := &trial{row: judged{name: tt.name}, places: p, theirs: []string{"swupdate", "-v", "-M", "-k", in("keys/ca.pem"), "-H", "stv1:1.0", "-e", "stable,copy2", "-i", in("one.swu")}}
			tr.run()
			theirs := tr.judge(t)
			if !theirs.good || theirs.files["data/app.conf"] != "colour = red\n" || theirs.files["data/sub/b.txt"] != "two" || theirs.files["data/trace"] != "preinst\npostinst\n" {
				t.Errorf("swupdate: %q\n%s", theirs.files["data/trace"], theirs.said)
			}
			if installed := strings.HasPrefix(theirs.files["dev"], "root file system"); installed != tt.image {
				t.Errorf("the image is installed: %t", installed)
			}
		})
	}
	_, in := workshop(t, "rsa")
	base := []string{"pack", "--key", in("keys/signer.key"), "--cert", in("keys/signer.pem"), "--version", "2.0", "-o", in("a.swu")}
	for _, more := range [][]string{{}, {"--file", "app.conf"}, {"--file", "relative=" + in("rootfs.ext4")}, {"--file", "/x="}} {
		want(t, cli.Usage, append(base, more...)...)
	}
}
