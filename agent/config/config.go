// Package config reads otad's one settings file.
//
// The file is TOML; durations and sizes carry units; unknown keys are refused
// with their line and the nearest known key. [Load] returns settings that are
// checked as a whole, with every default filled in: the rest of otad never
// asks whether a setting is there. docs/configuration.md describes each key;
// a test holds that page against this package.
package config

import (
	"time"

	"otad/ota/policy"
)

// Config is the whole file.
type Config struct {
	Device   Device   `toml:"device"`
	Server   Server   `toml:"server"`
	Firmware Firmware `toml:"firmware"`

	Configuration Configuration `toml:"configuration"`
	Packages      []Package     `toml:"package"`

	Trust    Trust    `toml:"trust"`
	Install  Install  `toml:"install"`
	MQTT     MQTT     `toml:"mqtt"`
	Policy   Policy   `toml:"policy"`
	Download Download `toml:"download"`
	Board    Board    `toml:"board"`
	Health   Health   `toml:"health"`
	Watchdog Watchdog `toml:"watchdog"`
	Control  Control  `toml:"control"`
	Console  Console  `toml:"console"`
	USB      USB      `toml:"usb"`
	State    State    `toml:"state"`
	Log      Log      `toml:"log"`
}

// Device says who the box is.
type Device struct {
	Model    string `toml:"model"`    // devModelKey: a literal or file:PATH
	Key      string `toml:"key"`      // devKey: a literal, mac:IFACE or file:PATH
	Revision string `toml:"revision"` // hardware revision, for hardware-compatibility
}

// Server is the UpgradeLink server.
type Server struct {
	URL           string `toml:"url"`
	AccessKey     string `toml:"access_key"`
	SecretKeyFile string `toml:"secret_key_file"`
	CA            string `toml:"ca"`     // private CA, PEM; "" for the system's. Holds for downloads too
	Proxy         string `toml:"proxy"`  // "" for the environment's. Holds for downloads too
	Report        bool   `toml:"report"` // tell the server's statistics
}

// Firmware is the UpgradeLink URL application that carries the system.
type Firmware struct {
	URLKey      string `toml:"url_key"`
	VersionFile string `toml:"version_file"` // versionCode and versionName of the running image
}

// Configuration is the UpgradeLink configuration application; none when Key is
// empty.
type Configuration struct {
	Key     string   `toml:"key"`
	Apply   string   `toml:"apply"`   // an executable that gets the content
	Schema  string   `toml:"schema"`  // a JSON Schema; "" for none
	Health  string   `toml:"health"`  // an executable that judges the box afterwards; "" for none
	File    string   `toml:"file"`    // where the content is kept; in the state directory when empty
	Timeout Duration `toml:"timeout"` // of one executable
}

// Package is a side package.
type Package struct {
	Name    string `toml:"name"`    // how otad calls it
	Kind    string `toml:"kind"`    // url, file, apk, lnx, win
	Key     string `toml:"key"`     // of the application on the server
	Arch    string `toml:"arch"`    // lnx, win
	Version string `toml:"version"` // file:PATH or hook:PATH tell the versionCode that is installed; "" for what otad installed last
	Install string `toml:"install"` // the executable that installs it
	Trust   string `toml:"trust"`   // swu, cms, hash-only
	// Signature is, with cms, where the signature is; "" for the URL and ".sig".
	Signature string   `toml:"signature"`
	Timeout   Duration `toml:"timeout"` // of the installer; 10 minutes when 0
}

// Trust says whose artifacts are installed.
type Trust struct {
	CA      []string `toml:"ca"`      // files of PEM certificates
	Dir     string   `toml:"dir"`     // further anchors, which artifacts may bring; on a file system that all slots share
	Purpose string   `toml:"purpose"` // emailProtection or codeSigning; "" for either
}

// Install says what artifacts may do beyond filling the idle slot. What is not
// set here is refused.
type Install struct {
	Scripts       string   `toml:"scripts"`        // a directory in which scripts of artifacts run
	ScriptTimeout Duration `toml:"script_timeout"` // of one run
	Directories   []string `toml:"directories"`    // "DEVICE=PATH" or "PATH": where files and archives may go
	Versions      string   `toml:"versions"`       // a file with a line "component version" for each that is installed
	LimitBusy     Rate     `toml:"limit_busy"`     // of writing a slot while somebody watches; 0 for no limit
	LimitIdle     Rate     `toml:"limit_idle"`
	KeyFile       string   `toml:"key_file"`     // decrypts artifacts
	Vars          string   `toml:"vars"`         // the file for the vars of artifacts
	UpdateTypes   []string `toml:"update_types"` // those that are taken; any when empty
}

