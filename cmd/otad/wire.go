package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"otad/agent"
	"otad/agent/config"
	"otad/board"
	"otad/cmd/internal/cli"
	"otad/ota"
	"otad/ota/durable"
	"otad/ota/journal"
	"otad/ota/swu"
	"otad/transport/download"
	"otad/transport/upgradelink"
)

// box is an agent with what it holds open.
type box struct {
	agent   *agent.Agent
	journal *journal.Journal
	lock    *durable.Lock
	clock   *agent.Clock
	client  *upgradelink.Client
	tls     *tls.Config
	log     *slog.Logger
	logs    *agent.Logs // what log said last
}

// mode says what an agent is opened for.
type mode struct{ poll, hold bool }

// openBox takes the lock and puts an agent together from its parts.
func openBox(cfg *config.Config, env cli.Env, m mode) (*box, error) {
	level := cfg.Level()
	if !m.poll && level > slog.LevelDebug {
		level = slog.LevelWarn // in the foreground the progress line tells the rest
	}
	logs := &agent.Logs{}
	log := slog.New(slog.NewTextHandler(io.MultiWriter(logs, env.Stderr), &slog.HandlerOptions{Level: level}))
	lock, err := takeLock(cfg)
	if err != nil {
		return nil, err
	}
	b := &box{lock: lock, clock: &agent.Clock{Local: time.Now, Build: builtAt()}, log: log, logs: logs}
	if err := b.wire(cfg, m); err != nil {
		b.close()
		return nil, err
	}
	return b, nil
}

func takeLock(cfg *config.Config) (*durable.Lock, error) {
	if err := durable.MkdirAll(durable.OS, cfg.State.Dir, 0o755); err != nil {
		return nil, ota.NewTransient(ota.CodeJournal, err)
	}
	lock, err := durable.AcquireLock(filepath.Join(cfg.State.Dir, "lock"), "process "+strconv.Itoa(os.Getpid()))
	if errors.Is(err, durable.ErrLocked) {
		return nil, ota.NewRefused(ota.CodeLocked, err).WithHint("one otad at a time; `otad status` asks the one that runs")
	}
	if err != nil {
		return nil, ota.NewTransient(ota.CodeJournal, err)
	}
	return lock, nil
}

// wire opens the parts and makes the agent.
func (b *box) wire(cfg *config.Config, m mode) error {
	own := *cfg // the agent tunes its own; the doors read the file's
	cfg = &own
	bd, err := openBoard(cfg, b.log, false)
	if err != nil {
		return err
	}
	if _, err := openTrust(cfg); err != nil {
		return err
	}
	if cfg.Trust.Dir != "" { // an artifact may bring the first anchor for it
		if err := durable.MkdirAll(durable.OS, cfg.Trust.Dir, 0o755); err != nil {
			return ota.NewTransient(ota.CodeBoard, err)
		}
	}
	around, err := openAround(cfg, bd)
	if err != nil {
		return err
	}
	running, err := cfg.RunningVersion()
	if err != nil {
		return err
	}
	j, recovered, err := journal.Open(filepath.Join(cfg.State.Dir, "journal.db"), b.clock.Now())
	if err != nil {
		return err
	}
	b.journal = j
	if b.tls, err = tlsConfig(cfg.Server.CA, b.clock); err != nil {
		return err
	}
	server, err := openServer(cfg, b.tls)
	if err != nil {
		return err
	}
	fetcher, err := openFetcher(cfg, b.tls, bd, b.log)
	if err != nil {
		return err
	}
	b.client = server.client
	var dog func() (agent.Watchdog, time.Duration, error)
	if m.poll { // whoever comes and goes must not start it
		dog = openWatchdog(cfg.Watchdog, b.log)
	}
	b.agent, err = agent.New(agent.Parts{
		Config: cfg, Journal: j, Recovered: recovered, Board: bd, FS: durable.OS, Server: server, Fetcher: fetcher, Streamer: fetcher, Piecer: fetcher,
		Trust: func() (*swu.Trust, error) { return openTrust(cfg) }, Around: around, Running: running, Clock: b.clock, Log: b.log, Logs: b.logs, Version: buildVersion(),
		OpenWatchdog: dog, Poll: m.poll, Hold: m.hold,
	})
	if err != nil {
		return err
	}
	return b.openChannels(cfg, server.client, fetcher.download)
}

func (b *box) close() {
	if b.journal != nil {
		if err := b.journal.Close(); err != nil {
			b.log.Error("cannot close the journal", "cause", err)
		}
	}
	if err := b.lock.Release(); err != nil {
		b.log.Error("cannot release the lock", "cause", err)
	}
}

// tlsConfig trusts the system's roots, or only those of the file ca, and judges
// certificates by the box's best time.
func tlsConfig(ca string, clock *agent.Clock) (*tls.Config, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS12, Time: clock.Now}
	if ca == "" {
		return c, nil
	}
	bundles, err := config.ReadFiles(ca)
	if err != nil {
		return nil, err
	}
	c.RootCAs = x509.NewCertPool()
	if !c.RootCAs.AppendCertsFromPEM(bundles[0]) {
		return nil, ota.NewPermanent(ota.CodeConfig, fmt.Errorf("cannot use CA file %q: it holds no certificate", ca))
	}
	return c, nil
}

// httpTransport is the one way out for the API and the payloads alike.
func httpTransport(cfg *config.Config, tls *tls.Config) (*http.Transport, error) {
	t := download.NewTransport()
	t.TLSClientConfig = tls.Clone()
	if cfg.Server.Proxy != "" {
		u, err := url.Parse(cfg.Server.Proxy)
		if err != nil {
			return nil, ota.NewPermanent(ota.CodeConfig, fmt.Errorf("cannot use server.proxy: it is not a URL"))
		}
		t.Proxy = http.ProxyURL(u)
	}
	return t, nil
}

