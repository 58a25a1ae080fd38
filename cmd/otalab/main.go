// Command otalab plays everything around otad: set-top boxes, the UpgradeLink
// server, a broker and a firmware host, all on loopback. `otalab demo` tells
// the story of three updates and checks every word of it.
package main

import (
	"os"

	"otad/cmd/internal/cli"
)

func main() {
	env := cli.Env{Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr}
	os.Exit(cli.Main("otalab", "a laboratory for otad, on loopback", env, commands(), os.Args[1:]))
}

func commands() []cli.Command {
	return []cli.Command{
		{Name: "demo", Args: "[--otad FILE] [--keep DIR]", Summary: "a box goes 1 to 2, rolls back from 3 and refuses 4", Run: demo},
		{Name: "up", Args: "[--dir DIR] [--addr ADDR] [--mqtt ADDR]", Summary: "server, broker and firmware host, until interrupted", Run: up},
		{Name: "box", Args: "--dir DIR [--lab URL] [--device KEY] [--otad FILE]", Summary: "a box of the lab, made if it is new, until interrupted", Run: box},
		{Name: "image", Args: "--code N [--name NAME] [--broken] [--otad FILE] -o FILE", Summary: "build a system image (squashfs) for a box", Run: image},
		{Name: "publish", Args: "--lab URL --code N [--name NAME] [--type 1|2|3] [--as configuration|package] FILE", Summary: "offer an artifact, a configuration or a side package to every box", Run: publish},
		{Name: "fault", Args: "--lab URL --code N FAULT...", Summary: "make the host misbehave with a version; without FAULT: what it can", Run: fault},
	}
}
