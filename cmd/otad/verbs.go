package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"otad/agent/config"
	"otad/agent/control"
	"otad/agent/report"
	"otad/cmd/internal/cli"
	"otad/ota"
)

// query opens the door, does one verb that only looks or answers, and closes it.
func query[T any](ctx context.Context, env cli.Env, configPath string, r control.Request) (T, error) {
	d, err := openDoor(ctx, env, configPath, true)
	if err != nil {
		var none T
		return none, err
	}
	defer d.close()
	return ask[T](ctx, d, r)
}

func status(ctx context.Context, env cli.Env, args []string) error {
	fs := cli.Flags("otad status")
	path, asJSON := configFlag(fs), jsonFlag(fs)
	if _, err := cli.Parse(fs, args, 0, 0); err != nil {
		return err
	}
	s, err := query[report.State](ctx, env, *path, control.Request{Verb: control.Status})
	if err != nil {
		return err
	}
	return answer(env, *asJSON, s, func(w io.Writer) { printState(w, s) })
}

func check(ctx context.Context, env cli.Env, args []string) error {
	fs := cli.Flags("otad check")
	path, asJSON := configFlag(fs), jsonFlag(fs)
	if _, err := cli.Parse(fs, args, 0, 0); err != nil {
		return err
	}
	offer, err := query[ota.Offer](ctx, env, *path, control.Request{Verb: control.Check})
	if err != nil {
		return err
	}
	return answer(env, *asJSON, offer, func(w io.Writer) {
		fmt.Fprintf(w, "version %s is offered (%s) and accepted\n", cli.Printable(versionText(offerVersion(offer))), typeText(offer.Type))
		if offer.Prompt != "" {
			fmt.Fprintf(w, "%s\n", cli.Printable(offer.Prompt))
		}
	})
}

// updateFlags are the options of the verbs that start an update.
type updateFlags struct {
	config          *string
	yes, wait, json *bool
}

func newUpdateFlags(fs *flag.FlagSet) updateFlags {
	return updateFlags{
		config: configFlag(fs), json: jsonFlag(fs),
		yes:  fs.Bool("yes", false, "do not ask, and do not wait for window or viewer"),
		wait: fs.Bool("wait", false, "follow the update to its end"),
	}
}

func upgrade(ctx context.Context, env cli.Env, args []string) error {
	fs := cli.Flags("otad upgrade")
	f := newUpdateFlags(fs)
	to := fs.Int64("to", 0, "this version `CODE` and no other")
	if _, err := cli.Parse(fs, args, 0, 0); err != nil {
		return err
	}
	return start(ctx, env, f, "Ask the server and install what it offers?",
		control.Request{Verb: control.Upgrade, Args: control.Args{To: *to, Now: *f.yes}})
}

func installArtifact(ctx context.Context, env cli.Env, args []string) error {
	fs := cli.Flags("otad install")
	f := newUpdateFlags(fs)
	scan := fs.String("scan", "", "take the newest artifact in `DIR`, which is below usb.dir; ask unless usb.ask is false")
	below := fs.Bool("below-floor", false, "allow a version below the floor")
	operands, err := cli.Parse(fs, args, 0, 1)
	switch {
	case err != nil:
		return err
	case *scan != "" && (len(operands) > 0 || *f.yes || *f.wait || *below):
		return cli.Usagef("--scan goes with --json only")
	case *scan != "":
		return scanStick(ctx, env, f, *scan)
	case len(operands) == 0:
		return cli.Usagef("missing operand")
	}
	source := operands[0]
	if !strings.Contains(source, "://") {
		if source, err = filepath.Abs(source); err != nil {
			return err
		}
		info, err := os.Stat(source)
		if err != nil {
			return ota.NewPermanent(ota.CodeFirmwareNotFound, fmt.Errorf("cannot install %q: %w", source, err))
		}
		if !info.Mode().IsRegular() {
			return ota.NewPermanent(ota.CodeArtifactDamaged, fmt.Errorf("cannot install %q: it is not a regular file", source))
		}
	}
	return start(ctx, env, f, fmt.Sprintf("Install %s?", source),
		control.Request{Verb: control.Install, Args: control.Args{Source: source, Now: *f.yes, BelowFloor: *below}})
}

// start begins an update and, when it happens in this process or when asked
// to, follows it to its end.
func start(ctx context.Context, env cli.Env, f updateFlags, question string, r control.Request) error {
	if !*f.yes && !confirmed(env, question) {
		return ota.NewRefused(ota.CodeDeclined, fmt.Errorf("not started"))
	}
	bar := &progressLine{w: env.Stderr, live: cli.IsTerminal(env.Stderr)}
	env.Stderr = bar // the log of an agent in this process
	d, err := openDoor(ctx, env, *f.config, false)
	if err != nil {
		return err
	}
	defer d.close()
	s, err := ask[report.State](ctx, d, r)
	if err != nil {
		return err
	}
	if s.Update == nil && s.Last != nil { // it ended before it could be looked at
		return answerOutcome(env, *f.json, s, *s.Last)
	}
	if d.daemon() && !*f.wait {
		return answer(env, *f.json, s, func(w io.Writer) { printState(w, s) })
	}
	return followUpdate(ctx, env, bar, d, s, *f.json)
}

