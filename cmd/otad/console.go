package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"otad/agent"
	"otad/agent/config"
	"otad/agent/control"
	"otad/agent/report"
	"otad/cmd/internal/cli"
	"otad/ota"
	"otad/transport/console"
)

// consoleBy is who asks, for the record and the history.
const consoleBy = "console"

// lastLook is how long the console outlives its agent, to say how that ended.
const lastLook = 300 * time.Millisecond

// serialConsole serves the console on a port: through the daemon when one runs,
// else as the agent itself.
func serialConsole(ctx context.Context, env cli.Env, args []string) error {
	fs := cli.Flags("otad console")
	path := configFlag(fs)
	port := fs.String("port", "", "serial `PORT`; console.port of the settings when not given")
	baud := fs.Int("baud", 0, "`SPEED`; console.baud of the settings when not given")
	if _, err := cli.Parse(fs, args, 0, 0); err != nil {
		return err
	}
	cfg, err := config.Load(*path)
	if err != nil {
		return err
	}
	if *port != "" {
		cfg.Console.Port = *port
	}
	if *baud != 0 {
		cfg.Console.Baud = *baud
	}
	if cfg.Console.Port == "" {
		return cli.Usagef("no port: give --port or set console.port")
	}
	d, err := openDoor(ctx, env, *path, false)
	if err != nil {
		return err
	}
	defer d.close()
	o, err := consoleOptions(cfg, d)
	if err != nil {
		return err
	}
	o.Log = slog.New(slog.NewTextHandler(env.Stderr, &slog.HandlerOptions{Level: cfg.Level()}))
	own, ours := d.(*oneShot)
	if !ours {
		return console.Serve(ctx, o)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		<-own.ended // closed at the latest by d.close
		time.AfterFunc(lastLook, cancel)
	}()
	err = console.Serve(ctx, o)
	select {
	case <-own.ended:
	default:
		return err // we were asked to end
	}
	if errors.Is(own.err, agent.ErrRebooting) {
		return cli.Exit(cli.RebootNeeded)
	}
	return own.err
}

// openConsole opens the console's door of the service, if one is configured.
func openConsole(ctx context.Context, cfg *config.Config, b *box, doors *sync.WaitGroup) error {
	if cfg.Console.Port == "" {
		return nil
	}
	d := &oneShot{Agent: b.agent, box: b, ended: make(chan struct{})}
	o, err := consoleOptions(cfg, d)
	if err != nil {
		return err
	}
	o.Log = b.log
	serving, stop := context.WithCancel(context.WithoutCancel(ctx))
	context.AfterFunc(ctx, func() {
		close(d.ended)
		time.AfterFunc(lastLook, stop)
	})
	doors.Go(func() { _ = console.Serve(serving, o) }) // it ends only with its context
	return nil
}

func consoleOptions(cfg *config.Config, d door) (console.Options, error) {
	c := cfg.Console
	o := console.Options{
		Port: c.Port, Open: func() (io.ReadWriteCloser, error) { return console.OpenPort(c.Port, c.Baud) },
		Box: consoleBox{d, cfg}, Face: consoleFace{}, ReadOnly: []string{control.Status, control.History, control.Logs, control.Config},
		Inbox: console.Inbox{Dir: filepath.Join(cfg.Download.Dir, "console"), MaxBytes: int64(cfg.Download.MaxSize)},
		Dumb:  c.Terminal == "dumb",
	}
	for _, s := range []struct {
		file string
		to   *console.Secret
	}{{c.PINFile, &o.Login.PIN}, {c.KeyFile, &o.Login.Key}} {
		if s.file == "" {
			continue
		}
		secret, err := config.ReadSecret(s.file)
		if err != nil {
			return o, err
		}
		*s.to = console.Secret(secret)
	}
	return o, nil
}

// consoleBox is an agent as the console sees it.
type consoleBox struct {
	door   door
	config *config.Config
}

