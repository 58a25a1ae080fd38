// Command otad keeps a set-top box's firmware up to date.
package main

import (
	"os"

	"otad/cmd/internal/cli"
)

func main() {
	boundMemory()
	env := cli.Env{Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr}
	os.Exit(cli.Main("otad", "the over-the-air update agent for set-top boxes", env, commands(), os.Args[1:]))
}

func commands() []cli.Command {
	return []cli.Command{
		{Name: "run", Args: "[--config FILE]", Summary: "the service: check, update, report, obey", Run: run},
		{Name: "status", Args: "[--json]", Summary: "what goes on, and why not yet", Run: status},
		{Name: "check", Args: "[--json]", Summary: "ask the server now; an offer is accepted", Run: check},
		{Name: "upgrade", Args: "[--to CODE] [--yes] [--wait] [--json]", Summary: "check if need be, download, install, reboot", Run: upgrade},
		{Name: "install", Args: "FILE|URL [--yes] [--below-floor] [--wait] [--json] | --scan DIR", Summary: "install an artifact without a server", Run: installArtifact},
		{Name: "consent", Args: "accept|decline", Summary: "the viewer's answer", Run: consent},
		{Name: "defer", Args: "DUR", Summary: "the viewer says: not before DUR is over, as in 2h", Run: deferUpdate},
		{Name: "cancel", Args: "", Summary: "stop the update under way", Run: cancel},
		{Name: "confirm", Args: "[--json]", Summary: "keep the system on trial: you vouch for it", Run: confirm},
		{Name: "rollback", Args: "[--yes] [--wait] [--json]", Summary: "give up the system armed or on trial, or go back to the one before", Run: rollback},
		{Name: "reboot", Args: "[--yes] [--json]", Summary: "restart the box when nobody minds", Run: reboot},
		{Name: "history", Args: "[--limit N] [--audit] [--json]", Summary: "how updates ended, or which verbs were asked for and by whom", Run: history},
		{Name: "logs", Args: "[--limit N] [--follow] [--json]", Summary: "the last lines of the service's log", Run: logs},
		{Name: "doctor", Args: "[--quick] [--json]", Summary: "look the box over, offline: journal, slots, boot environment, trust", Run: examine},
		{Name: "diag", Args: "[-o FILE]", Summary: "all that explains a box, without its secrets, in one text", Run: diag},
		{Name: "config", Args: "show|check|status [--json]", Summary: "the settings, or whether they are right; how the configuration channel stands", Run: configVerb},
		{Name: "console", Args: "[--port P] [--baud N]", Summary: "the serial console, for people and programs", Run: serialConsole},
		{Name: "version", Args: "[--json]", Summary: "which otad this is", Run: version},
	}
}
