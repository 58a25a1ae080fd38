package ota

import (
	"fmt"
	"time"
)

// Phase is where an update is. Phases are persisted: only ever added.
type Phase string

// The life of an update: idle → offered → downloading → downloaded →
// installing → installed → armed → trial → confirmed | rolled-back | failed →
// idle.
const (
	PhaseIdle        Phase = "idle"        // no update under way
	PhaseOffered     Phase = "offered"     // an offer was accepted; waiting for leave to download
	PhaseDownloading Phase = "downloading" // the artifact comes in
	PhaseDownloaded  Phase = "downloaded"  // the artifact is staged; waiting for leave to install
	PhaseInstalling  Phase = "installing"  // verified, then written to the idle slot and read back
	PhaseInstalled   Phase = "installed"   // the slot holds exactly what was signed; not armed yet
	PhaseArmed       Phase = "armed"       // the bootloader will try it; waiting for leave to reboot
	PhaseTrial       Phase = "trial"       // the new system runs, not confirmed
	PhaseConfirmed   Phase = "confirmed"   // the new system is permanent
	PhaseRolledBack  Phase = "rolled-back" // the old system runs again
	PhaseFailed      Phase = "failed"      // given up before the new system was tried
)

// Phases lists every phase in the order of life.
var Phases = []Phase{PhaseIdle, PhaseOffered, PhaseDownloading, PhaseDownloaded, PhaseInstalling,
	PhaseInstalled, PhaseArmed, PhaseTrial, PhaseConfirmed, PhaseRolledBack, PhaseFailed}

// Ended tells whether the update is over and only waits to be written into
// the history.
func (p Phase) Ended() bool {
	return p == PhaseConfirmed || p == PhaseRolledBack || p == PhaseFailed
}

// Waits tells whether people still have a say in an update of this phase.
func (p Phase) Waits() bool {
	return p != PhaseIdle && p != "" && p != PhaseTrial && !p.Ended()
}

// UpgradeType is the operator's word on how an offer is to be applied
// (UpgradeLink's upgradeType).
type UpgradeType int

const (
	UpgradeUnknown UpgradeType = 0 // treated as UpgradePrompt, the gentlest
	UpgradePrompt  UpgradeType = 1 // needs the viewer's consent
	UpgradeSilent  UpgradeType = 2 // in a window or in standby, unasked
	UpgradeForced  UpgradeType = 3 // after a countdown, whatever goes on
)

// Offer is what the server answered, or what a person handed in.
type Offer struct {
	VersionCode int64  `json:"version_code"` // 0 for an artifact handed in by a person
	VersionName string `json:"version_name,omitempty"`
	URL         string `json:"url,omitempty"`
	File        string `json:"file,omitempty"` // a local artifact, in place of URL
	// Size and time of File when it was handed in: another file under its name is
	// another offer.
	FileBytes int64     `json:"file_bytes,omitempty"`
	FileTime  time.Time `json:"file_time,omitzero"`

	Type   UpgradeType `json:"type"`
	Prompt string      `json:"prompt,omitempty"` // what to tell the viewer
}

// Key names an offer for the memory of bad ones: another version or another
// place is another offer, and so is another file in the same place.
func (o Offer) Key() string {
	switch {
	case o.File == "":
	case o.FileTime.IsZero(): // it could not be looked at, or an older otad took it
		return "file:" + o.File
	default:
		return fmt.Sprintf("file:%s\x00%d\x00%d", o.File, o.FileBytes, o.FileTime.UnixNano())
	}
	return o.VersionName + "\x00" + o.URL
}

// Version is a system's version as UpgradeLink counts it.
type Version struct {
	Code int64  `json:"code"`
	Name string `json:"name,omitempty"`
}

// Checkpoint is the durable mark from which a download resumes.
type Checkpoint struct {
	URL         string `json:"url,omitempty"`
	Validator   string `json:"validator,omitempty"` // ETag or Last-Modified, as sent
	SyncedBytes int64  `json:"synced_bytes,omitempty"`
	TotalBytes  int64  `json:"total_bytes,omitempty"` // 0 when unknown
	Changes     int    `json:"changes,omitempty"`     // how often the server had other content under the same URL
}