func (b consoleBox) Do(ctx context.Context, who, verb string, raw json.RawMessage) (json.RawMessage, error) {
	r := control.Request{Verb: verb, By: consoleBy, Who: who}
	if len(raw) > 0 {
		d := json.NewDecoder(bytes.NewReader(raw))
		d.DisallowUnknownFields()
		if err := d.Decode(&r.Args); err != nil {
			return nil, ota.NewRefused(ota.CodeUsage, fmt.Errorf("cannot read the arguments of %q: %w", verb, err))
		}
	}
	if verb == diagVerb && r.Args == (control.Args{}) {
		b.door.Audit(r, nil)
		return json.Marshal(string(bundle(ctx, b.config, b.door)))
	}
	data, err := b.door.Do(ctx, r)
	if err != nil {
		return nil, err
	}
	answer, ok := data.(json.RawMessage)
	if !ok {
		return nil, fmt.Errorf("cannot read the answer of %q: %T", verb, data)
	}
	return answer, nil
}

// Audit remembers what the console settled by itself.
func (b consoleBox) Audit(who, verb string, verdict error) {
	b.door.Audit(control.Request{Verb: verb, By: consoleBy, Who: who}, verdict)
}

func (b consoleBox) Tail(ctx context.Context, n int, each func([]string) bool) error {
	return b.door.FollowLogs(ctx, n, each)
}

func (b consoleBox) Follow(ctx context.Context, each func(json.RawMessage) bool) error {
	var bad error
	err := b.door.follow(ctx, func(s report.State) bool {
		data, err := json.Marshal(s)
		if bad = err; err != nil {
			return false
		}
		return each(data)
	})
	if bad != nil {
		return bad
	}
	return err
}

func (b consoleBox) Ready(ctx context.Context) error {
	data, err := b.Do(ctx, "", control.Status, nil)
	if err != nil {
		return err
	}
	var s report.State
	if err := json.Unmarshal(data, &s); err != nil {
		return err
	}
	if s.Update != nil {
		return ota.NewRefused(ota.CodeBusy, fmt.Errorf("cannot take a file: update %s is %s", s.Update.ID, s.Phase)).
			WithHint("wait for its end, or `cancel` it")
	}
	return nil
}

// consoleFace reads and writes like the command line does.
type consoleFace struct{}

func (consoleFace) Help() string {
	return `status                     what goes on, and why not yet
check                      ask the server now; an offer is accepted
upgrade [--to CODE] [--yes] [--wait]
                           check if need be, download, install, reboot
install FILE|URL [--yes] [--below-floor] [--wait]
                           install an artifact without a server
consent accept|decline     the viewer's answer
defer DUR                  the viewer says: not before DUR is over, as in 2h
cancel                     stop the update under way
confirm                    keep the system on trial: you vouch for it
rollback [--yes] [--wait]  give up the system armed or on trial, or go back
reboot [--yes]             restart the box when nobody minds
history [--limit N] [--audit]
                           how updates ended, or who asked for which verb
logs [--limit N] [--follow]
                           the last lines of the log, or as it comes
diag                       all that explains the box, without its secrets
`
}

