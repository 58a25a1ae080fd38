// Package control is the set of verbs and the doors to them.
//
// A [Request] means the same at every door: the local socket, MQTT and, later,
// the serial console. The agent implements [Verbs]; the doors carry requests
// in and replies out, in one JSON form that is versioned and only added to.
// docs/control.md describes it.
//
// Trust: the local socket belongs to root; what comes over MQTT is held to a
// shorter list of verbs, to an expiry and to being acted on once.
package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"otad/ota"
)

// Version of requests and replies.
const Version = 1

// The verbs.
const (
	Status  = "status"  // what goes on; Data is report.State
	Check   = "check"   // ask the server now; an offer is accepted. Data is ota.Offer
	Upgrade = "upgrade" // check if need be, and go on with the update. Data is report.State
	Install = "install" // an artifact from a local file or a URL. Local doors only
	Scan    = "scan"    // the newest artifact of a directory below usb.dir. Local doors only; Data is agent.Scan
	Consent = "consent" // the viewer's answer
	Defer   = "defer"   // the viewer says: later
	Cancel  = "cancel"  // stop the update under way
	History = "history" // how updates ended; Data is []ota.Outcome, the newest first
	Config  = "config"  // how the configuration channel stands; Data is report.Configuration
	Logs    = "logs"    // the last lines of the log; Data is []string, the newest last

	// What a person decides about the system that runs; Data is report.State.
	Confirm  = "confirm"  // keep the one on trial: the person vouches for it
	Rollback = "rollback" // give up the one armed or on trial, or go back to the one before
	Reboot   = "reboot"   // restart the box, if the policy has nothing against it
)

// Args are the arguments of all verbs; each takes its own and no other.
type Args struct {
	To         int64  `json:"to,omitempty"`          // upgrade: this versionCode and no other
	Now        bool   `json:"now,omitempty"`         // upgrade, install, rollback: do not wait for window, viewer or consent; reboot: whatever they say
	Source     string `json:"source,omitempty"`      // install: an absolute path, or a URL; scan: a directory
	BelowFloor bool   `json:"below_floor,omitempty"` // install: allow a version below the floor
	Answer     string `json:"answer,omitempty"`      // consent: "accept" or "decline"
	For        string `json:"for,omitempty"`         // defer: how long, as in "2h" or "90m"
	Limit      int    `json:"limit,omitempty"`       // history, logs: how many, 10 or 20 when absent
	Audit      bool   `json:"audit,omitempty"`       // history: of verbs instead of updates; Data is []ota.Deed
}

// Duration is For, 0 when it is none.
func (a Args) Duration() time.Duration {
	d, err := time.ParseDuration(a.For)
	if err != nil {
		return 0
	}
	return d
}

// allowed names the arguments that each verb takes.
var allowed = map[string]Args{
	Status:  {},
	Check:   {},
	Upgrade: {To: 1, Now: true},
	Install: {Now: true, Source: "x", BelowFloor: true},
	Scan:    {Source: "x"},
	Consent: {Answer: "x"},
	Defer:   {For: "x"},
	Cancel:  {},
	History: {Limit: 1, Audit: true},
	Logs:    {Limit: 1},
	Config:  {},

	Confirm:  {},
	Rollback: {Now: true},
	Reboot:   {Now: true},
}

// Request asks for one verb.
type Request struct {
	V    int    `json:"v"`
	Verb string `json:"verb"`
	Args Args   `json:"args"`
	// By says who asks, for the record and the history. The door sets it.
	By string `json:"by,omitempty"`
	// Who is what the door knows of them beyond that, for the audit.
	Who string `json:"who,omitempty"`
}

// Reply answers a request.
type Reply struct {
	V    int             `json:"v"`
	OK   bool            `json:"ok"`
	Code ota.Code        `json:"code,omitempty"` // of the fault, when not OK
	Text string          `json:"text,omitempty"`
	Hint string          `json:"hint,omitempty"`
	Data json.RawMessage `json:"data,omitempty"`
}