// MQTT is the operator's broker; none when Brokers is empty.
type MQTT struct {
	Brokers      []string `toml:"brokers"`
	Prefix       string   `toml:"prefix"`
	Username     string   `toml:"username"`
	PasswordFile string   `toml:"password_file"`
	CA           string   `toml:"ca"`
	Certificate  string   `toml:"certificate"` // for mutual TLS
	Key          string   `toml:"key"`
	ALPN         []string `toml:"alpn"` // protocols to ask for in TLS, for brokers that share port 443
	KeepAlive    Duration `toml:"keep_alive"`
	// CommandKeys are files of Ed25519 public keys, PEM. When there are any,
	// only commands signed by one of them are obeyed.
	CommandKeys   []string `toml:"command_keys"`
	GroupSpread   Duration `toml:"group_spread"`   // the time over which a group's boxes follow a command
	HomeAssistant bool     `toml:"home_assistant"` // announce the box to Home Assistant
}

// Policy says when.
type Policy struct {
	CheckEvery Duration `toml:"check_every"`
	Windows    []Window `toml:"windows"`
	Countdown  Duration `toml:"countdown"`
	// ConsentDeadline is how long the viewer's answer is waited for, 0 for ever;
	// then ConsentSilence takes its place: accept, decline or ask.
	ConsentDeadline Duration `toml:"consent_deadline"`
	ConsentSilence  string   `toml:"consent_silence"`
	PromptTimeout   Duration `toml:"prompt_timeout"` // how long a question stays on the screen
	ForcedCancel    bool     `toml:"forced_cancel"`  // a forced update may be stopped at the box
	TimerAhead      Duration `toml:"timer_ahead"`    // so long before a timer the box counts as in use
	Metered         bool     `toml:"metered"`        // each byte costs, whatever the board says
	DownloadSpread  Duration `toml:"download_spread"`
	ApplySpread     Duration `toml:"apply_spread"`
	DeferCount      int      `toml:"defer_count"` // how often the viewer may put one update off
	DeferTotal      Duration `toml:"defer_total"` // and how long in all
}

// Download says how firmware comes in.
type Download struct {
	Mode         string   `toml:"mode"` // auto, staged, streamed
	Dir          string   `toml:"dir"`  // staging; "staging" in the state directory when empty
	MaxSize      Size     `toml:"max_size"`
	LimitBusy    Rate     `toml:"limit_busy"` // while somebody watches; 0 for no limit
	LimitIdle    Rate     `toml:"limit_idle"`
	LowSpeed     Rate     `toml:"low_speed"`
	LowSpeedTime Duration `toml:"low_speed_time"`
	RetryFirst   Duration `toml:"retry_first"`
	RetryMax     Duration `toml:"retry_max"`
	Checkpoint   Size     `toml:"checkpoint"`
	DeltaWhole   Size     `toml:"delta_whole"` // a delta's chunks are fetched whole up to this size, where their server has no ranges; 0: never
}

// Modes of download: where an artifact goes first.
const (
	ModeAuto     = "auto"     // staged where there is room, else streamed
	ModeStaged   = "staged"   // into a file, and verified there before the slot is touched
	ModeStreamed = "streamed" // straight into the slot
)

// Board chooses the driver.
type Board struct {
	Driver string `toml:"driver"` // sim, uboot, hooks
	Set    string `toml:"set"`    // the software set of artifacts with copies
	Slots  []Slot `toml:"slot"`   // uboot, hooks: the first is copy1, the second copy2
	Rescue string `toml:"rescue"` // the slot of a rescue system, which is never written; "" with two copies of the system

	Dir     string   `toml:"dir"`     // sim: the directory of the box; hooks: of the executables
	Timeout Duration `toml:"timeout"` // hooks: of one executable

	// The rest is of uboot.
	Style        string   `toml:"style"`         // boot-order or boot-count
	EnvConfig    string   `toml:"env_config"`    // where the environment is
	SlotVariable string   `toml:"slot_variable"` // boot-count: names the slot to start
	SlotArgument string   `toml:"slot_argument"` // on the kernel's command line: names the slot that was started
	Tries        int      `toml:"tries"`         // of an armed slot; 0 for the driver's default
	Reboot       []string `toml:"reboot"`        // command and arguments
	Canary       bool     `toml:"canary"`        // ask for a proof that the bootloader reads what we write
}

