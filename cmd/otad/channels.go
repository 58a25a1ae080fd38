package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"

	"otad/agent/apireport"
	"otad/agent/config"
	"otad/agent/configuration"
	"otad/agent/packages"
	"otad/ota"
	"otad/ota/durable"
	"otad/ota/hook"
	"otad/ota/swu"
	"otad/transport/download"
	"otad/transport/upgradelink"
)

// openChannels makes the channels beside the firmware and gives them to the
// agent, which runs them.
func (b *box) openChannels(cfg *config.Config, client *upgradelink.Client, files *download.Fetcher) error {
	ask := upgradelink.Query{ModelKey: cfg.Device.Model, DeviceKey: cfg.Device.Key}
	if c := cfg.Configuration; c.Key != "" {
		ask := ask
		ask.Key = c.Key
		rules, err := c.ReadSchema()
		if err != nil {
			return ota.NewPermanent(ota.CodeConfig, err)
		}
		b.agent.Channels.Configuration, err = configuration.Open(configuration.Parts{
			Key: c.Key, File: c.File, Apply: c.Apply, Health: c.Health, Timeout: time.Duration(c.Timeout), Schema: rules,
			Judge: func(tuning json.RawMessage) error { _, err := cfg.Tuned(tuning); return err },
			FS:    durable.OS, Server: &configurations{client, ask}, Journal: b.journal, Now: b.clock.Now,
			Tell: b.agent.TellOutcome, Changed: b.agent.ShowChannels, Report: cfg.Server.Report, Log: b.log,
		})
		if err != nil {
			return err
		}
	}
	for _, p := range cfg.Packages {
		ask := ask
		ask.Key, ask.Arch = p.Key, p.Arch
		channel, err := packages.Open(packages.Parts{
			Name: p.Name, Kind: p.Kind, Key: p.Key, Trust: p.Trust, Signature: p.Signature, Install: p.Install, Timeout: time.Duration(p.Timeout),
			Installed: installedBy(p.Version, time.Duration(p.Timeout)), Dir: cfg.Download.Dir, FS: durable.OS,
			Server: &packageServer{client, p.Kind, ask}, Fetcher: &packageFetcher{files, int64(cfg.Download.MaxSize)}, Journal: b.journal,
			Anchors: func() (*swu.Trust, error) { return openTrust(cfg) },
			// A package has no slots: of an artifact with copies any one will do.
			Box: swu.Selection{Board: cfg.Device.Model, Revision: cfg.Device.Revision, Set: cfg.Board.Set, Mode: "copy1"},
			May: b.agent.MayInstall, Now: b.clock.Now, Tell: b.agent.TellOutcome, Changed: b.agent.ShowChannels,
			Report: cfg.Server.Report, Result: apireport.ResultOf, Log: b.log,
		})
		if err != nil {
			return err
		}
		b.agent.Channels.Packages = append(b.agent.Channels.Packages, channel)
	}
	return nil
}

// sendReports brings what is queued to the server's statistics until ctx ends.
func (b *box) sendReports(ctx context.Context, cfg *config.Config, doors *sync.WaitGroup) {
	if !cfg.Server.Report {
		return
	}
	changed, stop := b.agent.Watch()
	sender := apireport.Sender{Queue: b.journal, Server: &reports{b.client, cfg}, Log: b.log, Changed: changed}
	doors.Go(func() {
		defer stop()
		sender.Run(ctx)
	})
}

// configurations is the configuration application as its channel sees it.
type configurations struct {
	client *upgradelink.Client
	query  upgradelink.Query
}

func (s *configurations) Version(ctx context.Context, running int64) (ota.Version, error) {
	q := s.query
	q.VersionCode = running
	v, err := s.client.VersionConfiguration(ctx, q)
	if err != nil {
		return ota.Version{}, err
	}
	return ota.Version{Code: v.VersionCode, Name: v.VersionName}, nil
}

func (s *configurations) Offer(ctx context.Context, running int64) (configuration.Offer, error) {
	q := s.query
	q.VersionCode = running
	o, err := s.client.UpgradeConfiguration(ctx, q)
	if err != nil {
		return configuration.Offer{}, err
	}
	return configuration.Offer{Version: ota.Version{Code: o.VersionCode, Name: o.VersionName},
		Type: ota.UpgradeType(o.UpgradeType), Content: o.Content}, nil
}

// packageServer is the application of a side package as its channel sees it.
type packageServer struct {
	client *upgradelink.Client
	kind   string
	query  upgradelink.Query
}

