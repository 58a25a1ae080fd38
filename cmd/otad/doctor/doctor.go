// Package doctor looks a box over without a network and says what is wrong and
// what to do about it.
//
// It changes nothing and takes no lock, so it works beside a service that runs
// as well as on a box whose service does not start. The journal is read from a
// copy; slots are read from the medium.
//
// The names of checks and verdicts are stable: docs/cli.md lists them.
package doctor

import (
	"context"
	"fmt"
	"time"

	"otad/agent/config"
	"otad/board"
	"otad/ota/journal"
)

// Version of the report.
const Version = 1

// Verdict says how bad it is.
type Verdict string

const (
	OK   Verdict = "ok"
	Warn Verdict = "warn" // the box works; somebody should look at it
	Fail Verdict = "fail" // something does not work, or will not
)

// Finding is the outcome of one check.
type Finding struct {
	Check   string  `json:"check"`             // "slot": one of the list in docs/cli.md
	Subject string  `json:"subject,omitempty"` // "b": which one, where there are several
	Verdict Verdict `json:"verdict"`
	Text    string  `json:"text"`
	Hint    string  `json:"hint,omitempty"` // what a person can do; always there with fail
}

// Report is all findings, in the order of the checks.
type Report struct {
	V        int       `json:"v"`
	OK       bool      `json:"ok"` // nothing failed
	Findings []Finding `json:"findings"`
}

// Box is what is looked at.
type Box struct {
	Config     *config.Config
	ConfigPath string
	Board      board.Board
	BoardErr   error     // why there is no Board
	Service    bool      // a service runs
	Now        time.Time // of the box's own clock
	Built      time.Time // when this otad was built; zero if nobody said
	Version    string    // of this otad
	Quick      bool      // slots are opened and not read through
}

// examination collects findings.
type examination struct {
	Box
	glimpse journal.Glimpse
	known   bool // the journal could be read
	boot    board.Boot
	booted  bool // the board said which slot runs
	report  Report
}

// Examine looks at all there is. It ends early only with ctx.
func Examine(ctx context.Context, b Box) Report {
	e := &examination{Box: b, report: Report{V: Version, OK: true}}
	e.ok("configuration", "", "%s is right", b.ConfigPath)
	e.identity()
	e.service()
	e.clock()
	e.journal()
	e.floor()
	e.board(ctx)
	e.record()
	e.slots(ctx)
	e.trust()
	e.keys()
	e.directories()
	e.healthHooks()
	e.watchdog()
	return e.report
}

// Misconfigured is the report on a box whose settings cannot be used: nothing
// else can be looked at.
func Misconfigured(err error, hint string) Report {
	e := &examination{report: Report{V: Version}}
	if hint == "" {
		hint = "mend the settings: `otad config check` tells more"
	}
	e.fail("configuration", "", hint, "%v", err)
	return e.report
}

func (e *examination) add(f Finding) {
	e.report.Findings = append(e.report.Findings, f)
	e.report.OK = e.report.OK && f.Verdict != Fail
}

func (e *examination) ok(check, subject, format string, args ...any) {
	e.add(Finding{check, subject, OK, fmt.Sprintf(format, args...), ""})
}

func (e *examination) warn(check, subject, hint, format string, args ...any) {
	e.add(Finding{check, subject, Warn, fmt.Sprintf(format, args...), hint})
}

func (e *examination) fail(check, subject, hint, format string, args ...any) {
	e.add(Finding{check, subject, Fail, fmt.Sprintf(format, args...), hint})
}
