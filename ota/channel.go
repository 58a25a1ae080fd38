package ota

import "time"

// What is kept of the channels beside the firmware: the configuration, the
// side packages and the reports for the server. Each has a record of its own,
// replaced as a whole, so that the firmware's record stays as it is.

// Kinds of outcomes. The zero kind is the firmware.
const (
	KindFirmware      = ""
	KindConfiguration = "configuration"
	KindPackage       = "package"
)

// Configuration is what otad remembers of the configuration channel.
type Configuration struct {
	Running Version              `json:"running"`          // code 0: none was applied yet
	SHA256  string               `json:"sha256,omitempty"` // of the running content, hex
	Applied time.Time            `json:"applied,omitzero"`
	Floor   int64                `json:"floor,omitempty"` // the highest code that ever ran: none below is applied
	Bad     *BadVersion          `json:"bad,omitempty"`   // what failed last, and is not tried again
	Next    *ConfigurationChange `json:"next,omitempty"`  // the change under way
}

// ConfigurationChange is the change from one configuration to another.
type ConfigurationChange struct {
	ID        string    `json:"id"`
	To        Version   `json:"to"`
	SHA256    string    `json:"sha256"`             // of the new content, hex
	Attempts  int       `json:"attempts,omitempty"` // of applying it, counted before each
	Failure   *Failure  `json:"failure,omitempty"`  // it failed: the old one is being restored
	Restores  int       `json:"restores,omitempty"` // attempts to restore the old one, counted before each
	StartedAt time.Time `json:"started_at"`
}

// BadVersion is a version that failed.
type BadVersion struct {
	Version Version   `json:"version"`
	Failure Failure   `json:"failure"`
	Until   time.Time `json:"until,omitzero"` // zero: until there is a newer one
}

// Package is what otad remembers of one side package.
type Package struct {
	Installed Version      `json:"installed"`       // what otad installed last; code 0: nothing
	Floor     string       `json:"floor,omitempty"` // lowest signed version, for packages in a .swu
	Bad       *BadVersion  `json:"bad,omitempty"`
	Work      *PackageWork `json:"work,omitempty"` // what is under way
}

// PackageWork is the change of a package from one version to another.
type PackageWork struct {
	ID          string      `json:"id"`
	Phase       Phase       `json:"phase"` // downloading, downloaded, installing
	To          Version     `json:"to"`
	From        Version     `json:"from"`
	Type        UpgradeType `json:"type"`
	URL         string      `json:"url"`
	Description string      `json:"description,omitempty"`
	SizeBytes   int64       `json:"size_bytes,omitempty"` // 0: not told
	MD5         string      `json:"md5,omitempty"`        // hex; "" not told
	SHA256      string      `json:"sha256,omitempty"`     // hex; "" not told
	Download    Checkpoint  `json:"download"`
	Attempts    int         `json:"attempts,omitempty"` // in this phase without progress
	StartedAt   time.Time   `json:"started_at"`
	ChangedAt   time.Time   `json:"changed_at"` // when the phase was entered
}

// Report is one message for the server's statistics.
type Report struct {
	Type    string    `json:"type"`    // app_start, app_upgrade_download, app_upgrade_upgrade
	AppKey  string    `json:"app_key"` // of the application that it is about
	Time    time.Time `json:"time"`    // when it happened, by the box's best clock
	Running int64     `json:"running"` // versionCode that ran then
	Target  int64     `json:"target,omitempty"`
	Code    int64     `json:"code,omitempty"`
}
