package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"otad/cmd/internal/cli"
	"otad/transport/console"
)

// leaveKey ends the terminal: ^], as in telnet.
const leaveKey = 0x1d

// terminal connects this terminal and the port until ^], the end of either, or
// ctx. A baud of 0 is found out by asking for a box.
func terminal(ctx context.Context, env cli.Env, name string, baud int) error {
	if baud == 0 {
		box, err := console.Dial(ctx, name, 0, nil)
		if err != nil {
			return err
		}
		baud = box.Baud()
		if err := box.Close(); err != nil {
			return err
		}
	}
	port, err := console.OpenPort(name, baud)
	if err != nil {
		return err
	}
	defer port.Close()
	fmt.Fprintf(env.Stderr, "%s at %d baud, ^] leaves\n", name, baud)
	if f, ok := env.Stdin.(*os.File); ok && cli.IsTerminal(f) {
		restore, err := rawTerminal(f)
		if err != nil {
			return fmt.Errorf("cannot use this terminal: %w", err)
		}
		defer restore()
	}
	ended := make(chan error, 2)
	go func() {
		_, err := io.Copy(env.Stdout, port)
		ended <- err
	}()
	go func() { ended <- keys(port, env.Stdin) }()
	if _, err := io.WriteString(port, "\r"); err != nil { // for a prompt
		return err
	}
	select {
	case err = <-ended:
	case <-ctx.Done():
		err = ctx.Err()
	}
	fmt.Fprint(env.Stderr, "\r\n")
	return err
}

// keys copies what is typed to the port, up to leaveKey.
func keys(port io.Writer, stdin io.Reader) error {
	buffer := make([]byte, 256)
	for {
		n, err := stdin.Read(buffer)
		typed, _, leave := bytes.Cut(buffer[:n], []byte{leaveKey})
		if _, err := port.Write(typed); err != nil {
			return err
		}
		switch {
		case leave || errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
	}
}
