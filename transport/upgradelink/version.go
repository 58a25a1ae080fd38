package upgradelink

import (
	"context"
	"fmt"
)

// Version is what the server knows of one version. The look-up is exact: it
// finds the version that was asked for or fails with the code "app-unknown";
// it never tells of a newer one, and needs no upgrade task.
type Version struct {
	VersionName string `json:"versionName"`
	VersionCode int64  `json:"versionCode"`
	Description string `json:"description"`
	PackageName string `json:"packageName,omitempty"` // apk, lnx and win only
	Arch        string `json:"arch,omitempty"`        // lnx and win only; empty in every measured answer
}

// WindowsVersion is a version of a win application. The members after Version
// are on the vendor's page and in no measured answer: zero means not told.
type WindowsVersion struct {
	Version
	PubDate                  string `json:"pubDate,omitempty"` // RFC 3339
	ReleaseNote              string `json:"releaseNote,omitempty"`
	Changelog                string `json:"changelog,omitempty"`
	UpgradeMode              int    `json:"upgradeMode,omitempty"`
	ForcedUpgradeVersionCode int64  `json:"forcedUpgradeVersionCode,omitempty"`
	SilentUpgradeVersionCode int64  `json:"silentUpgradeVersionCode,omitempty"`
	Target                   string `json:"target,omitempty"`
	ReleaseURL               string `json:"releaseUrl,omitempty"` // as typed in on the server, not checked
	UpdateType               string `json:"updateType,omitempty"`
	MD5                      string `json:"md5,omitempty"`
	SHA256                   string `json:"sha256,omitempty"`
	DownloadURL              string `json:"downloadUrl,omitempty"` // as typed in on the server, not checked
	SizeBytes                int64  `json:"fileSize,omitempty"`
	DownloadTimes            int64  `json:"downloadTimes,omitempty"`
	IsPreRelease             bool   `json:"isPreRelease,omitempty"`
}

// VersionURL looks Query.VersionCode up in url/version. This and the other
// look-ups use the Key, VersionCode and Arch of the query only.
func (c *Client) VersionURL(ctx context.Context, q Query) (*Version, error) {
	return c.version(ctx, "url", q)
}

// VersionFile looks a version up in file/version.
func (c *Client) VersionFile(ctx context.Context, q Query) (*Version, error) {
	return c.version(ctx, "file", q)
}

// VersionAPK looks a version up in apk/version.
func (c *Client) VersionAPK(ctx context.Context, q Query) (*Version, error) {
	return c.version(ctx, "apk", q)
}

// VersionConfiguration looks a version up in configuration/version.
func (c *Client) VersionConfiguration(ctx context.Context, q Query) (*Version, error) {
	return c.version(ctx, "configuration", q)
}

// VersionLinux looks a version up in lnx/version; it needs Query.Arch.
func (c *Client) VersionLinux(ctx context.Context, q Query) (*Version, error) {
	return c.version(ctx, "lnx", q)
}

// VersionWindows looks a version up in win/version; it needs Query.Arch.
func (c *Client) VersionWindows(ctx context.Context, q Query) (*WindowsVersion, error) {
	var v WindowsVersion
	err := c.lookUp(ctx, "win", q, &v)
	return orNil(&v, err)
}

func (c *Client) version(ctx context.Context, kind string, q Query) (*Version, error) {
	var v Version
	err := c.lookUp(ctx, kind, q, &v)
	return orNil(&v, err)
}

func (c *Client) lookUp(ctx context.Context, kind string, q Query, v any) error {
	what := fmt.Sprintf("look up version %d of %s %q", q.VersionCode, kind, q.Key)
	a, err := c.call(ctx, what, "/v1/"+kind+"/version", q.body(kind, false))
	if err != nil {
		return err
	}
	if a.code == codeNothing {
		// On the vendor's page for win/version; no measured server does it.
		return nothing(what)
	}
	if err := a.decode(v); err != nil {
		return unreadable(what, err)
	}
	return nil
}