// StreamPoint is the durable mark in the media from which a streamed install
// goes on. The Checkpoint beside it says the same of the transfer.
type StreamPoint struct {
	Entry      string `json:"entry,omitempty"`        // the payload under way; all before it are done
	Stored     int64  `json:"stored_bytes,omitempty"` // of it, as it lies in the artifact
	PlainBytes int64  `json:"plain_bytes,omitempty"`  // of it, on the medium
	Hash       string `json:"hash,omitempty"`         // the state of the SHA-256 of these bytes, base64
}

// Image says what the idle slot holds.
type Image struct {
	Version   string `json:"version,omitempty"` // the signed version
	SHA256    string `json:"sha256,omitempty"`  // of the bytes written to the slot, hex
	SizeBytes int64  `json:"size_bytes,omitempty"`
	Signer    string `json:"signer,omitempty"` // common name of the signing certificate
	// Parts are those of the slot beyond its first medium, see WithPart: text, so
	// that a record can be compared.
	Parts string `json:"parts,omitempty"`
}

// Consent is the viewer's answer.
type Consent string

const (
	ConsentNone     Consent = ""
	ConsentAccepted Consent = "accepted"
	ConsentDeclined Consent = "declined"
)

// Record is all that is known of the one update under way. There is one
// record and one writer; it is replaced as a whole.
type Record struct {
	ID      string  `json:"id,omitempty"`
	Phase   Phase   `json:"phase"`
	Offer   Offer   `json:"offer"`
	By      string  `json:"by,omitempty"`    // who started it: "poll", "cli", "mqtt:ID"
	Force   bool    `json:"force,omitempty"` // a person said: now
	Below   bool    `json:"below,omitempty"` // a person at the box allowed a version below the floor
	Back    bool    `json:"back,omitempty"`  // a way back to the system that ToSlot holds still; nothing is installed
	Consent Consent `json:"consent,omitempty"`
	Wait    Wait    `json:"wait,omitzero"`
	From    Version `json:"from"` // the version that ran when it started

	FromSlot string `json:"from_slot,omitempty"`
	ToSlot   string `json:"to_slot,omitempty"` // known from PhaseInstalling on
	BootID   string `json:"boot_id,omitempty"` // the boot in which the slot was armed

	// Applied: the artifact had nothing for a slot; what it brought is in the
	// system that runs, and is on trial there.
	Applied bool `json:"applied,omitempty"`
	// Stay: the artifact asks for no restart; it takes effect with the next one.
	Stay bool `json:"stay,omitempty"`
	// Rescue is the slot of the rescue system that has to install it, as long as
	// the box has still to be restarted into that; BootID is of the boot in which
	// that was found out, or tried last.
	Rescue string `json:"rescue,omitempty"`

	Download Checkpoint `json:"download"`
	File     string     `json:"file,omitempty"` // the staged artifact
	// Streamed: nothing is staged, the artifact goes straight into the slot.
	// Download.SyncedBytes are then those that need not come again.
	Streamed bool        `json:"streamed,omitempty"`
	Stream   StreamPoint `json:"stream,omitzero"`
	Image    Image       `json:"image"` // of the slot; while streaming, once that image is done

	Healthy  bool     `json:"healthy,omitempty"`  // the health checks of the trial passed
	Attempts int      `json:"attempts,omitempty"` // faults in this phase without progress
	Boots    int      `json:"boots,omitempty"`    // boots of the new system
	Changes  int      `json:"changes,omitempty"`  // phase changes of this update
	Failure  *Failure `json:"failure,omitempty"`

	StartedAt time.Time `json:"started_at"`
	ChangedAt time.Time `json:"changed_at"`
}

// Failure is a Fault in its persisted form.
type Failure struct {
	Class Class  `json:"class"`
	Code  Code   `json:"code"`
	Text  string `json:"text"`
	Hint  string `json:"hint,omitempty"`
	// NeedBytes is, with CodeNoSpace, what must be free for another attempt.
	NeedBytes int64 `json:"need_bytes,omitempty"`
}

// FailureOf is f to persist; nil for nil.
func FailureOf(f *Fault) *Failure {
	if f == nil {
		return nil
	}
	return &Failure{Class: f.Class, Code: f.Code, Text: f.Error(), Hint: f.Hint, NeedBytes: f.NeedBytes}
}