// Slot is one copy of the system.
type Slot struct {
	Name     string `toml:"name"`
	Device   string `toml:"device"`    // a block device or a file
	BootName string `toml:"boot_name"` // uboot: what the environment calls it; the name when empty
	Parts    []Part `toml:"part"`      // what else belongs to this copy: marked, written and armed with it
}

// Part is a further medium of a slot, such as the kernel's partition.
type Part struct {
	Name   string `toml:"name"` // the same in each slot
	Device string `toml:"device"`
}

// Health says how a new system proves itself.
type Health struct {
	Hooks   string   `toml:"hooks"` // a directory of executables, run in the order of their names
	Timeout Duration `toml:"timeout"`
}

// Watchdog resets a box that hangs; none when Device is empty.
type Watchdog struct {
	Device  string   `toml:"device"` // "/dev/watchdog"
	Timeout Duration `toml:"timeout"`
}

// Control is the local door.
type Control struct {
	Socket string `toml:"socket"`
}

// Console is the serial console; none when Port is empty.
type Console struct {
	Port     string `toml:"port"`
	Baud     int    `toml:"baud"`
	Terminal string `toml:"terminal"` // vt100, or dumb: one that cannot redraw a line
	PINFile  string `toml:"pin_file"` // with it or KeyFile, changes need a login
	KeyFile  string `toml:"key_file"`
}

// USB says what becomes of artifacts on a stick.
type USB struct {
	Dir string `toml:"dir"` // sticks are mounted below it; "" when they are not looked at
	Ask bool   `toml:"ask"` // wait for the viewer's consent
}

// State is where otad keeps what it must not forget.
type State struct {
	Dir string `toml:"dir"`
}

// Log says how much is logged to standard error.
type Log struct {
	Level string `toml:"level"` // debug, info, warn, error
}

// Default is the configuration of an empty file; what has no default here must
// be set.
func Default() Config {
	return Config{
		Firmware:      Firmware{VersionFile: "/etc/otad/version"},
		Server:        Server{URL: "https://api.upgrade.toolsetlink.com", Report: true},
		Configuration: Configuration{Timeout: Duration(time.Minute)},
		MQTT: MQTT{Prefix: "otad", ALPN: []string{}, KeepAlive: Duration(60 * time.Second),
			CommandKeys: []string{}, GroupSpread: Duration(60 * time.Second)},
		Policy: Policy{CheckEvery: Duration(6 * time.Hour), Countdown: Duration(10 * time.Minute),
			ConsentDeadline: Duration(7 * 24 * time.Hour), ConsentSilence: "ask", PromptTimeout: Duration(10 * time.Minute),
			TimerAhead: Duration(30 * time.Minute), ApplySpread: Duration(30 * time.Minute),
			DeferCount: 3, DeferTotal: Duration(72 * time.Hour)},
		Download: Download{
			Mode:         ModeAuto,
			MaxSize:      4 << 30,
			LowSpeed:     1 << 10,
			LowSpeedTime: Duration(30 * time.Second),
			RetryFirst:   Duration(2 * time.Second),
			RetryMax:     Duration(5 * time.Minute),
			Checkpoint:   16 << 20,
			DeltaWhole:   256 << 20,
		},
		Install:  Install{ScriptTimeout: Duration(10 * time.Minute), UpdateTypes: []string{}},
		Board:    Board{Set: "stable", Timeout: Duration(30 * time.Second), Style: "boot-order"},
		Health:   Health{Hooks: "/etc/otad/health.d", Timeout: Duration(2 * time.Minute)},
		Watchdog: Watchdog{Timeout: Duration(time.Minute)},
		Control:  Control{Socket: "/run/otad.sock"},
		Console:  Console{Baud: 115200, Terminal: "vt100"},
		USB:      USB{Ask: true},
		State:    State{Dir: "/var/lib/otad"},
		Log:      Log{Level: "info"},
	}
}

// Rules is the policy's part in its own terms.
func (c *Config) Rules() policy.Rules {
	r := policy.Rules{Countdown: time.Duration(c.Policy.Countdown),
		TimerAhead: time.Duration(c.Policy.TimerAhead), Deadline: time.Duration(c.Policy.ConsentDeadline), Silence: policy.Choice(c.Policy.ConsentSilence),
		DownloadSpread: time.Duration(c.Policy.DownloadSpread), ApplySpread: time.Duration(c.Policy.ApplySpread),
		DeferCount: c.Policy.DeferCount, DeferTotal: time.Duration(c.Policy.DeferTotal)}
	for _, w := range c.Policy.Windows {
		r.Windows = append(r.Windows, policy.Window(w))
	}
	return r
}
