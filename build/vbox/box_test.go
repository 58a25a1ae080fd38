package vbox

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"time"
)

// box is one virtual set-top box: a disk, and a QEMU while it is powered on.
type box struct {
	arch string
	dir  string // its disk, its flash, its sockets
	mac  string

	// block are the -blockdev options that make node d0; the plain disk when empty.
	block []string
	mem   int // MiB; 512 when 0
	// once ends QEMU where the box would restart.
	once bool
	// web and broker are the host's ports behind the address labHost.
	web, broker string

	mu    sync.Mutex
	lines []string // of the first serial port, since the box was made
	news  chan struct{}
	boots int
	spent time.Duration // by QEMU, on the host's processors

	power *power
}

// power is one stretch of time with the plug in.
type power struct {
	cmd   *exec.Cmd
	began time.Time
	ended chan struct{} // QEMU is gone and all its output read
	qmp   *qmp
}

// diskFile is the raw disk.
func (b *box) diskFile() string { return filepath.Join(b.dir, "disk.img") }

// command is how QEMU is called.
func (b *box) command() []string {
	firmware := "/usr/lib/u-boot/qemu_arm64/u-boot.bin"
	args := []string{"qemu-system-aarch64", "-M", "virt", "-cpu", "cortex-a53"}
	if b.arch == "armhf" {
		firmware = "/usr/lib/u-boot/qemu_arm/u-boot.bin"
		args = []string{"qemu-system-arm", "-M", "virt,highmem=off", "-cpu", "cortex-a15"}
	}
	mem := b.mem
	if mem == 0 {
		mem = 512
	}
	// With icount, the box's time is what it computed: it does not run away when
	// the host has other work.
	args = append(args, "-icount", "shift=1", "-bios", firmware, "-m", fmt.Sprint(mem), "-nodefaults", "-display", "none", "-serial", "stdio",
		"-drive", "if=pflash,index=1,format=raw,file="+filepath.Join(b.dir, "flash.img"))
	block := b.block
	if block == nil {
		block = []string{"driver=file,node-name=d0,cache.no-flush=on,filename=" + b.diskFile()}
	}
	for _, option := range block {
		args = append(args, "-blockdev", option)
	}
	args = append(args, "-device", "virtio-blk-device,drive=d0,werror=report,rerror=report",
		"-netdev", "user,id=n0,restrict=on"+forward(80, b.web)+forward(1883, b.broker), "-device", "virtio-net-device,netdev=n0,mac="+b.mac,
		"-chardev", "pty,id=console", "-device", "pci-serial,chardev=console,addr=2",
		"-chardev", "socket,id=shell,server=on,wait=off,path="+filepath.Join(b.dir, "shell"), "-device", "pci-serial,chardev=shell,addr=3",
		"-qmp", "unix:"+filepath.Join(b.dir, "qmp")+",server=on,wait=off")
	if b.arch == "arm64" { // Debian's kernel for armhf has no driver for it
		args = append(args, "-device", "i6300esb,addr=1", "-action", "watchdog=reset")
	}
	if b.once {
		args = append(args, "-no-reboot")
	}
	return args
}

// labHost is where the lab is as a box sees it. All else is out of its reach.
const labHost = "10.0.2.100"

// forward connects a port of labHost with one of the host's.
func forward(port int, host string) string {
	return fmt.Sprintf(",guestfwd=tcp:%s:%d-cmd:socat STDIO TCP\\:%s", labHost, port, host)
}

// powerOn puts the plug in.
func (b *box) powerOn() error {
	args := b.command()
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	cmd.SysProcAttr = dieWithUs()
	if err := cmd.Start(); err != nil {
		return err
	}
	b.power = &power{cmd: cmd, began: time.Now(), ended: make(chan struct{})}
	go func(p *power) {
		defer close(p.ended)
		b.read(out, p.began)
		cmd.Wait()
		if s := cmd.ProcessState; s != nil {
			b.spent += s.UserTime() + s.SystemTime()
		}
	}(b.power)
	b.power.qmp, err = dialQMP(filepath.Join(b.dir, "qmp"))
	if err != nil {
		b.cut()
	}
	return err
}

// watch shows the lines as they come, with the seconds since power on.
var watch = os.Getenv("E2E_WATCH") != ""

// read keeps the lines of the first serial port.
func (b *box) read(out io.Reader, began time.Time) {
	r := bufio.NewReader(out)
	for {
		text, err := r.ReadString('\n')
		if text = strings.TrimRight(text, "\r\n"); text != "" {
			b.mu.Lock()
			b.lines = append(b.lines, text)
			if watch {
				fmt.Printf("%7.2f %s| %s\n", time.Since(began).Seconds(), b.arch, text)
			}
			if strings.HasPrefix(text, "boot: starting slot ") {
				b.boots++
			}
			close(b.news)
			b.news = make(chan struct{})
			b.mu.Unlock()
		}
		if err != nil {
			return
		}
	}
}

// cut pulls the plug; nothing when it is out.
func (b *box) cut() {
	p := b.power
	if p == nil {
		return
	}
	b.power = nil
	p.cmd.Process.Kill()
	<-p.ended
	if p.qmp != nil {
		p.qmp.close()
	}
	for _, socket := range []string{"qmp", "shell"} {
		os.Remove(filepath.Join(b.dir, socket))
	}
}

// place is a position in what the box said.
type place int

var errPower = errors.New("the box is off")

// expect waits for a line after from that matches the pattern, and returns
// what matched and the place after the line.
func (b *box) expect(ctx context.Context, from place, pattern string) (string, place, error) {
	re := regexp.MustCompile(pattern)
	p := b.power
	for {
		b.mu.Lock()
		for ; int(from) < len(b.lines); from++ {
			if found := re.FindString(b.lines[from]); found != "" {
				b.mu.Unlock()
				return found, from + 1, nil
			}
		}
		news := b.news
		b.mu.Unlock()
		select {
		case <-news:
		case <-p.ended:
			return "", from, fmt.Errorf("cannot wait for %q: %w", pattern, errPower)
		case <-ctx.Done():
			return "", from, fmt.Errorf("cannot wait for %q: %w", pattern, ctx.Err())
		}
	}
}

// tail is what the box said last.
func (b *box) tail(n int) string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return strings.Join(b.lines[max(0, len(b.lines)-n):], "\n")
}

// count is how many lines match.
func (b *box) count(pattern string) int {
	re := regexp.MustCompile(pattern)
	b.mu.Lock()
	defer b.mu.Unlock()
	n := 0
	for _, line := range b.lines {
		if re.MatchString(line) {
			n++
		}
	}
	return n
}