// Outcome is how an update ended, kept in the history.
type Outcome struct {
	ID      string    `json:"id"`
	Kind    string    `json:"kind,omitempty"` // "" for the firmware, else configuration or package
	Name    string    `json:"name,omitempty"` // of the package
	Result  Phase     `json:"result"`         // confirmed, rolled-back or failed
	Offer   Offer     `json:"offer"`
	From    Version   `json:"from"`
	Slot    string    `json:"slot,omitempty"` // the slot that the update was for
	By      string    `json:"by,omitempty"`
	Back    bool      `json:"back,omitempty"` // it was a way back to the system before
	Failure *Failure  `json:"failure,omitempty"`
	Started time.Time `json:"started"`
	Ended   time.Time `json:"ended"`
}

// BadOffer remembers an offer that must not be tried again by itself.
type BadOffer struct {
	Key   string    `json:"key"`
	Code  Code      `json:"code"`
	Text  string    `json:"text"`
	Until time.Time `json:"until,omitzero"` // zero: until the offer changes or a person says so
	// NeedBytes lifts the ban as soon as so much is free; 0: space was not the matter.
	NeedBytes int64 `json:"need_bytes,omitempty"`
	// VersionCode of an offer that was declined: the viewer said no to what it
	// brings, from whichever place. 0: unknown, or not declined.
	VersionCode int64 `json:"version_code,omitempty"`
}

// Box is what otad remembers beyond one update.
type Box struct {
	Floor    string     `json:"floor,omitempty"`     // lowest signed version that may be installed
	LastGood time.Time  `json:"last_good,omitzero"`  // latest time known for certain; never goes back
	Bad      []BadOffer `json:"bad,omitempty"`       // at most MaxBad, oldest first
	Last     *Outcome   `json:"last,omitempty"`      // of the last update that ended
	BootID   string     `json:"boot_id,omitempty"`   // of the boot that was told of last
	CheckAt  time.Time  `json:"checked_at,omitzero"` // of the last successful check
	// Systems are those that were confirmed and that nobody wrote over since, one
	// for a slot, the latest last.
	Systems []System `json:"systems,omitempty"`
}

// System is what a slot holds, as far as otad knows.
type System struct {
	Slot    string  `json:"slot"`
	Version Version `json:"version"`
	Image   Image   `json:"image"`         // zero for one that otad did not install
	Key     string  `json:"key,omitempty"` // of the offer that brought it

	// A system that was confirmed is on probation until it ran undisturbed for a
	// while; the boots until then are counted.
	Proven bool   `json:"proven,omitempty"`
	Boots  int    `json:"boots,omitempty"`
	BootID string `json:"boot_id,omitempty"` // the boot that was counted last
}

// MaxBad bounds the memory of bad offers.
const MaxBad = 16

// Remember returns b with bad added, replacing an older entry of the same key.
func (b Box) Remember(bad BadOffer) Box {
	list := make([]BadOffer, 0, len(b.Bad)+1)
	for _, old := range b.Bad {
		if old.Key != bad.Key {
			list = append(list, old)
		}
	}
	list = append(list, bad)
	b.Bad = list[max(0, len(list)-MaxBad):]
	return b
}

// Forget returns b without a bad offer of this key.
func (b Box) Forget(key string) Box {
	var list []BadOffer
	for _, old := range b.Bad {
		if old.Key != key {
			list = append(list, old)
		}
	}
	b.Bad = list
	return b
}

// IsBad returns the entry that forbids the offer of this key at now.
func (b Box) IsBad(key string, now time.Time) (BadOffer, bool) {
	for _, bad := range b.Bad {
		if bad.Key == key && (bad.Until.IsZero() || now.Before(bad.Until)) {
			return bad, true
		}
	}
	return BadOffer{}, false
}

// Forbids returns the entry that forbids an offer at now: that of its key, or
// of an offer that was declined and that it is not newer than.
func (b Box) Forbids(o Offer, now time.Time) (BadOffer, bool) {
	if bad, is := b.IsBad(o.Key(), now); is {
		return bad, true
	}
	for _, bad := range b.Bad {
		if o.VersionCode > 0 && o.VersionCode <= bad.VersionCode {
			return bad, true
		}
	}
	return BadOffer{}, false
}
