package main

import (
	"context"
	"fmt"
	"io"
	"path/filepath"

	"otad/agent"
	"otad/agent/config"
	"otad/agent/control"
	"otad/cmd/internal/cli"
	"otad/ota"
)

// scanStick has the service look at a stick that was plugged in. Without the
// service there is nobody who could wait for the viewer's answer.
func scanStick(ctx context.Context, env cli.Env, f updateFlags, dir string) error {
	cfg, err := config.Load(*f.config)
	if err != nil {
		return err
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return err
	}
	client, err := control.Dial(cfg.Control.Socket)
	if err != nil {
		return ota.NewTransient(ota.CodeInternal, err)
	}
	found, err := ask[agent.Scan](ctx, &remote{client}, control.Request{Verb: control.Scan, Args: control.Args{Source: dir}})
	if err != nil {
		return err
	}
	if err := answer(env, *f.json, found, func(w io.Writer) { printScan(w, found) }); err != nil {
		return err
	}
	if found.Taken == "" {
		return cli.Exit(cli.Nothing)
	}
	return nil
}

func printScan(w io.Writer, found agent.Scan) {
	for _, s := range found.Skipped {
		fmt.Fprintf(w, "skipped %s: %s (%s)\n", cli.Printable(s.File), cli.Printable(s.Text), s.Code)
	}
	switch {
	case found.Taken == "":
		fmt.Fprintln(w, "nothing to install")
	case found.Asks:
		fmt.Fprintf(w, "taken %s, version %s: it waits for `otad consent accept`\n", cli.Printable(found.Taken), cli.Printable(found.Version))
	default:
		fmt.Fprintf(w, "taken %s, version %s\n", cli.Printable(found.Taken), cli.Printable(found.Version))
	}
}
