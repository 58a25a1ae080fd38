package main_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"otad/agent/config"
	"otad/board/sim"
	"otad/cmd/internal/cli"
	"otad/ota/durable"
)

// kernelFirst is a set for any copy, in which the part comes before the slot's
// image.
const kernelFirst = `software = { version = "VERSION"; hardware-compatibility = ["#RE:.*"];
	images: ( { filename = "payload0"; device = "kernel"; sha256 = "%s"; }, { filename = "payload1"; sha256 = "%s"; } ); }`

// The way back to a confirmed system needs each part of its set as it was
// installed, not only the slot's first medium.
func TestWayBackNeedsEveryPart(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{config.ModeStaged, config.ModeStreamed} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			b := newBox(t, s)
			must(t, sim.AddPart(durable.OS, b.path("board"), "kernel", 512<<10))
			b.configure(quiet, func(c *config.Config) { c.Download.Mode = mode })
			kernel := b.machine.(*sim.Machine).PartPath("b", "kernel")
			for code := int64(2); code <= 3; code++ {
				text := strings.Replace(kernelFirst, "VERSION", fmt.Sprint(code), 1)
				url, _ := s.serve(fmt.Sprintf("set%d.swu", code), described(t, authority(), text, kernelOf(code), system{code: code}.image()))
				s.offer(code, url)
				b.otad("upgrade", "--yes").want(cli.RebootNeeded)
				b.boot()
				b.otad("confirm").want(cli.Done)
			}
			if !bytes.HasPrefix(b.read(kernel), kernelOf(2)) {
				t.Fatal("the kernel of the system before is not there")
			}
			b.scribble(kernel, kernelBytes-1000)
			b.otad("rollback", "--yes").want(cli.Failed, "no-way-back", `part "kernel"`, "does not hold")
		})
	}
	for _, whole := range []bool{true, false} {
		t.Run(fmt.Sprintf("every part known is %t", whole), func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			b := newBox(t, s, quiet)
			for code := int64(2); code <= 3; code++ {
				s.release(t, system{code: code})
				b.otad("upgrade", "--yes").want(cli.RebootNeeded)
				b.boot()
				b.otad("confirm").want(cli.Done)
			}
			if whole {
				b.otad("rollback", "--yes").want(cli.RebootNeeded)
				return
			}
			must(t, sim.AddPart(durable.OS, b.path("board"), "kernel", 512<<10))
			b.otad("rollback", "--yes").want(cli.Failed, "no-way-back", `part "kernel"`, "is not known")
		})
	}
}
