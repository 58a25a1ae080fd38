package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"otad/agent/control"
	"otad/cmd/internal/cli"
	"otad/ota"
	"otad/transport/console"
)

func serialCommand() cli.Command {
	return cli.Command{
		Name: "serial", Args: "[--port P [--baud N] [VERB [ARGUMENTS] [--wait] [--json] | push FILE [--only]]]",
		Summary: "a box on a serial line: its console, its verbs, a file for it; without --port: the ports",
		Run:     serial,
	}
}

// serialDesk is this end of a serial line.
type serialDesk struct {
	env        cli.Env
	box        *console.Client
	wait, json bool
}

func serial(ctx context.Context, env cli.Env, args []string) error {
	fs := cli.Flags("otactl serial")
	port := fs.String("port", "", "serial `PORT`")
	baud := fs.Int("baud", 0, "`SPEED`; found out when not given")
	pin := fs.String("pin-file", "", "`FILE` with the PIN of the box")
	key := fs.String("key-file", "", "`FILE` with the key of the box")
	asJSON := fs.Bool("json", false, "answer in JSON")
	// The options of the verb are the box's; ours come before it.
	if err := fs.Parse(args); err != nil {
		_, err := cli.Parse(fs, args, 0, 0)
		return err
	}
	words := fs.Args()
	switch {
	case *port == "" && len(words) == 0:
		return listPorts(env, *asJSON)
	case *port == "":
		return cli.Usagef("missing --port")
	case len(words) > 0 && strings.HasPrefix(words[0], "-"):
		return cli.Usagef("want a verb, not %q", words[0])
	case *baud < 0:
		return cli.Usagef("a speed of %d makes no sense", *baud)
	case len(words) == 0:
		return terminal(ctx, env, *port, *baud)
	}
	login, err := readLogin(*pin, *key)
	if err != nil {
		return err
	}
	box, err := console.Dial(ctx, *port, *baud, nil)
	if err != nil {
		return err
	}
	defer box.Close()
	if login != (console.Login{}) {
		if err := box.Login(ctx, login); err != nil {
			return err
		}
	}
	d := &serialDesk{env: env, box: box}
	words, d.wait = take(words, "--wait")
	words, d.json = take(words, "--json")
	d.json = d.json || *asJSON
	if words[0] == "push" {
		return d.push(ctx, words[1:])
	}
	return d.verb(ctx, words)
}

// take removes an option from words.
func take(words []string, option string) (rest []string, there bool) {
	rest = slices.DeleteFunc(slices.Clone(words), func(w string) bool { return w == option || w == option[1:] })
	return rest, len(rest) < len(words)
}

func readLogin(pin, key string) (console.Login, error) {
	var l console.Login
	for _, s := range []struct {
		file string
		to   *console.Secret
	}{{pin, &l.PIN}, {key, &l.Key}} {
		if s.file == "" {
			continue
		}
		data, err := os.ReadFile(s.file)
		if err != nil {
			return l, fmt.Errorf("cannot read secret: %w", err)
		}
		*s.to = console.Secret(strings.TrimSpace(string(data)))
	}
	return l, nil
}

func writeJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

// verb lets the box act on what a person would type there.
func (d *serialDesk) verb(ctx context.Context, words []string) error {
	reply, err := d.box.Ask(ctx, console.Request{Words: words})
	if err == nil {
		err = reply.Err()
	}
	switch {
	case err != nil:
		return err
	case d.wait && (words[0] == control.Upgrade || words[0] == control.Install):
		return d.follow(ctx, reply.Data)
	case d.json:
		return writeJSON(d.env.Stdout, reply.Data)
	}
	_, err = io.WriteString(d.env.Stdout, cli.Printable(reply.Said))
	return err
}

// push sends a file and lets the box install it.
func (d *serialDesk) push(ctx context.Context, words []string) error {
	words, only := take(words, "--only")
	if len(words) == 0 || strings.HasPrefix(words[0], "-") {
		return cli.Usagef("push: want the file first")
	}
	name := words[0]
	f, err := os.Open(name)
	if err != nil {
		return ota.NewPermanent(ota.CodeFirmwareNotFound, fmt.Errorf("cannot push: %w", err))
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("cannot push: %w", err)
	}
	bar := newProgress(d.env.Stderr)
	pushed, err := d.box.Push(ctx, filepath.Base(name), f, info.Size(), func(done, total int64) {
		bar.show("sending", int(done*100/total), fmt.Sprintf("%s of %s", cli.SizeText(done), cli.SizeText(total)))
	})
	bar.end()
	switch {
	case err != nil:
		return err
	case !only:
		return d.verb(ctx, append([]string{control.Install, pushed.Path}, words[1:]...))
	case d.json:
		return writeJSON(d.env.Stdout, pushed)
	}
	fmt.Fprintln(d.env.Stdout, cli.Printable(pushed.Path))
	return nil
}