// Verbs is the agent. Do returns data that marshals to JSON, or a fault.
type Verbs interface {
	Do(ctx context.Context, r Request) (any, error)
}

// Auditor is what Verbs may be besides: it remembers a request that a door
// settled by itself, as one that lacks a login, with the verdict; nil for done.
// What Do is asked it remembers of its own accord.
type Auditor interface {
	Audit(r Request, verdict error)
}

// Looks tells whether a verb changes nothing, so that no door need remember it.
func Looks(verb string) bool { return looking[verb] }

// Answer checks r, lets verbs act on it and makes the reply.
func Answer(ctx context.Context, verbs Verbs, r Request) Reply {
	if err := r.check(); err != nil {
		return refusal(err)
	}
	data, err := verbs.Do(ctx, r)
	if err != nil {
		return refusal(err)
	}
	raw, err := json.Marshal(data)
	if err != nil {
		return refusal(fmt.Errorf("cannot encode the answer of %q: %w", r.Verb, err))
	}
	return Reply{V: Version, OK: true, Data: raw}
}

func refusal(err error) Reply {
	f := ota.FaultOf(err)
	return Reply{V: Version, Code: f.Code, Text: f.Error(), Hint: f.Hint}
}

// Err is the fault that the reply tells of, nil when it is OK.
func (r Reply) Err() error {
	if r.OK {
		return nil
	}
	return ota.NewRefused(r.Code, errors.New(r.Text)).WithHint(r.Hint)
}

func usage(format string, args ...any) error {
	return ota.NewRefused(ota.CodeUsage, fmt.Errorf(format, args...))
}

// check holds a request to the version, the verbs and their arguments.
func (r Request) check() error {
	if r.V != Version {
		return usage("cannot follow request: version %d is not known, want %d", r.V, Version)
	}
	takes, ok := allowed[r.Verb]
	if !ok {
		return usage("cannot follow request: verb %q is not known", r.Verb)
	}
	given := r.Args
	for name, odd := range map[string]bool{
		"to":          given.To != 0 && takes.To == 0,
		"now":         given.Now && !takes.Now,
		"source":      given.Source != "" && takes.Source == "",
		"below_floor": given.BelowFloor && !takes.BelowFloor,
		"answer":      given.Answer != "" && takes.Answer == "",
		"for":         given.For != "" && takes.For == "",
		"limit":       given.Limit != 0 && takes.Limit == 0,
		"audit":       given.Audit && !takes.Audit,
	} {
		if odd {
			return usage("cannot follow %q: it takes no argument %q", r.Verb, name)
		}
	}
	switch {
	case given.To < 0, given.Limit < 0:
		return usage("cannot follow %q: a negative number makes no sense", r.Verb)
	case r.Verb == Consent && given.Answer != "accept" && given.Answer != "decline":
		return usage("cannot follow %q: answer is %q, want \"accept\" or \"decline\"", r.Verb, given.Answer)
	case r.Verb == Defer && given.Duration() <= 0:
		return usage("cannot follow %q: for is %q, want how long, as in \"2h\"", r.Verb, given.For)
	case (r.Verb == Install || r.Verb == Scan) && given.Source == "":
		return usage("cannot follow %q: source is missing", r.Verb)
	}
	return nil
}

// decode reads one JSON value of at most limit bytes into v and refuses
// members that it does not know, so that a misspelt argument is no surprise.
func decode(data io.Reader, limit int64, v any) error {
	raw, err := io.ReadAll(io.LimitReader(data, limit+1))
	if err != nil {
		return err
	}
	if int64(len(raw)) > limit {
		return fmt.Errorf("longer than %d bytes", limit)
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return err
	}
	if _, err := d.Token(); err != io.EOF { // More would miss a stray bracket
		return errors.New("something follows the JSON value")
	}
	return nil
}