// confirmed asks on a terminal; where there is none, nobody can be asked.
func confirmed(env cli.Env, question string) bool {
	if !cli.IsTerminal(env.Stdin) || !cli.IsTerminal(env.Stderr) {
		return true
	}
	fmt.Fprintf(env.Stderr, "%s [y/N] ", question)
	line, _ := bufio.NewReader(env.Stdin).ReadString('\n') // an error is no yes
	line = strings.ToLower(strings.TrimSpace(line))
	return line == "y" || line == "yes"
}

func consent(ctx context.Context, env cli.Env, args []string) error {
	fs := cli.Flags("otad consent")
	path := configFlag(fs)
	operands, err := cli.Parse(fs, args, 1, 1)
	if err != nil {
		return err
	}
	return act(ctx, env, *path, control.Request{Verb: control.Consent, Args: control.Args{Answer: operands[0]}})
}

func deferUpdate(ctx context.Context, env cli.Env, args []string) error {
	fs := cli.Flags("otad defer")
	path := configFlag(fs)
	operands, err := cli.Parse(fs, args, 1, 1)
	if err != nil {
		return err
	}
	return act(ctx, env, *path, control.Request{Verb: control.Defer, Args: control.Args{For: operands[0]}})
}

func cancel(ctx context.Context, env cli.Env, args []string) error {
	fs := cli.Flags("otad cancel")
	path := configFlag(fs)
	if _, err := cli.Parse(fs, args, 0, 0); err != nil {
		return err
	}
	return act(ctx, env, *path, control.Request{Verb: control.Cancel})
}

// act does a verb that answers with the state.
func act(ctx context.Context, env cli.Env, configPath string, r control.Request) error {
	s, err := query[report.State](ctx, env, configPath, r)
	if err != nil {
		return err
	}
	printState(env.Stdout, s)
	return nil
}

func history(ctx context.Context, env cli.Env, args []string) error {
	fs := cli.Flags("otad history")
	path, asJSON := configFlag(fs), jsonFlag(fs)
	limit := fs.Int("limit", 10, "how many, the newest first")
	audit := fs.Bool("audit", false, "which verbs were asked for, by whom, and what came of it")
	if _, err := cli.Parse(fs, args, 0, 0); err != nil {
		return err
	}
	if *audit {
		r := control.Request{Verb: control.History, Args: control.Args{Limit: *limit, Audit: true}}
		deeds, err := query[[]ota.Deed](ctx, env, *path, r)
		if err != nil {
			return err
		}
		return answer(env, *asJSON, deeds, func(w io.Writer) {
			for _, d := range deeds {
				printDeed(w, d)
			}
		})
	}
	list, err := query[[]ota.Outcome](ctx, env, *path, control.Request{Verb: control.History, Args: control.Args{Limit: *limit}})
	if err != nil {
		return err
	}
	return answer(env, *asJSON, list, func(w io.Writer) {
		for _, o := range list {
			printOutcome(w, o)
		}
	})
}

func logs(ctx context.Context, env cli.Env, args []string) error {
	fs := cli.Flags("otad logs")
	path, asJSON := configFlag(fs), jsonFlag(fs)
	limit := fs.Int("limit", 20, "how many lines, the newest last")
	follow := fs.Bool("follow", false, "and then those that come, until interrupted")
	if _, err := cli.Parse(fs, args, 0, 0); err != nil {
		return err
	}
	if *follow {
		return followLogs(ctx, env, *path, *limit, *asJSON)
	}
	lines, err := query[[]string](ctx, env, *path, control.Request{Verb: control.Logs, Args: control.Args{Limit: *limit}})
	if err != nil {
		return err
	}
	return answer(env, *asJSON, lines, func(w io.Writer) { printLines(w, lines) })
}

// followLogs shows the service's log as it comes.
func followLogs(ctx context.Context, env cli.Env, configPath string, limit int, asJSON bool) error {
	cfg, err := config.Load(configPath)
	if err != nil {
		return err
	}
	client, err := control.Dial(cfg.Control.Socket)
	if err != nil {
		return ota.NewTransient(ota.CodeInternal, err)
	}
	var failed error
	err = client.FollowLogs(ctx, limit, func(lines []string) bool {
		for _, line := range lines {
			if failed == nil && asJSON {
				failed = json.NewEncoder(env.Stdout).Encode(line)
			} else if failed == nil {
				_, failed = fmt.Fprintln(env.Stdout, cli.Printable(line))
			}
		}
		return failed == nil
	})
	if errors.Is(err, io.EOF) {
		return nil // the service ended
	}
	return errors.Join(failed, err)
}

// answer writes v as JSON or as text.
func answer(env cli.Env, asJSON bool, v any, text func(io.Writer)) error {
	if !asJSON {
		text(env.Stdout)
		return nil
	}
	e := json.NewEncoder(env.Stdout)
	e.SetIndent("", "  ")
	return e.Encode(v)
}
