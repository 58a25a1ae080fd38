package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"time"

	"otad/agent/config"
	"otad/agent/control"
	"otad/cmd/internal/cli"
	"otad/cmd/otad/doctor"
	"otad/ota"
)

// examine looks the box over, beside a service that runs or without one.
func examine(ctx context.Context, env cli.Env, args []string) error {
	fs := cli.Flags("otad doctor")
	path, asJSON := configFlag(fs), jsonFlag(fs)
	quick := fs.Bool("quick", false, "open the slots, but do not read them through")
	if _, err := cli.Parse(fs, args, 0, 0); err != nil {
		return err
	}
	report := doctorReport(ctx, *path, *quick)
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := answer(env, *asJSON, report, func(w io.Writer) { printReport(w, report) }); err != nil {
		return err
	}
	if !report.OK {
		return cli.Exit(cli.Failed)
	}
	return nil
}

func doctorReport(ctx context.Context, path string, quick bool) doctor.Report {
	cfg, err := config.Load(path)
	if err != nil {
		return doctor.Misconfigured(err, ota.FaultOf(err).Hint)
	}
	b := doctor.Box{Config: cfg, ConfigPath: path, Now: time.Now(), Built: builtAt(), Version: buildVersion(), Quick: quick}
	b.Board, b.BoardErr = openBoard(cfg, slog.New(slog.DiscardHandler), true)
	if _, err := control.Dial(cfg.Control.Socket); err == nil {
		b.Service = true
	}
	return doctor.Examine(ctx, b)
}

// printReport writes one line for each check, and below it what to do.
func printReport(w io.Writer, r doctor.Report) {
	for _, f := range r.Findings {
		name := f.Check
		if f.Subject != "" {
			name += " " + f.Subject
		}
		fmt.Fprintf(w, "%-5s %s: %s\n", f.Verdict, cli.Printable(name), cli.Printable(f.Text))
		if f.Hint != "" {
			fmt.Fprintf(w, "      hint: %s\n", cli.Printable(f.Hint))
		}
	}
}
