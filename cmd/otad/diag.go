package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"text/tabwriter"
	"time"

	"otad/agent/config"
	"otad/agent/control"
	"otad/cmd/internal/cli"
	"otad/ota"
	"otad/ota/durable"
)

// diagVerb is the console's, and not the agent's: most of the bundle is there
// even when the agent is not.
const diagVerb = "diag"

// Bounds of a bundle: the console's answer has room for it.
const (
	maxBundle    = 128 << 10
	diagHistory  = 20
	diagLines    = 1 << 10
	diagPatience = 20 * time.Second // for one part
)

// diag writes all that somebody far away needs to understand a box.
func diag(ctx context.Context, env cli.Env, args []string) error {
	fs := cli.Flags("otad diag")
	path := configFlag(fs)
	output := fs.String("o", "", "write to `FILE`, for its owner only, and not to standard output")
	if _, err := cli.Parse(fs, args, 0, 0); err != nil {
		return err
	}
	cfg, err := config.Load(*path)
	if err != nil {
		return err
	}
	verbs, closeDoor := diagDoor(ctx, env, *path)
	text := bundle(ctx, cfg, verbs)
	closeDoor()
	if *output == "" {
		_, err = env.Stdout.Write(text)
		return err
	}
	if err := durable.WriteFile(durable.OS, *output, text, 0o600); err != nil {
		return ota.NewTransient(ota.CodeInternal, err)
	}
	fmt.Fprintf(env.Stdout, "%s: %s\n", *output, cli.SizeText(int64(len(text))))
	return nil
}

// diagDoor is the way to the agent, or to the reason why there is none.
func diagDoor(ctx context.Context, env cli.Env, configPath string) (control.Verbs, func()) {
	d, err := openDoor(ctx, env, configPath, true)
	if err != nil {
		return noVerbs{err}, func() {}
	}
	return d, d.close
}

type noVerbs struct{ cause error }

func (noVerbs) Audit(control.Request, error) {}

func (n noVerbs) Do(context.Context, control.Request) (any, error) { return nil, n.cause }

// bundle is one text of parts. A part that cannot be had says why. What could
// be a secret is blotted out of the whole.
func bundle(ctx context.Context, cfg *config.Config, verbs control.Verbs) []byte {
	var text bytes.Buffer
	asked := func(verb string, args control.Args) func(context.Context, io.Writer) error {
		return func(ctx context.Context, w io.Writer) error {
			return printAnswer(ctx, w, verbs, control.Request{Verb: verb, By: "cli", Args: args})
		}
	}
	for _, part := range []struct {
		name  string
		write func(context.Context, io.Writer) error
	}{
		{"otad", func(_ context.Context, w io.Writer) error { return printJSON(w, aboutOtad()) }},
		{"state", asked(control.Status, control.Args{})},
		{"board", func(ctx context.Context, w io.Writer) error { return printBoard(ctx, w, cfg) }},
		{"space", func(_ context.Context, w io.Writer) error { return printSpace(w, cfg) }},
		{"settings", func(_ context.Context, w io.Writer) error { return printSettings(w, cfg) }},
		{"history", asked(control.History, control.Args{Limit: diagHistory})},
		{"audit", asked(control.History, control.Args{Limit: diagHistory, Audit: true})},
		{"log", func(ctx context.Context, w io.Writer) error { return printLog(ctx, w, verbs) }},
	} {
		fmt.Fprintf(&text, "== %s\n", part.name)
		ctx, cancel := context.WithTimeout(ctx, diagPatience)
		if err := part.write(ctx, &text); err != nil {
			cli.Report(&text, part.name, err)
		}
		cancel()
		text.WriteByte('\n')
	}
	clean := blotter(cfg)(text.String())
	if len(clean) > maxBundle {
		clean = clean[:maxBundle] + "\n== the rest is cut off\n"
	}
	return bytes.ToValidUTF8([]byte(cli.Printable(clean)), nil)
}

func printJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

func printAnswer(ctx context.Context, w io.Writer, verbs control.Verbs, r control.Request) error {
	data, err := verbs.Do(ctx, r)
	if err != nil {
		return err
	}
	return printJSON(w, data)
}

// printLog writes the newest line first: what is cut off is the least needed.
func printLog(ctx context.Context, w io.Writer, verbs control.Verbs) error {
	data, err := verbs.Do(ctx, control.Request{Verb: control.Logs, By: "cli", Args: control.Args{Limit: diagLines}})
	if err != nil {
		return err
	}
	raw, ok := data.(json.RawMessage)
	if !ok {
		return fmt.Errorf("cannot read the log: %T", data)
	}
	var lines []string
	if err := json.Unmarshal(raw, &lines); err != nil {
		return fmt.Errorf("cannot read the log: %w", err)
	}
	slices.Reverse(lines)
	printLines(w, lines)
	return nil
}

// printBoard asks the board itself, past the agent: what slots there are, what
// runs, and what will start next.
func printBoard(ctx context.Context, w io.Writer, cfg *config.Config) error {
	b, err := openBoard(cfg, slog.New(slog.DiscardHandler), true)
	if err != nil {
		return err
	}
	boot, errBoot := b.Current(ctx)
	slots, errSlots := b.Slots(ctx)
	return errors.Join(printJSON(w, map[string]any{"boot": boot, "slots": slots}), errBoot, errSlots)
}

func printSpace(w io.Writer, cfg *config.Config) error {
	tw := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	var errs []error
	for _, dir := range []string{cfg.State.Dir, cfg.Download.Dir} {
		free, err := durable.FreeBytes(dir)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		fmt.Fprintf(tw, "%s\t%s free\n", dir, cli.SizeText(free))
	}
	if up, err := os.ReadFile("/proc/uptime"); err == nil {
		fmt.Fprintf(tw, "up\t%s", up)
	}
	fmt.Fprintf(tw, "clock\t%s\n", time.Now().UTC().Format(time.RFC3339))
	return errors.Join(errors.Join(errs...), tw.Flush())
}

func printSettings(w io.Writer, cfg *config.Config) error {
	_, err := io.WriteString(w, cfg.Text())
	return err
}
