package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"

	"otad/agent"
	"otad/agent/config"
	"otad/agent/control"
	"otad/agent/report"
	"otad/cmd/internal/cli"
	"otad/ota"
)

// door is the way to an agent: the daemon's socket, or an agent of our own.
type door interface {
	control.Verbs
	control.Auditor
	control.LogFollower
	// follow calls each with the state now and at every change until it
	// returns false. io.EOF when the agent ends, as it does before a reboot.
	follow(ctx context.Context, each func(report.State) bool) error
	// daemon tells whether the agent goes on when we leave.
	daemon() bool
	close()
}

func configFlag(fs *flag.FlagSet) *string {
	return fs.String("config", config.DefaultPath, "settings `FILE`")
}

func jsonFlag(fs *flag.FlagSet) *bool { return fs.Bool("json", false, "answer in JSON") }

// openDoor goes to the daemon if one runs; else it takes the lock and is the
// agent itself. hold keeps that agent from acting.
func openDoor(ctx context.Context, env cli.Env, configPath string, hold bool) (door, error) {
	cfg, err := config.Load(configPath)
	if err != nil {
		return nil, err
	}
	client, err := control.Dial(cfg.Control.Socket)
	if err == nil {
		return &remote{client}, nil
	}
	if !errors.Is(err, control.ErrNoDaemon) {
		return nil, err
	}
	b, err := openBox(cfg, env, mode{hold: hold})
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	own := &oneShot{Agent: b.agent, box: b, cancel: cancel, ended: make(chan struct{})}
	go func() {
		defer close(own.ended)
		own.err = b.agent.Run(ctx)
	}()
	return own, nil
}

// remote is the daemon behind its socket.
type remote struct{ *control.Client }

func (r *remote) follow(ctx context.Context, each func(report.State) bool) error {
	var bad error
	err := r.Follow(ctx, func(data json.RawMessage) bool {
		var s report.State
		if bad = json.Unmarshal(data, &s); bad != nil {
			return false
		}
		return each(s)
	})
	return errors.Join(err, bad)
}

func (r *remote) daemon() bool { return true }
func (r *remote) close()       {}

// oneShot is an agent in this process.
type oneShot struct {
	*agent.Agent
	box    *box
	cancel context.CancelFunc
	ended  chan struct{}
	err    error // of Run, once ended
}

// Do answers like the daemon's door does, in JSON.
func (o *oneShot) Do(ctx context.Context, r control.Request) (any, error) {
	r.V = control.Version
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() { // an agent that ended answers nothing more
		select {
		case <-o.ended:
			cancel()
		case <-ctx.Done():
		}
	}()
	reply := control.Answer(ctx, o.Agent, r)
	if err := reply.Err(); err != nil {
		return o.restarting(r, err)
	}
	return reply.Data, nil
}

// restarting answers a request that came too late for an agent that found an
// armed update and asked for the restart at once: to go on with that update is
// done, all else has to wait. cause is why there is no other answer.
func (o *oneShot) restarting(r control.Request, cause error) (any, error) {
	select {
	case <-o.ended:
	default:
		return nil, cause
	}
	if !errors.Is(o.err, agent.ErrRebooting) {
		return nil, cause
	}
	s := o.State()
	if r.Verb != control.Upgrade || s.Update == nil || r.Args.To != 0 && r.Args.To != s.Update.To.Code {
		return nil, ota.NewRefused(ota.CodeBusy, errors.New("cannot begin: the box restarts for the update under way"))
	}
	data, err := json.Marshal(s)
	return json.RawMessage(data), err
}

func (o *oneShot) follow(ctx context.Context, each func(report.State) bool) error {
	changed, stop := o.Watch()
	defer stop()
	for each(o.State()) {
		select {
		case <-changed:
		case <-o.ended:
			each(o.State())
			if o.err == nil || errors.Is(o.err, agent.ErrRebooting) {
				return io.EOF
			}
			return o.err
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

func (o *oneShot) daemon() bool { return false }

func (o *oneShot) close() {
	o.cancel()
	<-o.ended
	o.box.close()
}

// caller is the user's name, for the audit: a word of the environment, which
// whoever may reach the socket may choose.
func caller() string { return cmp.Or(os.Getenv("SUDO_USER"), os.Getenv("LOGNAME"), os.Getenv("USER")) }

// ask does one verb and decodes its data.
func ask[T any](ctx context.Context, d door, r control.Request) (T, error) {
	var data T
	r.By, r.Who = "cli", caller()
	answer, err := d.Do(ctx, r)
	if err != nil {
		return data, err
	}
	raw, ok := answer.(json.RawMessage)
	if !ok {
		return data, fmt.Errorf("cannot read the answer of %q: %T", r.Verb, answer)
	}
	if err := json.Unmarshal(raw, &data); err != nil {
		return data, fmt.Errorf("cannot read the answer of %q: %w", r.Verb, err)
	}
	return data, nil
}
