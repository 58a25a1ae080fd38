// Package report tells the operator: it holds the payloads that leave the box
// and publishes them.
//
// Three kinds leave: `state` is retained and complete, so that whoever comes
// late sees everything; `progress` is small, frequent and may be lost; an
// `event` is kept in the durable outbox until the broker has it, so it arrives
// late if need be, at least once, in order of its seq. A lost report neither
// fails nor delays an update. docs/mqtt.md describes them for operators.
package report

import (
	"encoding/json"
	"time"

	"otad/ota"
)

// Version is the version of all payloads: a change that is not an addition
// makes a new one.
const Version = 1

// State is all that can be said about the box now. It is the answer of
// `status` at every door and the retained message on `state`.
type State struct {
	V      int       `json:"v"`
	Online bool      `json:"online"`
	Time   time.Time `json:"time"`
	Agent  string    `json:"agent"` // version of otad
	Model  string    `json:"model"`
	Device string    `json:"device"`

	Version ota.Version `json:"version"` // of the running system
	Slot    string      `json:"slot"`
	Trial   bool        `json:"trial,omitempty"`
	Floor   string      `json:"floor,omitempty"`
	Booted  string      `json:"booted,omitempty"` // why the box was restarted, if a restart was asked for

	Phase    ota.Phase `json:"phase"`
	Stage    string    `json:"stage,omitempty"` // verify, compare, write, read-back while installing
	Percent  int       `json:"percent"`         // of the phase, 0 to 100
	Transfer *Transfer `json:"transfer,omitempty"`
	Delta    *Delta    `json:"delta,omitempty"`  // while a delta is installed, once it is known what has to come
	Update   *Update   `json:"update,omitempty"` // the one under way

	Why     string       `json:"why,omitempty"`      // the rule that holds it back, for machines
	Reason  string       `json:"reason,omitempty"`   // why it does not go on now
	GoesOn  *time.Time   `json:"goes_on,omitempty"`  // when it does by itself, if known
	Trouble *ota.Failure `json:"trouble,omitempty"`  // what is being tried again
	CheckAt *time.Time   `json:"check_at,omitempty"` // the next check; none is planned when absent
	Checked *time.Time   `json:"checked,omitempty"`  // the last check that was answered

	Last *ota.Outcome `json:"last,omitempty"` // how the last update ended

	Configuration *Configuration `json:"configuration,omitempty"` // where there is a configuration channel
	Packages      []Package      `json:"packages,omitempty"`
}

// Configuration is how the configuration channel stands; also the answer of
// `config`.
type Configuration struct {
	Version ota.Version  `json:"version"`           // that runs; code 0: none from the server
	Applied *time.Time   `json:"applied,omitempty"` // when it was
	To      *ota.Version `json:"to,omitempty"`      // that is being applied, or that failed while the old one is restored
	Bad     *ota.Version `json:"bad,omitempty"`     // that failed last, and is not tried again
	Failure *ota.Failure `json:"failure,omitempty"` // how Bad failed
	Trouble *ota.Failure `json:"trouble,omitempty"` // what is being tried again
}

// Package is how a side package stands.
type Package struct {
	Name    string       `json:"name"`
	Kind    string       `json:"kind"`
	Version ota.Version  `json:"version"` // that otad installed last; code 0: none
	Phase   ota.Phase    `json:"phase"`   // idle, downloading, downloaded, installing
	To      *ota.Version `json:"to,omitempty"`
	Percent int          `json:"percent,omitempty"` // of the download
	Reason  string       `json:"reason,omitempty"`  // why it is not installed now
	Bad     *ota.Version `json:"bad,omitempty"`     // that failed last
	Failure *ota.Failure `json:"failure,omitempty"` // how Bad failed
	Trouble *ota.Failure `json:"trouble,omitempty"` // what is being tried again
}

// Transfer is how far a transfer of bytes is.
type Transfer struct {
	DoneBytes      int64 `json:"done_bytes"`
	TotalBytes     int64 `json:"total_bytes"` // 0 while unknown
	BytesPerSecond int64 `json:"bytes_per_second,omitempty"`
	ETASeconds     int64 `json:"eta_seconds,omitempty"`
	// FetchedBytes came over the network, of a delta.
	FetchedBytes int64 `json:"fetched_bytes,omitempty"`
}

// Delta is what the image of a delta is put together from.
type Delta struct {
	ImageBytes int64 `json:"image_bytes"`
	// FetchBytes have to come over the network, compressed as they are there; the
	// rest of the image is on the box.
	FetchBytes int64 `json:"fetch_bytes"`
}

// Update is the update under way.
type Update struct {
	ID        string          `json:"id"`
	To        ota.Version     `json:"to"`
	Type      ota.UpgradeType `json:"type"`
	By        string          `json:"by"`
	Back      bool            `json:"back,omitempty"` // a way back to the system before
	Prompt    string          `json:"prompt,omitempty"`
	Consent   ota.Consent     `json:"consent,omitempty"`   // the viewer's answer, or the operator's in its place
	AskedAt   *time.Time      `json:"asked_at,omitempty"`  // when the viewer's answer was first waited for
	Deferrals int             `json:"deferrals,omitempty"` // how often it was put off
	// Streamed: the artifact goes into the slot as it comes in; nothing is staged.
	Streamed bool `json:"streamed,omitempty"`
}

// Progress is the short form of State while something moves.
type Progress struct {
	V        int       `json:"v"`
	Update   string    `json:"update"`
	Phase    ota.Phase `json:"phase"`
	Stage    string    `json:"stage,omitempty"`
	Percent  int       `json:"percent"`
	Transfer *Transfer `json:"transfer,omitempty"`
}

// Event types, only ever added.
const (
	EventPhase            = "phase"             // the update entered a phase
	EventOutcome          = "outcome"           // the update ended; Outcome says how
	EventConfiguration    = "configuration"     // a change of the configuration ended; Outcome says how
	EventPackage          = "package"           // a change of a side package ended; Outcome says how
	EventAsked            = "asked"             // the viewer's answer is waited for; At is its deadline, if there is one
	EventNotice           = "notice"            // a forced update counts down; At is when the box restarts
	EventBoot             = "boot"              // the box was started; Text is why, if a restart was asked for
	EventJournalRecovered = "journal-recovered" // the journal was damaged and rebuilt
)

// Event is something that the operator must learn. Consumers drop what they
// have seen by ID; Seq grows with every event of a box.
type Event struct {
	V       int          `json:"v"`
	ID      string       `json:"id"`
	Seq     uint64       `json:"seq"`
	Time    time.Time    `json:"time"`
	Type    string       `json:"type"`
	Update  string       `json:"update,omitempty"`
	Phase   ota.Phase    `json:"phase,omitempty"`
	To      *ota.Version `json:"to,omitempty"`
	Slot    string       `json:"slot,omitempty"`
	Text    string       `json:"text,omitempty"`
	At      *time.Time   `json:"at,omitempty"`
	Failure *ota.Failure `json:"failure,omitempty"`
	Outcome *ota.Outcome `json:"outcome,omitempty"`
}

// Offline is the last will: what the broker says in the box's name when it is
// gone.
func Offline(model, device string) []byte {
	data, err := json.Marshal(struct {
		V      int    `json:"v"`
		Online bool   `json:"online"`
		Model  string `json:"model"`
		Device string `json:"device"`
	}{Version, false, model, device})
	if err != nil {
		panic(err) // plain strings always marshal
	}
	return data
}
