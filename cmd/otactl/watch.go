package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"time"

	"otad/cmd/internal/cli"
	"otad/cmd/otactl/fleet"
)

// watchEvery paces what is drawn; a fleet can say thousands of things a second.
const (
	watchEvery  = 500 * time.Millisecond
	readTimeout = 10 * time.Second // for the head of a browser's request
)

func watchCommand() cli.Command {
	return cli.Command{
		Name:    "watch",
		Args:    brokerArgs + " [--filter WORDS] [--sort news|name|version|progress] [--for DUR] [--json] [--web ADDR]",
		Summary: "a live table of the boxes, lines where there is no terminal, or a web page",
		Run:     watch,
	}
}

// watchCall is what the options say.
type watchCall struct {
	filter string
	order  string
	long   time.Duration
	json   bool
	web    string
}

func watch(ctx context.Context, env cli.Env, args []string) error {
	call := &watchCall{}
	fs := cli.Flags("watch")
	broker := brokerFlags(fs)
	fs.StringVar(&call.filter, "filter", "", "show boxes that have every `word`; !word: that do not")
	fs.StringVar(&call.order, "sort", string(fleet.OrderNews), "news (trouble and movement first), name, version or progress")
	fs.DurationVar(&call.long, "for", 0, "end after this `duration`; 0: when interrupted")
	fs.BoolVar(&call.json, "json", false, "a line of JSON for each change of a box")
	fs.StringVar(&call.web, "web", "", "serve a page at `address`, as in 127.0.0.1:8080; whoever reaches it may look, nobody may touch")
	if _, err := cli.Parse(fs, args, 0, 0); err != nil {
		return err
	}
	if !slices.Contains(fleet.Orders, fleet.Order(call.order)) {
		return cli.Usagef("--sort is %q, want one of %v", call.order, fleet.Orders)
	}
	boxes := fleet.New(broker.prefix)
	client, err := broker.open(ctx, env, boxes.Filters(), boxes.Take)
	if err != nil {
		return err
	}
	defer closeBroker(client)
	if call.long > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, call.long)
		defer cancel()
	}
	out := terminalOf(env.Stdout)
	switch {
	case call.web != "":
		err = serveFleet(ctx, env, call.web, boxes)
	case !call.json && out != nil:
		err = call.screen(ctx, env.Stdin, out, boxes)
	default:
		err = call.lines(ctx, env.Stdout, boxes)
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return nil // --for is over
	}
	return err
}

// terminalOf is the terminal behind w that can redraw, nil if there is none.
func terminalOf(w io.Writer) *os.File {
	switch w := w.(type) {
	case *os.File:
		if cli.IsTerminal(w) && os.Getenv("TERM") != "dumb" {
			return w
		}
	case interface{ Unwrap() io.Writer }: // the program counts what is written
		return terminalOf(w.Unwrap())
	}
	return nil
}

// serveFleet serves the page until ctx ends.
func serveFleet(ctx context.Context, env cli.Env, address string, boxes *fleet.Fleet) error {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return fmt.Errorf("cannot serve page: %w", err)
	}
	fmt.Fprintf(env.Stderr, "the page is at http://%s/\n", l.Addr())
	srv := &http.Server{Handler: boxes.Handler(), ReadHeaderTimeout: readTimeout,
		BaseContext: func(net.Listener) context.Context { return ctx }}
	defer context.AfterFunc(ctx, func() { srv.Close() })()
	if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("cannot serve page: %w", err)
	}
	return ctx.Err()
}

// lines prints each box that changed, a line of text or JSON each; of text,
// only what reads differently than before.
func (c *watchCall) lines(ctx context.Context, w io.Writer, boxes *fleet.Fleet) error {
	said := map[string]string{}
	return follow(ctx, boxes, func(rows []fleet.Row) error {
		for _, r := range rows {
			if !fleet.Match(r, c.filter) {
				continue
			}
			if c.json {
				if err := json.NewEncoder(w).Encode(r); err != nil {
					return err
				}
				continue
			}
			r.Percent -= r.Percent % 10 // a line for each tenth of the way
			if r.Transfer != nil {
				about := *r.Transfer
				about.ETASeconds = 0
				r.Transfer = &about
			}
			if line := r.Line(); said[r.Box] != line {
				said[r.Box] = line
				if _, err := fmt.Fprintf(w, "%s  %s\n", r.Seen.Format(time.TimeOnly), line); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

// follow calls each with the boxes that changed, at once and then at most
// every watchEvery, until ctx ends or each fails.
func follow(ctx context.Context, boxes *fleet.Fleet, each func([]fleet.Row) error) error {
	pace := time.NewTicker(watchEvery)
	defer pace.Stop()
	for rev := uint64(0); ; {
		rows, now, changed := boxes.Since(rev)
		rev = now
		if err := each(rows); err != nil {
			return err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
		select {
		case <-pace.C:
		case <-ctx.Done():
			rows, _, _ = boxes.Since(rev)
			return errors.Join(each(rows), ctx.Err())
		}
	}
}
