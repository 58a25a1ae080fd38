package main_test

import (
	"context"
	"encoding/pem"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os/exec"
	"path/filepath"
	"testing"

	"otad/agent/config"
	"otad/build/tooltest"
	"otad/cmd/internal/cli"
)

// TestForeignProcessors runs the otad of every kind of box that `make cross`
// builds for, under emulation: it speaks TLS to the server, opens its journal,
// checks a signature, unpacks, writes a slot, reads it back and arms it.
func TestForeignProcessors(t *testing.T) {
	t.Parallel()
	emulators := map[string]string{} // binary → emulator; none: as it is
	for name, emulator := range map[string]string{
		"arm5": "arm", "arm6": "arm", "arm7": "arm", "arm64": "aarch64",
		"mipslesoftfloat": "mipsel", "riscv64": "riscv64", "amd64": "x86_64",
	} {
		emulators[name] = tooltest.Path(t, "qemu-"+emulator+"-static")
	}
	tree, err := filepath.Abs("../..")
	must(t, err)
	if out, err := exec.Command("make", "-C", tree, "cross").CombinedOutput(); err != nil {
		t.Fatalf("make cross: %v\n%s", err, out)
	}
	site := newSite(t)
	api, err := url.Parse(site.api.URL)
	must(t, err)
	secure := httptest.NewTLSServer(httputil.NewSingleHostReverseProxy(api))
	t.Cleanup(secure.Close)
	next := system{code: 2}
	site.release(t, next)

	for name, emulator := range emulators {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBox(t, site)
			b.write("server.pem", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: secure.Certificate().Raw}))
			b.configure(func(c *config.Config) {
				c.Server.URL, c.Server.CA = secure.URL, b.path("server.pem")
			})
			b.write("2.swu", next.artifact(t))
			run := func(args ...string) result {
				t.Helper()
				ctx, cancel := context.WithTimeout(t.Context(), patience)
				defer cancel()
				cmd := b.command(ctx, args...)
				cmd.Args = append([]string{emulator, filepath.Join(tree, "bin", "otad-linux-"+name)}, cmd.Args[1:]...)
				cmd.Path = emulator
				return b.finish(cmd)
			}
			run("status").want(cli.Done).said("version 1")
			run("check").want(cli.Done).said("version 2")
			run("cancel").want(cli.Done)
			run("install", "2.swu", "--yes", "--wait").want(cli.RebootNeeded)
			if !b.holds("b", next.image()) {
				t.Error("slot b does not hold the image")
			}
			if slot := b.boot(); slot != "b" {
				t.Errorf("slot %s boots", slot)
			}
		})
	}
}
