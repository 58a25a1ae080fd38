package upgradelink

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"unicode/utf8"

	"otad/ota"
)

// Query says which application is asked for, and by whom. Zero members are not
// sent, except VersionCode.
type Query struct {
	Key         string // the application's key: urlKey, configurationKey, …
	VersionCode int64  // the version that runs now; for a look-up, the version to look up
	// AppointVersionCode asks for that version and no other; 0 is the newest.
	AppointVersionCode int64
	ModelKey           string // devModelKey, at most 128 characters
	DeviceKey          string // devKey, at most 128 characters
	Arch               string // lnx and win only: "x64", "arm64"; compared exactly
	PatchAlgo          int    // apk only: 0 no patch, 1 HDiffPatch
}

// UpgradeType says how the operator wants the upgrade to happen.
type UpgradeType int

// The upgrade types of the server; anything else is to be treated as unknown.
const (
	UpgradeUnknown UpgradeType = 0
	UpgradePrompt  UpgradeType = 1 // ask the viewer first
	UpgradeSilent  UpgradeType = 2
	UpgradeForced  UpgradeType = 3
)

func (t UpgradeType) String() string {
	switch t {
	case UpgradePrompt:
		return "prompt"
	case UpgradeSilent:
		return "silent"
	case UpgradeForced:
		return "forced"
	}
	return "unknown"
}

// Release is what every offer tells.
type Release struct {
	VersionName string      `json:"versionName"`
	VersionCode int64       `json:"versionCode"` // newer than the one asked with; may exceed 2^53
	UpgradeType UpgradeType `json:"upgradeType"`
	Prompt      string      `json:"promptUpgradeContent"` // text for the viewer; any Unicode, may be empty
}

// URLOffer is an offer of a url application. The server tells neither size nor
// hash: only the artifact's own signature can be trusted.
type URLOffer struct {
	Key string `json:"urlKey"`
	Release
	URL string `json:"urlPath"` // absolute, http or https
}

// FileOffer is an offer of a file application.
type FileOffer struct {
	Key string `json:"fileKey"`
	Release
	URL       string `json:"urlPath"`     // absolute, http or https
	SizeBytes int64  `json:"urlFileSize"` // 0 when the server does not tell
}

// APKOffer is an offer of an Android application.
type APKOffer struct {
	Key string `json:"apkKey"`
	Release
	Package
	PatchAlgo      int    `json:"patchAlgo"`
	PatchURL       string `json:"patchUrlPath"` // empty until the server has made the patch
	PatchSizeBytes int64  `json:"patchUrlFileSize"`
	PatchMD5       string `json:"patchUrlFileMd5"`
}

// LinuxOffer is an offer of a lnx application.
type LinuxOffer struct {
	Key string `json:"lnxKey"`
	Release
	Package
}

// WindowsOffer is an offer of a win application.
type WindowsOffer struct {
	Key string `json:"winKey"`
	Release
	Package
}

// Package is what offers of packaged applications tell besides.
type Package struct {
	PackageName string `json:"packageName"`
	Arch        string `json:"arch,omitempty"` // empty in every measured answer
	URL         string `json:"urlPath"`        // absolute, http or https
	SizeBytes   int64  `json:"urlFileSize"`
	MD5         string `json:"urlFileMd5"` // lower-case hex; empty on older servers
}

// ConfigurationOffer is an offer of a configuration application. The server
// parses and writes the content anew: keys come sorted, numbers have passed
// through a float64. What must be exact belongs into strings.
type ConfigurationOffer struct {
	Key string `json:"configurationKey"`
	Release
	Content json.RawMessage `json:"content"` // a JSON object or null
}

// UpgradeURL asks url/upgrade. A check may use up a place in a staged rollout,
// so an accepted offer is kept and not asked for again.
func (c *Client) UpgradeURL(ctx context.Context, q Query) (*URLOffer, error) {
	var o URLOffer
	err := c.upgrade(ctx, "url", q, &o, &o.Release, &o.URL)
	return orNil(&o, err)
}

// UpgradeFile asks file/upgrade.
func (c *Client) UpgradeFile(ctx context.Context, q Query) (*FileOffer, error) {
	var o FileOffer
	err := c.upgrade(ctx, "file", q, &o, &o.Release, &o.URL)
	return orNil(&o, err)
}

// UpgradeAPK asks apk/upgrade.
func (c *Client) UpgradeAPK(ctx context.Context, q Query) (*APKOffer, error) {
	var o APKOffer
	err := c.upgrade(ctx, "apk", q, &o, &o.Release, &o.URL)
	return orNil(&o, err)
}

