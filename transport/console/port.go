package console

import (
	"context"
	"errors"
	"fmt"
	"io"

	"go.bug.st/serial"

	"otad/ota"
)

// Bauds are the usual speeds, the most usual first.
var Bauds = []int{115200, 1500000, 921600, 460800, 230400, 57600, 38400, 19200, 9600}

// OpenPort opens a serial port at a speed: 8 data bits, no parity, one stop
// bit, no flow control.
func OpenPort(name string, baud int) (io.ReadWriteCloser, error) {
	port, err := serial.Open(name, mode(baud))
	if err != nil {
		return nil, ota.NewTransient(ota.CodeLine, fmt.Errorf("cannot open port %q: %w", name, err))
	}
	return port, nil
}

func mode(baud int) *serial.Mode { return &serial.Mode{BaudRate: baud, DataBits: 8} }

// Dial opens a port and finds a box behind it. A baud of 0 tries all of Bauds;
// text is that of NewClient.
func Dial(ctx context.Context, name string, baud int, text io.Writer) (*Client, error) {
	bauds := []int{baud}
	if baud == 0 {
		bauds = Bauds
	}
	port, err := serial.Open(name, mode(bauds[0]))
	if err != nil {
		return nil, ota.NewTransient(ota.CodeLine, fmt.Errorf("cannot open port %q: %w", name, err))
	}
	c := NewClient(port, bauds[0], text)
	for _, c.baud = range bauds {
		if err = port.SetMode(mode(c.baud)); err != nil {
			continue // a speed that this port cannot do
		}
		if c.Patience = c.turn(1); baud != 0 {
			c.Patience = defaultPatience
		}
		if _, err = c.Hello(ctx); err == nil {
			c.Patience = defaultPatience
			return c, nil
		}
		if !errors.Is(err, ErrSilent) {
			break
		}
	}
	c.Close()
	if errors.Is(err, ErrSilent) && baud == 0 {
		err = ota.NewTransient(ota.CodeLine, fmt.Errorf("cannot reach a box at %q: %w at any of %v baud", name, ErrSilent, bauds)).
			WithHint("is it the right port, and does a console run there?")
	}
	return nil, err
}
