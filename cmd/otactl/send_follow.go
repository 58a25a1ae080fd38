package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"otad/agent/control"
	boxreport "otad/agent/report"
	"otad/cmd/internal/cli"
	"otad/cmd/otactl/fleet"
	"otad/ota"
	"otad/transport"
)

// gatherQuiet is how long the broker is silent when it has told all retained
// states; gatherMost bounds the wait for that.
const (
	gatherQuiet = 400 * time.Millisecond
	gatherMost  = 5 * time.Second
)

// sending is a command under way: who is expected to answer, and who did.
type sending struct {
	call     *sendCall
	env      cli.Env
	messages <-chan transport.Message
	boxes    map[string]*sent
	open     int // expected and not ended
	bar      *progress
}

// sent is one box's part in it. It is what `otactl send --json` prints.
type sent struct {
	Box     string          `json:"box"`
	Online  bool            `json:"online"` // when the command was sent
	Result  *control.Result `json:"result,omitempty"`
	Outcome *ota.Outcome    `json:"outcome,omitempty"`
	Code    int             `json:"exit"` // as the program's exit code would be for this box alone

	expected bool
	ended    bool
	update   string // id of the update that the command is about
	outcomes map[string]*ota.Outcome
}

func newSending(call *sendCall, env cli.Env, messages <-chan transport.Message) *sending {
	f := &sending{call: call, env: env, messages: messages, boxes: map[string]*sent{}, bar: newProgress(env.Stderr)}
	if call.box != "" {
		f.expect(call.box)
	}
	return f
}

// gather learns from the retained states which boxes are there: those are
// expected to answer. Others that do are taken as well.
func (f *sending) gather(ctx context.Context) {
	most := time.After(gatherMost)
	for {
		select {
		case m := <-f.messages:
			f.take(m)
		case <-time.After(gatherQuiet):
			return
		case <-most:
			return
		case <-ctx.Done():
			return
		}
		if f.call.box != "" && f.boxes[f.call.box].Online {
			return
		}
	}
}

func (f *sending) expect(box string) *sent {
	b := f.boxes[box]
	if b == nil {
		b = &sent{Box: box, outcomes: map[string]*ota.Outcome{}}
		f.boxes[box] = b
	}
	if !b.expected {
		b.expected = true
		f.open++
	}
	return b
}

// follow waits until all that are expected have ended, and prints how.
func (f *sending) follow(ctx context.Context) error {
	if f.call.box != "" && !f.boxes[f.call.box].Online {
		fmt.Fprintf(f.env.Stderr, "%s is not online: the broker keeps the command for it\n", f.call.box)
	}
	patience := time.NewTimer(f.call.timeout)
	defer patience.Stop()
	for f.open > 0 {
		select {
		case m := <-f.messages:
			f.take(m)
			continue
		case <-patience.C:
		case <-ctx.Done():
			f.bar.end()
			return ctx.Err()
		}
		break
	}
	f.bar.end()
	return f.report()
}

func (f *sending) take(m transport.Message) {
	topics, leaf, ok := boxreport.ParseTopic(f.call.broker.prefix, m.Topic)
	if !ok {
		return
	}
	name := topics.Model + "/" + topics.Device
	switch leaf {
	case "state":
		var s boxreport.State
		if json.Unmarshal(m.Payload, &s) == nil {
			f.takeState(name, s, m.Retained)
		}
	case "result":
		var r control.Result
		if json.Unmarshal(m.Payload, &r) == nil && r.ID == f.call.command.ID {
			f.takeResult(name, r)
		}
	case "event":
		var e boxreport.Event
		if json.Unmarshal(m.Payload, &e) == nil && e.Outcome != nil {
			f.takeOutcome(name, e.Outcome)
		}
	case "progress":
		var p boxreport.Progress
		if b := f.boxes[name]; b != nil && f.call.box != "" && json.Unmarshal(m.Payload, &p) == nil && p.Update == b.update {
			f.bar.show(cli.Printable(cmp.Or(p.Stage, string(p.Phase))), p.Percent, "")
		}
	}
}

func (f *sending) takeState(name string, s boxreport.State, retained bool) {
	if !s.Online {
		return
	}
	b := f.boxes[name]
	if retained && (b == nil || b.Result == nil) { // it was there before the command
		b = f.expect(name)
		b.Online = true
		return
	}
	if b == nil {
		return
	}
	if s.Update != nil && s.Update.By == f.by() {
		b.update = s.Update.ID
	}
	if s.Last != nil {
		f.takeOutcome(name, s.Last)
	}
	if f.call.box != "" && s.Update != nil && s.Update.ID == b.update {
		f.bar.show(cli.Printable(cmp.Or(s.Stage, string(s.Phase))), s.Percent, cli.Printable(s.Reason))
	}
}

// followed are the verbs whose update has an end to wait for.
var followed = []string{control.Upgrade, control.Check, control.Consent, control.Confirm, control.Rollback}

// by is how the boxes note that this command started an update.
func (f *sending) by() string { return "mqtt:" + f.call.command.ID }

