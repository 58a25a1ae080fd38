package control

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"time"
	"unicode/utf8"

	"otad/ota"
)

// maxCommand bounds a command that comes over a broker, its envelope included;
// maxID its id.
const (
	maxCommand = 16 << 10
	maxID      = 64
)

// Command is a request as it comes over MQTT.
type Command struct {
	V       int        `json:"v"`
	ID      string     `json:"id"` // chosen by the sender; acted on once
	Verb    string     `json:"verb"`
	Args    Args       `json:"args"`
	Expires *time.Time `json:"expires,omitempty"` // not acted on after this time
	Topic   string     `json:"topic,omitempty"`   // the one it is sent to, so that it works nowhere else
}

// Result answers a command.
type Result struct {
	ID   string    `json:"id"`
	Verb string    `json:"verb"`
	Time time.Time `json:"time"`
	Reply
}

// remote lists the verbs that are taken from a broker: all but those that name
// files of the box.
var remote = map[string]bool{Status: true, Check: true, Upgrade: true, Consent: true, Defer: true, Cancel: true, History: true, Logs: true, Config: true,
	Confirm: true, Rollback: true, Reboot: true}

// looking are the verbs that change nothing. They need no memory of their ids,
// which would cost a write to the flash each.
var looking = map[string]bool{Status: true, History: true, Logs: true, Config: true}

// spread are the verbs that make a box ask the server or restart: addressed to a
// group, they are not followed by all boxes at once.
var spread = map[string]bool{Check: true, Upgrade: true, Rollback: true, Reboot: true}

// errNobody says that there is nobody to answer to.
var errNobody = errors.New("no id to answer to")

// read reads the payload of a message on topic at now. With errNobody the
// command is to be ignored; with any other error its id and verb are known as
// far as that is possible, for the answer.
func (k CommandKeys) read(topic string, payload []byte, now time.Time) (Command, error) {
	if len(payload) > maxCommand || !utf8.Valid(payload) {
		return Command{}, errNobody
	}
	payload, signed, trust := k.open(payload)
	var c Command
	err := decode(bytes.NewReader(payload), maxCommand, &c)
	if err != nil {
		if c.ID == "" {
			c.ID, c.Verb = salvage(payload)
		}
		err = usage("cannot read command: %w", err)
	}
	if c.ID == "" || len(c.ID) > maxID || !utf8.ValidString(c.ID) {
		return Command{}, errNobody
	}
	for _, check := range []func() error{
		func() error { return trust },
		func() error { return err },
		func() error { return c.check(topic) },
		func() error { return c.inTime(now) },
		func() error { return c.bound(signed, now) },
	} {
		if err := check(); err != nil {
			return c, err
		}
	}
	return c, nil
}

func (c *Command) request() Request {
	return Request{V: c.V, Verb: c.Verb, Args: c.Args, By: "mqtt:" + c.ID}
}

// Check tells whether a box would take c, for those who send it: faults have
// the code usage.
func (c *Command) Check() error {
	if c.ID == "" || len(c.ID) > maxID {
		return usage("cannot send %q: an id has 1 to %d characters", c.Verb, maxID)
	}
	return c.check(c.Topic)
}

func (c *Command) check(topic string) error {
	if err := c.request().check(); err != nil {
		return err
	}
	if !remote[c.Verb] {
		return usage("cannot follow %q: it is not taken from a broker", c.Verb)
	}
	if c.Topic != "" && c.Topic != topic {
		return usage("cannot follow %q: it was made for the topic %q", c.Verb, c.Topic)
	}
	return nil
}

func (c *Command) inTime(now time.Time) error {
	if c.Expires == nil || !now.After(*c.Expires) {
		return nil
	}
	return ota.NewRefused(ota.CodeExpired, fmt.Errorf("cannot follow %q: it expired at %s, it is %s",
		c.Verb, c.Expires.UTC().Format(time.RFC3339), now.UTC().Format(time.RFC3339)))
}

// salvage finds whom to answer in a command that is otherwise unreadable.
func salvage(payload []byte) (id, verb string) {
	var c struct {
		ID   string `json:"id"`
		Verb string `json:"verb"`
	}
	_ = json.Unmarshal(payload, &c) // what it got before the error is all there is
	return c.ID, c.Verb
}
