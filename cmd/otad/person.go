package main

import (
	"context"
	"fmt"
	"io"

	"otad/agent/control"
	"otad/agent/report"
	"otad/cmd/internal/cli"
	"otad/ota"
)

const (
	rollbackQuestion = "Give up the new system, or go back to the one before?"
	rebootQuestion   = "Restart the box?"
)

// confirm vouches for the system on trial and waits until it is permanent.
func confirm(ctx context.Context, env cli.Env, args []string) error {
	fs := cli.Flags("otad confirm")
	f := updateFlags{config: configFlag(fs), json: jsonFlag(fs)}
	if _, err := cli.Parse(fs, args, 0, 0); err != nil {
		return err
	}
	return decide(ctx, env, f, true, control.Request{Verb: control.Confirm})
}

func rollback(ctx context.Context, env cli.Env, args []string) error {
	fs := cli.Flags("otad rollback")
	f := newUpdateFlags(fs)
	if _, err := cli.Parse(fs, args, 0, 0); err != nil {
		return err
	}
	if !*f.yes && !confirmed(env, rollbackQuestion) {
		return ota.NewRefused(ota.CodeDeclined, fmt.Errorf("not started"))
	}
	err := decide(ctx, env, f, *f.wait, control.Request{Verb: control.Rollback, Args: control.Args{Now: *f.yes}})
	if f := ota.FaultOf(err); f != nil && f.Code == ota.CodeRejected {
		return nil // that is how it was to end
	}
	return err
}

// decide does a verb about the system that is armed, on trial or left, and
// follows what comes of it: through the daemon only if wait says so.
func decide(ctx context.Context, env cli.Env, f updateFlags, wait bool, r control.Request) error {
	bar := &progressLine{w: env.Stderr, live: cli.IsTerminal(env.Stderr)}
	env.Stderr = bar
	d, err := openDoor(ctx, env, *f.config, true)
	if err != nil {
		return err
	}
	defer d.close()
	s, err := ask[report.State](ctx, d, r)
	switch {
	case err != nil:
		return err
	case s.Update == nil && s.Last != nil: // it ended before it could be looked at
		return answerOutcome(env, *f.json, s, *s.Last)
	case s.Update == nil || d.daemon() && !wait:
		if err := answer(env, *f.json, s, func(w io.Writer) { printState(w, s) }); err != nil {
			return err
		}
		return cli.Exit(cli.RebootNeeded)
	}
	return followUpdate(ctx, env, bar, d, s, *f.json)
}

func reboot(ctx context.Context, env cli.Env, args []string) error {
	fs := cli.Flags("otad reboot")
	path, asJSON := configFlag(fs), jsonFlag(fs)
	yes := fs.Bool("yes", false, "do not ask, and restart whatever window and viewer say")
	if _, err := cli.Parse(fs, args, 0, 0); err != nil {
		return err
	}
	if !*yes && !confirmed(env, rebootQuestion) {
		return ota.NewRefused(ota.CodeDeclined, fmt.Errorf("not started"))
	}
	s, err := query[report.State](ctx, env, *path, control.Request{Verb: control.Reboot, Args: control.Args{Now: *yes}})
	if err != nil {
		return err
	}
	if err := answer(env, *asJSON, s, func(w io.Writer) { fmt.Fprintln(w, "the box restarts") }); err != nil {
		return err
	}
	return cli.Exit(cli.RebootNeeded)
}
