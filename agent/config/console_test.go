package config

import (
	"strings"
	"testing"
)

func TestConsole(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, section, want string }{
		{"absent", "", ""},
		{"all", "port = \"/dev/ttyS1\"\nbaud = 1500000\nterminal = \"dumb\"\npin_file = \"/p\"\nkey_file = \"/k\"", ""},
		{"no speed", "baud = 0", "console.baud must be more than 0"},
		{"a speed that is text", "baud = \"115200\"", "baud"},
		{"an unknown terminal", "terminal = \"xterm\"", `console.terminal "xterm" is not one of vt100, dumb`},
		{"a PIN in the file", "pin = \"4711\"", `unknown key "console.pin", did you mean "console.p`},
	} {
		t.Run(c.name, func(t *testing.T) {
			least := text("board", "driver = \"sim\"\ndir = \"/box\"")
			got, err := load(t, least+"[console]\n"+c.section+"\n")
			switch {
			case c.want == "" && err != nil:
				t.Fatal(err)
			case c.want == "" && (got.Console.Baud == 0 || got.Console.Terminal == ""):
				t.Errorf("no default: %+v", got.Console)
			case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}
