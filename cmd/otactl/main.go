// Command otactl makes, signs and examines artifacts, and talks to servers and
// boxes from a desk.
package main

import (
	"os"

	"otad/cmd/internal/cli"
)

func main() {
	env := cli.Env{Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr}
	os.Exit(cli.Main("otactl", "makes and examines artifacts for otad", env, commands(), os.Args[1:]))
}

func commands() []cli.Command {
	return []cli.Command{
		keygenCommand(),
		packCommand(),
		inspectCommand(),
		verifyCommand(),
		signCommand(),
		apiCommand(),
		serialCommand(),
		sendCommand(),
		watchCommand(),
	}
}
