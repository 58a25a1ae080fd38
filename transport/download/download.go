package download

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"time"

	"github.com/cavaliergopher/grab/v3"

	"otad/ota"
)

const (
	bufferBytes   = 128 << 10 // grab's copy buffer, the one buffer that grows with nothing
	maxRedirects  = 10
	maxChanges    = 3 // prefixes thrown away because the file changed, per offer
	progressEvery = 500 * time.Millisecond
)

// Options are the settings of a Fetcher. The zero value is usable.
type Options struct {
	// Transport makes the requests; nil for [NewTransport]. The agent hands in
	// its own to add a proxy or CA; it must not decompress.
	Transport http.RoundTripper
	UserAgent string // default "otad"

	// A transfer that brings fewer than LowSpeedBytes in LowSpeedTime is cut as
	// stalled (defaults 32 KiB, 60 s). Only time spent waiting for the network
	// counts, not that spent on our own rate limit. The wait for the answer's
	// header is bounded by LowSpeedTime as well.
	LowSpeedBytes int64
	LowSpeedTime  time.Duration

	// CheckpointBytes is the least distance of two checkpoints, default 16 MiB;
	// the real one is never below 5 % of the file (flash wear).
	CheckpointBytes int64
	// ReserveBytes stay free in the staging directory, default 16 MiB.
	ReserveBytes int64
	// Limit tells the rate in bytes per second that is allowed now, 0 for
	// unlimited; nil for never limited. It is asked often and may change its
	// mind while a download runs.
	Limit func() int64
	// Logger hears of resumes and fresh starts; nil for silence.
	Logger *slog.Logger
}

// Fetcher downloads files. It is safe for concurrent use with distinct paths.
type Fetcher struct {
	opt    Options
	client *http.Client
}

// New returns a Fetcher, with defaults in place of zero options.
func New(opt Options) *Fetcher {
	if opt.Transport == nil {
		opt.Transport = NewTransport()
	}
	if opt.UserAgent == "" {
		opt.UserAgent = "otad"
	}
	if opt.LowSpeedBytes <= 0 {
		opt.LowSpeedBytes = 32 << 10
	}
	if opt.LowSpeedTime <= 0 {
		opt.LowSpeedTime = time.Minute
	}
	if opt.CheckpointBytes <= 0 {
		opt.CheckpointBytes = 16 << 20
	}
	if opt.ReserveBytes <= 0 {
		opt.ReserveBytes = 16 << 20
	}
	if opt.Limit == nil {
		opt.Limit = func() int64 { return 0 }
	}
	if opt.Logger == nil {
		opt.Logger = slog.New(slog.DiscardHandler)
	}
	return &Fetcher{opt: opt, client: &http.Client{Transport: opt.Transport, CheckRedirect: checkRedirect}}
}