// apiTimeout bounds one call of the API.
const apiTimeout = 30 * time.Second

func openServer(cfg *config.Config, tls *tls.Config) (*catalogue, error) {
	secret, err := config.ReadSecret(cfg.Server.SecretKeyFile)
	if err != nil {
		return nil, err
	}
	transport, err := httpTransport(cfg, tls)
	if err != nil {
		return nil, err
	}
	client, err := upgradelink.New(upgradelink.Options{
		BaseURL: cfg.Server.URL, AccessKey: cfg.Server.AccessKey, Secret: upgradelink.Secret(secret),
		HTTP: &http.Client{Transport: transport, Timeout: apiTimeout},
	})
	if err != nil {
		return nil, err
	}
	return &catalogue{client: client, query: upgradelink.Query{
		Key: cfg.Firmware.URLKey, ModelKey: cfg.Device.Model, DeviceKey: cfg.Device.Key,
	}}, nil
}

// catalogue is the url application of an UpgradeLink server as the agent sees it.
type catalogue struct {
	client *upgradelink.Client
	query  upgradelink.Query
}

func (c *catalogue) Offer(ctx context.Context, running ota.Version, appoint int64) (ota.Offer, error) {
	q := c.query
	q.VersionCode, q.AppointVersionCode = running.Code, appoint
	o, err := c.client.UpgradeURL(ctx, q)
	if err != nil {
		return ota.Offer{}, err
	}
	return ota.Offer{VersionCode: o.VersionCode, VersionName: o.VersionName, URL: o.URL,
		Type: ota.UpgradeType(o.UpgradeType), Prompt: o.Prompt}, nil
}

func (c *catalogue) Offset() (time.Duration, bool) {
	_, known := c.client.ServerTime()
	return c.client.Offset(), known
}

// artifactMagic is how every .swu begins: a cpio header.
const artifactMagic = "07070"

func openFetcher(cfg *config.Config, tls *tls.Config, bd board.Board, log *slog.Logger) (*fetcher, error) {
	transport, err := httpTransport(cfg, tls)
	if err != nil {
		return nil, err
	}
	d := cfg.Download
	return &fetcher{maxBytes: int64(d.MaxSize), wholeBytes: int64(d.DeltaWhole), download: download.New(download.Options{
		Transport: transport, UserAgent: "otad/" + buildVersion(),
		LowSpeedBytes: int64(float64(d.LowSpeed) * time.Duration(d.LowSpeedTime).Seconds()), LowSpeedTime: time.Duration(d.LowSpeedTime),
		CheckpointBytes: int64(d.Checkpoint), Limit: limit(cfg, bd), Logger: log,
	})}, nil
}

// limit is the download rate allowed now: one while somebody watches, another
// while nobody does.
func limit(cfg *config.Config, bd board.Board) func() int64 {
	var asked time.Time
	var now int64
	return func() int64 {
		if time.Since(asked) < time.Second { // the hook may be a process to start
			return now
		}
		asked, now = time.Now(), int64(cfg.Download.LimitIdle)
		if cfg.Download.LimitBusy == cfg.Download.LimitIdle {
			return now
		}
		if use, err := board.UsageOf(context.Background(), bd); err != nil || use.Busy != "" {
			now = int64(cfg.Download.LimitBusy)
		}
		return now
	}
}

// fetcher is the download transport as the agent sees it.
type fetcher struct {
	download   *download.Fetcher
	maxBytes   int64
	wholeBytes int64 // of a delta's chunks, whose server has no ranges
}

func (f *fetcher) FreeBytes(dir string) (int64, error) { return durable.FreeBytes(dir) }

func (f *fetcher) Fetch(ctx context.Context, want agent.Fetch) error {
	_, err := f.download.Fetch(ctx, download.Request{
		URL: want.URL, Path: want.Path, MaxBytes: f.maxBytes, Magic: []byte(artifactMagic),
		From: download.Checkpoint(want.From),
		Save: func(c download.Checkpoint) error { return want.Save(ota.Checkpoint(c)) },
		Progress: func(p download.Progress) {
			want.Progress(p.DoneBytes, p.TotalBytes, p.BytesPerSecond)
		},
	})
	return err
}

func (f *fetcher) Stream(ctx context.Context, want agent.Stream) (agent.Incoming, error) {
	s, err := f.download.Stream(ctx, download.Request{
		URL: want.URL, MaxBytes: f.maxBytes, Magic: []byte(artifactMagic), From: download.Checkpoint(want.From),
	}, want.Again)
	if err != nil {
		return nil, err
	}
	return incoming{s}, nil
}

// deltaMagic is how a file of chunks begins.
const deltaMagic = "\x00ZCK1"

func (f *fetcher) Pieces(ctx context.Context, want agent.Pieces) (io.ReadCloser, error) {
	return f.download.Ranges(ctx, download.Spans{URL: want.URL, TotalBytes: want.TotalBytes, Wanted: want.Wanted, MaxRanges: want.MaxRanges,
		Magic: []byte(deltaMagic), WholeBytes: f.wholeBytes, Fetched: want.Fetched}, want.Again)
}

// incoming is a stream of the download transport as the agent sees it.
type incoming struct{ *download.Stream }

func (i incoming) Checkpoint(offset int64) ota.Checkpoint {
	return ota.Checkpoint(i.Stream.Checkpoint(offset))
}
