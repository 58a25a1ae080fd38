package main

import (
	"context"
	"errors"
	"sync"

	"otad/agent"
	"otad/agent/config"
	"otad/agent/control"
	"otad/cmd/internal/cli"
)

// run is the service.
func run(ctx context.Context, env cli.Env, args []string) error {
	fs := cli.Flags("otad run")
	path := configFlag(fs)
	if _, err := cli.Parse(fs, args, 0, 0); err != nil {
		return err
	}
	cfg, err := config.Load(*path)
	if err != nil {
		return err
	}
	b, err := openBox(cfg, env, mode{poll: true})
	if err != nil {
		return err
	}
	defer b.close()
	listener, err := control.Listen(cfg.Control.Socket)
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(ctx)
	var doors sync.WaitGroup
	doors.Go(func() {
		if err := control.Serve(ctx, listener, b.agent); err != nil {
			b.log.Error("the local door is closed", "cause", err)
		}
	})
	doors.Go(func() { notify(ctx, b.agent, b.log) })
	doors.Go(func() { rest(ctx, b.agent) })
	b.sendReports(ctx, cfg, &doors)
	closeBroker, err := openBroker(ctx, cfg, b, &doors)
	if err == nil {
		err = openConsole(ctx, cfg, b, &doors)
	}
	if err == nil {
		err = b.agent.Run(ctx)
	}
	closeBroker()
	stop()
	doors.Wait()
	if errors.Is(err, agent.ErrRebooting) {
		return cli.Exit(cli.RebootNeeded)
	}
	if errors.Is(err, context.Canceled) {
		return cli.Exit(cli.Done) // asked to end, as services are
	}
	return err
}
