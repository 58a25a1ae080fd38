package control

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"time"
	"unicode/utf8"

	"otad/ota"
)

// maxCommand bounds a command that comes over a broker; maxID its id.
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
var remote = map[string]bool{Status: true, Check: true, Upgrade: true, Consent: true, Cancel: true, History: true}

// Once remembers the ids of commands acted on, across restarts.
type Once interface {
	// First returns true the first time it is called with id, and false
	// later. It is durable before it returns.
	First(id string) (bool, error)
}

// Obey acts on the payload of a command and returns the result to publish.
// ok is false when there is nothing to answer: the payload has no id to answer
// to, or the command was acted on already.
func Obey(ctx context.Context, verbs Verbs, once Once, payload []byte, now time.Time) (result Result, ok bool) {
	var c Command
	if len(payload) > maxCommand || !utf8.Valid(payload) {
		return Result{}, false
	}
	err := decode(bytes.NewReader(payload), maxCommand, &c)
	if err != nil {
		if c.ID == "" {
			c.ID, c.Verb = salvage(payload)
		}
		err = usage("cannot read command: %w", err)
	}
	if c.ID == "" || len(c.ID) > maxID {
		return Result{}, false
	}
	result = Result{ID: c.ID, Verb: c.Verb, Time: now}
	r := Request{V: c.V, Verb: c.Verb, Args: c.Args, By: "mqtt:" + c.ID}
	if err == nil {
		err = r.check()
	}
	if err == nil && !remote[c.Verb] {
		err = usage("cannot follow %q: it is not taken from a broker", c.Verb)
	}
	if err == nil && c.Expires != nil && now.After(*c.Expires) {
		err = ota.NewRefused(ota.CodeExpired, fmt.Errorf("cannot follow %q: it expired at %s, it is %s",
			c.Verb, c.Expires.UTC().Format(time.RFC3339), now.UTC().Format(time.RFC3339)))
	}
	if err != nil {
		result.Reply = refusal(err)
		return result, true
	}
	first, err := once.First(c.ID)
	if err != nil {
		result.Reply = refusal(err)
		return result, true
	}
	if !first {
		return Result{}, false
	}
	result.Reply = Answer(ctx, verbs, r)
	return result, true
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
