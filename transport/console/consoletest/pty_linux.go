package consoletest

import (
	"fmt"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// Pty is a serial port: a program opens Path, the test is the cable.
type Pty struct {
	Path  string
	Cable *os.File // what the program writes can be read here, and back

	hold *os.File // keeps the port alive while no program has it open
}

// NewPty makes a port. Pulled or not, it is gone when the test ends.
func NewPty(t testing.TB) *Pty {
	t.Helper()
	p, err := openPty()
	if err != nil {
		t.Fatalf("cannot make a pseudo-terminal: %v", err)
	}
	t.Cleanup(p.Pull)
	return p
}

func openPty() (*Pty, error) {
	cable, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, err
	}
	conn, err := cable.SyscallConn()
	if err != nil {
		return nil, err
	}
	var number int
	var bad error
	if err := conn.Control(func(fd uintptr) {
		if bad = unix.IoctlSetPointerInt(int(fd), unix.TIOCSPTLCK, 0); bad == nil {
			number, bad = unix.IoctlGetInt(int(fd), unix.TIOCGPTN)
		}
	}); err != nil {
		return nil, err
	}
	if bad != nil {
		return nil, bad
	}
	p := &Pty{Path: fmt.Sprintf("/dev/pts/%d", number), Cable: cable}
	if p.hold, err = os.OpenFile(p.Path, os.O_RDWR|unix.O_NOCTTY, 0); err != nil {
		return nil, err
	}
	return p, p.raw()
}

// raw makes the port pass every byte as it is, until a program sets its own
// mode.
func (p *Pty) raw() error {
	fd := int(p.hold.Fd())
	mode, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	if err != nil {
		return err
	}
	mode.Iflag, mode.Oflag, mode.Lflag = 0, 0, 0
	mode.Cflag = unix.CS8 | unix.CREAD | unix.CLOCAL | unix.B38400
	mode.Cc[unix.VMIN], mode.Cc[unix.VTIME] = 1, 0
	return unix.IoctlSetTermios(fd, unix.TCSETS, mode)
}

// Baud is the speed that the program set, as the kernel codes it.
func (p *Pty) Baud() uint32 {
	var mode *unix.Termios
	conn, err := p.hold.SyscallConn()
	if err == nil {
		err = conn.Control(func(fd uintptr) { mode, _ = unix.IoctlGetTermios(int(fd), unix.TCGETS) })
	}
	if err != nil || mode == nil {
		return 0
	}
	return mode.Cflag & unix.CBAUD
}

// Pull takes the port away under the program that has it open.
func (p *Pty) Pull() {
	p.hold.Close()
	p.Cable.Close()
}