// NewTransport returns the transport that a Fetcher uses by default: proxy from
// the environment, HTTP/1.1 only (one stream, least memory), no compression,
// bounded waits for everything but the body.
func NewTransport() *http.Transport {
	http1 := new(http.Protocols)
	http1.SetHTTP1(true)
	return &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		DialContext:            (&net.Dialer{Timeout: 30 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
		TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout:    30 * time.Second,
		ResponseHeaderTimeout:  60 * time.Second,
		IdleConnTimeout:        30 * time.Second,
		MaxIdleConns:           2,
		MaxResponseHeaderBytes: 64 << 10,
		DisableCompression:     true,
		Protocols:              http1,
	}
}

// checkRedirect bounds redirects, keeps them to http and https, and refuses to
// fall from the one to the other. The host may differ: content networks redirect.
func checkRedirect(req *http.Request, via []*http.Request) error {
	if len(via) >= maxRedirects {
		return errRedirects
	}
	switch {
	case req.URL.Scheme != "http" && req.URL.Scheme != "https":
		return errScheme
	case req.URL.Scheme == "http" && via[len(via)-1].URL.Scheme == "https":
		return errDowngrade
	}
	req.Header.Del("Referer") // the query of a signed URL is a secret
	return nil
}

// Request is one file to fetch.
type Request struct {
	URL  string // absolute, http or https
	Path string // the file in the staging directory; its directory exists
	// MaxBytes bounds the size of the file; 0 for 4 GiB.
	MaxBytes int64
	// From is the last checkpoint that was saved for Path; zero to start afresh.
	From Checkpoint
	// Save persists a checkpoint durably before it returns; nil to save nothing.
	// Its error ends the attempt.
	Save func(Checkpoint) error
	// Progress hears how far the download is: at its start, at most twice a
	// second, at its end. It is called by the copying goroutine and must not block.
	Progress func(Progress)
	// Magic is how the file must begin, "07070" for a cpio archive. A body that
	// begins otherwise is refused before anything is stored.
	Magic []byte
}

// Checkpoint vouches for a prefix of the file: its first SyncedBytes are on the
// medium and belong to the content that Validator names. It is persisted in the
// journal; field names are append-only.
type Checkpoint struct {
	URL         string `json:"url"`
	Validator   string `json:"validator,omitempty"` // strong ETag or Last-Modified; "" forbids to resume
	SyncedBytes int64  `json:"syncedBytes"`
	TotalBytes  int64  `json:"totalBytes"` // 0 while unknown
	// Changes counts how often a prefix was thrown away because the server had
	// other content under the same URL.
	Changes int `json:"changes,omitempty"`
}

// Complete tells whether the whole file is on the medium.
func (c Checkpoint) Complete() bool { return c.TotalBytes > 0 && c.SyncedBytes == c.TotalBytes }

// Progress is how far a download is.
type Progress struct {
	DoneBytes      int64 // includes what an earlier attempt brought
	TotalBytes     int64 // 0 while unknown
	BytesPerSecond int64 // over the last seconds
}

// Fetch makes one attempt and returns the size of the file, which is then whole
// and on the medium. With a complete checkpoint it returns without network.
//
// A fault is an [ota.Fault]: transient unless its code is one of
// CodeOfferBad, CodeFirmwareMissing, CodeFirmwareTooLarge, CodeFirmwareChanged.
// CodeNoSpace wraps a [*NoSpaceError]. When ctx ends, its error is returned
// unclassed. A transient fault and an ended ctx leave a checkpoint at the last
// stored byte, if the server gave a strong validator.
func (f *Fetcher) Fetch(ctx context.Context, r Request) (sizeBytes int64, err error) {
	if r.MaxBytes <= 0 {
		r.MaxBytes = 4 << 30
	}
	if r.Save == nil {
		r.Save = func(Checkpoint) error { return nil }
	}
	if r.Progress == nil {
		r.Progress = func(Progress) {}
	}
	if u, err := url.Parse(r.URL); err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
		return 0, ota.NewPermanent(ota.CodeOfferBad, fmt.Errorf("cannot download %q: not an absolute http or https URL", redact(r.URL)))
	}

	fetchCtx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	a, err := f.newAttempt(r, cancel)
	if err != nil {
		return 0, err
	}
	defer a.close()
	if !a.point.Complete() {
		err = a.run(fetchCtx)
		if err != nil && ctx.Err() == nil && errors.Is(context.Cause(fetchCtx), errStalled) {
			err = errStalled // grab knows only that the context ended
		}
	}
	return a.finish(ctx, err)
}

// run lets grab do the transfer.
func (a *attempt) run(ctx context.Context) error {
	req, err := grab.NewRequest(a.r.Path, a.r.URL)
	if err != nil {
		return err
	}
	req.NoCreateDirectories = true
	req.IgnoreRemoteTime = true
	req.RateLimiter = a
	req.BeforeCopy = func(t *grab.Response) error {
		a.transfer = t
		return nil
	}
	client := &grab.Client{HTTPClient: a, UserAgent: a.f.opt.UserAgent, BufferSize: bufferBytes}
	return client.Do(req.WithContext(ctx)).Err()
}
