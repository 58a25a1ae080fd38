package main

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"strings"
	"time"

	"otad/agent/control"
	boxreport "otad/agent/report"
	"otad/cmd/internal/cli"
	"otad/transport"
	"otad/transport/mqtt"
)

const (
	answerPatience = 30 * time.Second // of one box
	groupPatience  = 3 * time.Minute  // of a group: it follows over mqtt.group_spread
	waitPatience   = time.Hour        // for the end of an update
	sendPatience   = 20 * time.Second // for the broker's acknowledgement
	signedLife     = 10 * time.Minute // of a signed command, when nobody says otherwise
)

func sendCommand() cli.Command {
	return cli.Command{
		Name: "send",
		Args: "VERB " + brokerArgs + " (--box MODEL/DEVICE | --model M | --all) [--to CODE] [--now] [--answer accept|decline] [--limit N]" +
			" [--id ID] [--expires DUR] [--sign-key FILE] [--wait] [--timeout DUR] [--json]",
		Summary: "send a command to one box, a model or all; with --wait, follow it to the end",
		Run:     send,
	}
}

// sendCall is what the options say.
type sendCall struct {
	broker  *brokerCall
	command control.Command
	box     string
	model   string
	all     bool
	expires time.Duration
	signKey string
	wait    bool
	timeout time.Duration
	json    bool
}

func sendFlags(call *sendCall) *flag.FlagSet {
	fs := cli.Flags("send")
	call.broker = brokerFlags(fs)
	fs.StringVar(&call.box, "box", "", "one box, as `MODEL/DEVICE`")
	fs.StringVar(&call.model, "model", "", "all boxes of this model")
	fs.BoolVar(&call.all, "all", false, "all boxes")
	fs.Int64Var(&call.command.Args.To, "to", 0, "upgrade: this `versionCode` and no other")
	fs.BoolVar(&call.command.Args.Now, "now", false, "upgrade, rollback: do not wait for window or viewer; reboot: whatever they say")
	fs.StringVar(&call.command.Args.Answer, "answer", "", "consent: accept or decline")
	fs.StringVar(&call.command.Args.For, "for", "", "defer: how long, as in 2h")
	fs.IntVar(&call.command.Args.Limit, "limit", 0, "history: how many")
	fs.StringVar(&call.command.ID, "id", "", "id of the command; the same one is acted on once. By default a fresh one")
	fs.DurationVar(&call.expires, "expires", 0, "boxes that get it later refuse it; 0: never, 10m if signed")
	fs.StringVar(&call.signKey, "sign-key", "", "`file` with an Ed25519 key, PEM: boxes with mqtt.command_keys want it")
	fs.BoolVar(&call.wait, "wait", false, "follow the update to its end")
	fs.DurationVar(&call.timeout, "timeout", 0, "patience; by default 30s, 3m for a group, 1h with --wait")
	fs.BoolVar(&call.json, "json", false, "print a line of JSON for each box")
	return fs
}

func send(ctx context.Context, env cli.Env, args []string) error {
	call := &sendCall{}
	fs := sendFlags(call)
	operands, err := cli.Parse(fs, args, 1, 1)
	if err != nil {
		return err
	}
	call.command.Verb = operands[0]
	if err := call.complete(time.Now()); err != nil {
		return err
	}
	payload, err := call.payload()
	if err != nil {
		return err
	}
	messages := make(chan transport.Message, brokerBacklog)
	client, err := call.broker.open(ctx, env, call.filters(), func(m transport.Message) {
		select {
		case messages <- m:
		case <-ctx.Done():
		}
	})
	if err != nil {
		return err
	}
	defer closeBroker(client)
	f := newSending(call, env, messages)
	f.gather(ctx)
	acknowledged, cancel := context.WithTimeout(ctx, sendPatience)
	defer cancel()
	if err := client.Publish(acknowledged, transport.Message{Topic: call.command.Topic, Payload: payload, QoS: 1}); err != nil {
		return err
	}
	return f.follow(ctx)
}

// complete checks the options and fills in what they leave open.
func (c *sendCall) complete(now time.Time) error {
	targets := 0
	prefix := c.broker.prefix
	for topic, chosen := range map[string]bool{
		prefix + "/" + c.box + "/cmd":           c.box != "",
		boxreport.ModelCommand(prefix, c.model): c.model != "",
		boxreport.AllCommand(prefix):            c.all,
	} {
		if chosen {
			targets++
			c.command.Topic = topic
		}
	}
	model, device, pair := strings.Cut(c.box, "/")
	switch {
	case targets != 1:
		return cli.Usagef("want one of --box, --model and --all")
	case c.box != "" && (!pair || mqtt.ValidName(model) != nil || mqtt.ValidName(device) != nil || device == boxreport.Group):
		return cli.Usagef("--box is %q, want MODEL/DEVICE", c.box)
	case c.model != "" && mqtt.ValidName(c.model) != nil:
		return cli.Usagef("--model %q is no name", c.model)
	case c.expires < 0 || c.timeout < 0:
		return cli.Usagef("a negative duration makes no sense")
	}
	c.command.V = control.Version
	if c.command.ID == "" {
		c.command.ID = rand.Text()[:16]
	}
	if c.expires == 0 && c.signKey != "" {
		c.expires = signedLife
	}
	if c.expires > 0 {
		at := now.Add(c.expires).UTC().Truncate(time.Second)
		c.command.Expires = &at
	}
	if c.timeout == 0 {
		switch {
		case c.wait:
			c.timeout = waitPatience
		case c.box == "":
			c.timeout = groupPatience
		default:
			c.timeout = answerPatience
		}
	}
	return c.command.Check()
}

func (c *sendCall) payload() ([]byte, error) {
	if c.signKey == "" {
		return json.Marshal(c.command)
	}
	key, err := loadKey(c.signKey)
	if err != nil {
		return nil, badSetting("cannot read key %q: %w", c.signKey, err)
	}
	ed, ok := key.(ed25519.PrivateKey)
	if !ok {
		return nil, badSetting("cannot sign with %q: %w", c.signKey, errors.New("it is no Ed25519 key; `openssl genpkey -algorithm ed25519` makes one"))
	}
	return control.Sign(ed, c.command)
}

// filters are the topics on which the boxes that are meant answer.
func (c *sendCall) filters() []string {
	who := "+/+"
	switch {
	case c.box != "":
		who = c.box
	case c.model != "":
		who = c.model + "/+"
	}
	var filters []string
	for _, leaf := range []string{"state", "progress", "event", "result"} {
		filters = append(filters, fmt.Sprintf("%s/%s/%s", c.broker.prefix, who, leaf))
	}
	return filters
}