func (s *packageServer) Offer(ctx context.Context, installed int64) (packages.Offer, error) {
	q := s.query
	q.VersionCode = installed
	switch s.kind {
	case "url":
		o, err := s.client.UpgradeURL(ctx, q)
		if err != nil {
			return packages.Offer{}, err
		}
		return offerOf(o.Release, o.URL, 0, ""), nil
	case "file":
		o, err := s.client.UpgradeFile(ctx, q)
		if err != nil {
			return packages.Offer{}, err
		}
		return offerOf(o.Release, o.URL, o.SizeBytes, ""), nil
	case "apk":
		o, err := s.client.UpgradeAPK(ctx, q)
		if err != nil {
			return packages.Offer{}, err
		}
		return offerOf(o.Release, o.URL, o.SizeBytes, o.MD5), nil
	case "lnx":
		o, err := s.client.UpgradeLinux(ctx, q)
		if err != nil {
			return packages.Offer{}, err
		}
		return offerOf(o.Release, o.URL, o.SizeBytes, o.MD5), nil
	case "win":
		o, err := s.client.UpgradeWindows(ctx, q)
		if err != nil {
			return packages.Offer{}, err
		}
		return offerOf(o.Release, o.URL, o.SizeBytes, o.MD5), nil
	}
	return packages.Offer{}, ota.NewPermanent(ota.CodeConfig, fmt.Errorf("cannot ask for a package of kind %q", s.kind))
}

func offerOf(r upgradelink.Release, url string, size int64, md5 string) packages.Offer {
	return packages.Offer{Version: ota.Version{Code: r.VersionCode, Name: r.VersionName}, Type: ota.UpgradeType(r.UpgradeType),
		URL: url, SizeBytes: size, MD5: md5}
}

func (s *packageServer) Details(ctx context.Context, code int64) (packages.Details, error) {
	q := s.query
	q.VersionCode = code
	if s.kind == "win" {
		v, err := s.client.VersionWindows(ctx, q)
		if err != nil {
			return packages.Details{}, err
		}
		return packages.Details{Name: v.VersionName, Description: v.Description, SizeBytes: v.SizeBytes, MD5: v.MD5, SHA256: v.SHA256}, nil
	}
	look := map[string]func(context.Context, upgradelink.Query) (*upgradelink.Version, error){
		"url": s.client.VersionURL, "file": s.client.VersionFile, "apk": s.client.VersionAPK, "lnx": s.client.VersionLinux,
	}
	v, err := look[s.kind](ctx, q)
	if err != nil {
		return packages.Details{}, err
	}
	return packages.Details{Name: v.VersionName, Description: v.Description}, nil
}

// packageFetcher is the download transport as side packages see it.
type packageFetcher struct {
	download *download.Fetcher
	maxBytes int64
}

func (f *packageFetcher) Fetch(ctx context.Context, want packages.Fetch) error {
	limit := want.MaxBytes
	if limit == 0 {
		limit = f.maxBytes
	}
	_, err := f.download.Fetch(ctx, download.Request{
		URL: want.URL, Path: want.Path, MaxBytes: limit,
		From:     download.Checkpoint(want.From),
		Save:     func(c download.Checkpoint) error { return want.Save(ota.Checkpoint(c)) },
		Progress: func(p download.Progress) { want.Progress(p.DoneBytes, p.TotalBytes) },
	})
	return err
}

// maxVersionText bounds what a package may say about its version.
const maxVersionText = 4 << 10

// installedBy is where the installed versionCode of a package is from; nil when
// only otad knows.
func installedBy(source string, timeout time.Duration) func(context.Context) (int64, error) {
	kind, path, _ := strings.Cut(source, ":")
	switch kind {
	case "file":
		return func(context.Context) (int64, error) {
			data, err := durable.ReadFile(durable.OS, path, maxVersionText)
			if errors.Is(err, os.ErrNotExist) {
				return 0, nil // not installed
			}
			if err != nil {
				return 0, err
			}
			return versionCode(data)
		}
	case "hook":
		return func(ctx context.Context) (int64, error) {
			ctx, cancel := context.WithTimeout(ctx, timeout)
			defer cancel()
			result, err := hook.Run(ctx, path, nil)
			if err != nil {
				return 0, err
			}
			return versionCode(result.Answer)
		}
	}
	return nil
}

// versionCode is the first word of a text; an empty one is 0, not installed.
func versionCode(text []byte) (int64, error) {
	words := bytes.Fields(text)
	if len(words) == 0 {
		return 0, nil
	}
	code, err := strconv.ParseInt(string(words[0]), 10, 64)
	if err != nil || code < 0 {
		return 0, fmt.Errorf("%.40q is no versionCode", words[0])
	}
	return code, nil
}

// reports is app/report as the sender sees it.
type reports struct {
	client *upgradelink.Client
	config *config.Config
}

func (r *reports) Report(ctx context.Context, report ota.Report) error {
	return r.client.Report(ctx, upgradelink.Event{
		Type: upgradelink.EventType(report.Type), AppKey: report.AppKey, Time: report.Time, VersionCode: report.Running,
		TargetVersionCode: report.Target, Code: report.Code, ModelKey: r.config.Device.Model, DeviceKey: r.config.Device.Key,
		Target: "linux", Arch: serverArch(),
	})
}

// serverArch is what the server's pages call the processor.
func serverArch() string {
	switch runtime.GOARCH {
	case "amd64":
		return "x86_64"
	case "386":
		return "i686"
	case "arm64":
		return "aarch64"
	case "arm":
		return "armv7"
	}
	return runtime.GOARCH
}