func (consoleFace) Parse(words []string) (console.Command, error) {
	c := console.Command{Verb: words[0]}
	fs := cli.Flags(words[0])
	var args control.Args
	operands := 0
	updates := func() {
		fs.BoolVar(&args.Now, "yes", false, "")
		fs.BoolVar(&c.Wait, "wait", false, "")
	}
	switch c.Verb {
	case control.Status, control.Check, control.Cancel, control.Confirm, control.Config, diagVerb:
	case control.Rollback:
		updates()
	case control.Reboot:
		fs.BoolVar(&args.Now, "yes", false, "")
	case control.Upgrade:
		updates()
		fs.Int64Var(&args.To, "to", 0, "")
	case control.Install:
		updates()
		fs.BoolVar(&args.BelowFloor, "below-floor", false, "")
		operands = 1
	case control.Consent, control.Defer:
		operands = 1
	case control.History:
		fs.IntVar(&args.Limit, "limit", 0, "")
		fs.BoolVar(&args.Audit, "audit", false, "")
	case control.Logs:
		fs.IntVar(&args.Limit, "limit", 0, "")
		fs.BoolVar(&c.Tail, "follow", false, "")
	default:
		return c, ota.NewRefused(ota.CodeUsage, fmt.Errorf("cannot run %q: no such command", c.Verb)).
			WithHint("`help` lists the commands")
	}
	if len(words) == 2 && c.Verb == control.Config && words[1] == "status" {
		words = words[:1] // as on the command line
	}
	if len(words) == 2 && c.Verb == control.Logs && words[1] == "follow" {
		words[1] = "--follow" // what a hand types
	}
	rest, err := cli.Parse(fs, words[1:], operands, operands)
	if err != nil {
		return c, ota.NewRefused(ota.CodeUsage, fmt.Errorf("cannot run %q: %w", c.Verb, err))
	}
	switch c.Verb {
	case control.Upgrade:
		c.Question = "Ask the server and install what it offers?"
	case control.Install:
		args.Source = rest[0]
		c.Question = "Install " + cli.Printable(args.Source) + "?"
	case control.Rollback:
		c.Question = rollbackQuestion
	case control.Reboot:
		c.Question = rebootQuestion
	case control.Consent:
		args.Answer = rest[0]
	case control.Defer:
		args.For = rest[0]
	case control.Logs:
		c.Lines = args.Limit
	}
	if args.Now {
		c.Question = ""
	}
	c.Args, err = json.Marshal(args)
	return c, err
}

func (consoleFace) Log(w io.Writer, lines []string) { printLines(w, lines) }

func (consoleFace) Say(w io.Writer, c console.Command, data json.RawMessage) {
	var args control.Args
	_ = json.Unmarshal(c.Args, &args) // Do has read them
	var err error
	switch c.Verb {
	case control.Check:
		var o ota.Offer
		if err = json.Unmarshal(data, &o); err == nil {
			fmt.Fprintf(w, "version %s is offered (%s) and accepted\n", cli.Printable(versionText(offerVersion(o))), typeText(o.Type))
		}
	case control.History:
		if args.Audit {
			var deeds []ota.Deed
			if err = json.Unmarshal(data, &deeds); err == nil {
				for _, d := range deeds {
					printDeed(w, d)
				}
			}
			break
		}
		var list []ota.Outcome
		if err = json.Unmarshal(data, &list); err == nil {
			for _, o := range list {
				printOutcome(w, o)
			}
		}
	case diagVerb:
		var text string
		if err = json.Unmarshal(data, &text); err == nil {
			fmt.Fprint(w, text)
		}
	case control.Config:
		var s report.Configuration
		if err = json.Unmarshal(data, &s); err == nil {
			printConfiguration(w, s)
		}
	case control.Logs:
		var lines []string
		if err = json.Unmarshal(data, &lines); err == nil {
			printLines(w, lines)
		}
	default:
		var s report.State
		if err = json.Unmarshal(data, &s); err == nil {
			printState(w, s)
		}
	}
	if err != nil {
		fmt.Fprintf(w, "cannot read the answer: %v\n", err)
	}
}

func (consoleFace) Progress(w io.Writer, first json.RawMessage, live bool) func(json.RawMessage) bool {
	var began report.State
	_ = json.Unmarshal(first, &began) // without an id it is followed until the person has enough
	var id string
	switch {
	case began.Update != nil:
		id = began.Update.ID
	case began.Last != nil:
		id = began.Last.ID
	}
	bar := &progressLine{w: w, live: live}
	return func(data json.RawMessage) bool {
		var s report.State
		if err := json.Unmarshal(data, &s); err != nil {
			return false
		}
		if s.Last == nil || s.Last.ID != id {
			bar.show(s)
			return true
		}
		bar.end()
		printOutcome(w, *s.Last)
		if f := s.Last.Failure; f != nil && f.Hint != "" {
			fmt.Fprintf(w, "hint: %s\n", strings.TrimSpace(cli.Printable(f.Hint)))
		}
		return false
	}
}
