package ota

import "time"

// Deed is one verb that somebody asked for, and what came of it: a line of the
// audit. It is persisted; members are only added.
type Deed struct {
	Time time.Time `json:"time"`
	// By is the door: "cli", "console", "mqtt:ID". Who is what the door knows of
	// who stood there; at the local door it is what the caller says of itself.
	By   string `json:"by"`
	Who  string `json:"who,omitempty"`
	Verb string `json:"verb"`
	Args string `json:"args,omitempty"` // JSON, without what could be a secret
	OK   bool   `json:"ok"`
	Code Code   `json:"code,omitempty"` // of the refusal or fault, when not OK
	// Missed counts deeds before this one that were not kept: too many came in
	// a short time.
	Missed int `json:"missed,omitempty"`
}
