package upgradelink

import (
	"context"
	"fmt"
	"time"

	"otad/ota"
)

// EventType names what happened. The server takes any other text too, says
// "reported" and stores nothing.
type EventType string

// The events that the server stores.
const (
	EventStart    EventType = "app_start"
	EventDownload EventType = "app_upgrade_download"
	EventUpgrade  EventType = "app_upgrade_upgrade"
)

// Result codes of EventDownload and EventUpgrade. The server stores any number;
// these are the ones that the vendor's SDKs name.
const (
	ResultOK       = 0
	ResultFailed   = 1
	ResultHTTP     = 1001
	ResultNoSpace  = 1002
	ResultFile     = 1003
	ResultChecksum = 1004
)

// Event is one report. There is no free text in it: Code is all the detail.
type Event struct {
	Type   EventType
	AppKey string    // the key of the application: urlKey, configurationKey, …
	Time   time.Time // when it happened; zero is now, by the server's clock
	// VersionCode is the version that runs now.
	VersionCode int64
	// LaunchTime is when the system started, for EventStart; zero is Time.
	LaunchTime time.Time
	// TargetVersionCode is the version downloaded or upgraded to.
	TargetVersionCode int64
	Code              int64  // one of the Result codes, for EventDownload and EventUpgrade
	ModelKey          string // devModelKey, at most 128 characters
	DeviceKey         string // devKey, at most 128 characters
	Target            string // operating system: "linux"
	Arch              string // "armv7", "aarch64"
}

// Report sends one event. It is not idempotent: the server stores what it gets
// twice, twice. A server as its makers ship it answers 500 to downloads and
// upgrades and after some of them 503 to everything, so a failed report is
// tried again late, seldom and not for ever.
func (c *Client) Report(ctx context.Context, e Event) error {
	what := fmt.Sprintf("report %s of %q", e.Type, e.AppKey)
	if err := checkDevice(what, e.ModelKey, e.DeviceKey); err != nil {
		return err
	}
	if e.Time.IsZero() {
		e.Time, _ = c.ServerTime()
	}
	body, err := e.body()
	if err != nil {
		return ota.NewRefused(ota.CodeUsage, fmt.Errorf("cannot %s: %w", what, err))
	}
	_, err = c.call(ctx, what, "/v1/app/report", body)
	return err
}
