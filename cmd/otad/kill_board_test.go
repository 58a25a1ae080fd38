package main_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"otad/agent/config"
	"otad/board/uboot/uboottest"
	"otad/build/tooltest"
)

// ubootMachine is a box that U-Boot starts: the boot script of docs/boards.md
// counts the tries, in an environment that it shares with otad.
type ubootMachine struct{ *uboottest.Machine }

func (m ubootMachine) PowerOn() (slot, image string, err error) {
	if err := os.Remove(m.rebooting()); err != nil && !os.IsNotExist(err) {
		return "", "", err
	}
	if err := m.Machine.PowerOn(); err != nil {
		return "", "", err
	}
	line, err := os.ReadFile(filepath.Join(m.Root, "proc/cmdline"))
	if err != nil {
		return "", "", err
	}
	_, rest, found := strings.Cut(string(line), "rauc.slot=")
	if !found || rest == "" {
		return "", "", fmt.Errorf("the kernel is told %q, and no slot", line)
	}
	slot = strings.ToLower(rest[:1])
	image, err = m.SlotPath(slot)
	return slot, image, err
}

func (m ubootMachine) SlotPath(slot string) (string, error) {
	return filepath.Join(m.Root, "dev", map[string]string{"a": "mmcblk0p2", "b": "mmcblk0p3"}[slot]), nil
}

// rebooting is the file that the reboot command makes.
func (m ubootMachine) rebooting() string { return filepath.Join(m.Root, "rebooting") }

func (m ubootMachine) RebootRequested() (string, error) {
	if _, err := os.Stat(m.rebooting()); err != nil {
		return "", nil
	}
	return "asked", nil
}

// inNamespace shows a program the box's own kernel files and lock directory.
const inNamespace = `for f in proc/cmdline proc/sys/kernel/random/boot_id var/lock; do mount --bind "$BOX/$f" "/$f" || exit 98; done; exec "$@"`

// newUBootBox makes a box with the environment in copies. Where no mount
// namespace can be had, the test is skipped.
func newUBootBox(t *testing.T, s *site, slotBytes int64, style string, copies []uboottest.Region, edit ...func(*config.Config)) *box {
	t.Helper()
	unshare := tooltest.Path(t, "unshare")
	var m ubootMachine
	b := assemble(t, "", s, func(b *box) machine {
		script := uboottest.Script(t, "../../docs/boards.md", "boot.cmd", style)
		m = ubootMachine{uboottest.New(t, b.path("board"), script, slotBytes, copies...)}
		var places string
		for _, c := range m.Copies {
			places += fmt.Sprintf("%s %#x %#x\n", c.File, c.Offset, uboottest.EnvBytes)
		}
		b.write("board/etc/fw_env.config", []byte(places))
		must(t, os.WriteFile(b.path("reboot.sh"), []byte("#!/bin/sh\n: > "+m.rebooting()+"\n"), 0o755))
		return m
	}, append(edit, func(c *config.Config) {
		c.Board = config.Board{Driver: "uboot", Set: "stable", Style: style, EnvConfig: filepath.Join(m.Root, "etc/fw_env.config"),
			SlotVariable: "slot", Reboot: []string{filepath.Join(m.Root, "../reboot.sh")}, Timeout: c.Board.Timeout,
			Slots: []config.Slot{
				{Name: "a", Device: filepath.Join(m.Root, "dev/mmcblk0p2"), BootName: "A"},
				{Name: "b", Device: filepath.Join(m.Root, "dev/mmcblk0p3"), BootName: "B"},
			}}
	})...)
	b.wrap = []string{unshare, "-m", "env", "BOX=" + m.Root, "sh", "-c", inNamespace, "sh"}
	if os.Geteuid() != 0 {
		b.wrap = slices.Insert(b.wrap, 1, "-r")
	}
	probe := append(slices.Clone(b.wrap[1:]), "true")
	if out, err := exec.Command(unshare, probe...).CombinedOutput(); err != nil {
		t.Skipf("cannot give a program its own /proc/cmdline here: %v: %s", err, out)
	}
	return b
}