// UpgradeLinux asks lnx/upgrade; it needs Query.Arch.
func (c *Client) UpgradeLinux(ctx context.Context, q Query) (*LinuxOffer, error) {
	var o LinuxOffer
	err := c.upgrade(ctx, "lnx", q, &o, &o.Release, &o.URL)
	return orNil(&o, err)
}

// UpgradeWindows asks win/upgrade; without Query.Arch there is never an offer.
func (c *Client) UpgradeWindows(ctx context.Context, q Query) (*WindowsOffer, error) {
	var o WindowsOffer
	err := c.upgrade(ctx, "win", q, &o, &o.Release, &o.URL)
	return orNil(&o, err)
}

// UpgradeConfiguration asks configuration/upgrade.
func (c *Client) UpgradeConfiguration(ctx context.Context, q Query) (*ConfigurationOffer, error) {
	var o ConfigurationOffer
	err := c.upgrade(ctx, "configuration", q, &o, &o.Release, nil)
	return orNil(&o, err)
}

// orNil keeps a half-filled answer from leaving with an error.
func orNil[T any](v *T, err error) (*T, error) {
	if err != nil {
		return nil, err
	}
	return v, nil
}

// upgrade asks KIND/upgrade, decodes the data into offer and checks it. release
// and address point into offer; address is nil when there is none.
func (c *Client) upgrade(ctx context.Context, kind string, q Query, offer any, release *Release, address *string) error {
	what := fmt.Sprintf("ask for an upgrade of %s %q", kind, q.Key)
	if err := q.check(what); err != nil {
		return err
	}
	a, err := c.call(ctx, what, "/v1/"+kind+"/upgrade", q.body(kind, true))
	if err != nil {
		return err
	}
	if a.code == codeNothing {
		return nothing(what)
	}
	if err := a.decode(offer); err != nil {
		return unreadable(what, err)
	}
	if err := release.check(q); err != nil {
		return badOffer(what, release, err)
	}
	if address == nil {
		return nil
	}
	if *address, err = checkURL(*address); err != nil {
		return badOffer(what, release, err)
	}
	return nil
}

func nothing(what string) error {
	return ota.NewRefused(ota.CodeNothing, fmt.Errorf("cannot %s: %w", what, ErrNoOffer))
}

func unreadable(what string, err error) error {
	return ota.NewTransient(ota.CodeServerTrouble, fmt.Errorf("cannot %s: not an answer of the API: %w", what, err)).
		WithHint(hintNotTheServer)
}

func badOffer(what string, r *Release, err error) error {
	return ota.NewPermanent(ota.CodeOfferBad, fmt.Errorf("cannot %s: the offer of version %d makes no sense: %w", what, r.VersionCode, err)).
		WithHint("the version or its upgrade task is set up wrongly on the server")
}

// check refuses an offer that is not an upgrade, or not the one asked for.
func (r *Release) check(q Query) error {
	switch {
	case r.VersionCode <= q.VersionCode:
		return fmt.Errorf("it is not newer than version %d", q.VersionCode)
	case q.AppointVersionCode > 0 && r.VersionCode != q.AppointVersionCode:
		return fmt.Errorf("version %d was asked for", q.AppointVersionCode)
	}
	return nil
}

// checkURL returns the address of an artifact in the form to request it with:
// the server passes on whatever was typed in, also spaces and raw Unicode.
func checkURL(text string) (string, error) {
	text = strings.TrimSpace(text)
	if text == "" {
		return "", errors.New("its URL is empty")
	}
	u, err := url.Parse(text)
	switch {
	case err != nil:
		return "", fmt.Errorf("its URL %q cannot be read", oneLine(text))
	case u.Scheme == "":
		return "", fmt.Errorf("its URL %q is relative", oneLine(text))
	case u.Scheme != "http" && u.Scheme != "https":
		return "", fmt.Errorf("its URL %q is neither http nor https", oneLine(text))
	case u.Hostname() == "":
		return "", fmt.Errorf("its URL %q names no host", oneLine(text))
	}
	return u.String(), nil
}

// maxDeviceChars is what the server's columns hold; on a server as shipped one
// character more is answered with HTTP 500.
const maxDeviceChars = 128

func (q Query) check(what string) error {
	return checkDevice(what, q.ModelKey, q.DeviceKey)
}

func checkDevice(what, modelKey, deviceKey string) error {
	if utf8.RuneCountInString(modelKey) > maxDeviceChars || utf8.RuneCountInString(deviceKey) > maxDeviceChars {
		return configFault(fmt.Errorf("cannot %s: the model or device key is longer than %d characters", what, maxDeviceChars),
			"check [device] model and key")
	}
	return nil
}