func (f *sending) takeResult(name string, r control.Result) {
	b := f.expect(name)
	if b.Result != nil {
		return
	}
	b.Result = &r
	var state boxreport.State
	if r.OK && f.call.wait && json.Unmarshal(r.Data, &state) == nil && state.Update != nil && b.update == "" {
		b.update = state.Update.ID
	}
	if r.OK && f.call.wait && r.Verb == control.Rollback && state.Update == nil && state.Last != nil {
		b.update, b.outcomes[state.Last.ID] = state.Last.ID, state.Last // what was armed is taken back at once
	}
	follows := f.call.wait && slices.Contains(followed, r.Verb)
	if !r.OK || !follows {
		f.end(b)
		return
	}
	if o := b.outcomes[b.update]; o != nil { // it was quicker than its answer
		f.takeOutcome(name, o)
	}
}

// takeOutcome ends the box's part if the outcome is of the update that the
// command is about.
func (f *sending) takeOutcome(name string, o *ota.Outcome) {
	b := f.boxes[name]
	if b == nil || b.ended || !f.call.wait {
		return
	}
	if o.By == f.by() {
		b.update = o.ID
	}
	if b.Result == nil || b.update == "" || o.ID != b.update {
		b.outcomes[o.ID] = o
		if len(b.outcomes) > 8 { // of other updates: a box has one at a time
			clear(b.outcomes)
		}
		return
	}
	b.Outcome = o
	f.end(b)
}

func (f *sending) end(b *sent) {
	if !b.ended {
		b.ended = true
		f.open--
	}
	if f.call.box == "" {
		f.bar.show("answered", (len(f.boxes)-f.open)*100/len(f.boxes), fmt.Sprintf("%d of %d boxes", len(f.boxes)-f.open, len(f.boxes)))
	}
}

// report prints how it ended for each box and makes one exit code of all.
func (f *sending) report() error {
	if len(f.boxes) == 0 {
		return ota.NewRefused(ota.CodeNothing, errors.New("cannot follow command: no box is online, and none answered"))
	}
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(f.boxes)) {
		b := f.boxes[name]
		err := b.err(f.call.timeout)
		b.Code = cli.ExitCode(err)
		errs = append(errs, err)
		if f.call.json {
			if err := json.NewEncoder(f.env.Stdout).Encode(b); err != nil {
				return err
			}
			continue
		}
		f.print(b, err)
	}
	if len(errs) == 1 {
		return errs[0]
	}
	return together(f.env, errs)
}

// err is how it ended for one box.
func (b *sent) err(patience time.Duration) error {
	switch {
	case b.Outcome != nil && b.Outcome.Failure != nil && !b.asWanted():
		return ota.NewPermanent(b.Outcome.Failure.Code, errors.New(b.Outcome.Failure.Text)).WithHint(b.Outcome.Failure.Hint)
	case b.Outcome != nil:
		return nil
	case b.Result == nil:
		return ota.NewTransient(ota.CodeServerUnreachable, fmt.Errorf("cannot learn the result of %s: no answer in %s", cli.Printable(b.Box), patience))
	case !b.Result.OK:
		return b.Result.Err()
	case !b.ended:
		return ota.NewTransient(ota.CodeInternal, fmt.Errorf("cannot learn the outcome of %s: the update has not ended in %s", cli.Printable(b.Box), patience)).
			WithHint("it goes on by itself; `otactl watch` shows it")
	}
	return nil
}

// asWanted tells whether the update was given up because this command said so.
func (b *sent) asWanted() bool {
	return b.Result != nil && b.Result.Verb == control.Rollback && b.Outcome.Failure.Code == ota.CodeRejected
}

func (f *sending) print(b *sent, err error) {
	text := "done"
	switch {
	case err != nil:
		text = fmt.Sprintf("%s: %v", ota.FaultOf(err).Code, err)
	case b.Outcome != nil:
		text = fmt.Sprintf("%s: version %s", b.Outcome.Result,
			fleet.VersionText(ota.Version{Code: b.Outcome.Offer.VersionCode, Name: b.Outcome.Offer.VersionName}))
	case len(b.Result.Data) > 0 && f.call.box != "":
		text = string(b.Result.Data)
	}
	if f.call.box == "" {
		text = b.Box + "  " + text
	}
	if err == nil || f.call.box == "" { // one box's fault is the program's own
		fmt.Fprintln(f.env.Stdout, cli.Printable(text))
	}
}

// together makes one error of those of many boxes: nothing to do is fine if
// others did something, and any other fault is a fault of the whole.
func together(env cli.Env, errs []error) error {
	codes := map[int]int{}
	for _, err := range errs {
		codes[cli.ExitCode(err)]++
	}
	failed := len(errs) - codes[cli.Done] - codes[cli.Nothing]
	fmt.Fprintf(env.Stderr, "%d boxes: %d done, %d had nothing to do, %d failed\n", len(errs), codes[cli.Done], codes[cli.Nothing], failed)
	switch {
	case failed == 0 && codes[cli.Done] == 0:
		return cli.Exit(cli.Nothing)
	case failed == 0:
		return nil
	}
	delete(codes, cli.Done)
	delete(codes, cli.Nothing)
	if len(codes) == 1 {
		for code := range codes {
			return cli.Exit(code)
		}
	}
	return cli.Exit(cli.Failed)
}
