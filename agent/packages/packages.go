// Package packages keeps side packages up to date: an application, the firmware
// of a remote control, anything that a program of the image can install while
// the system runs.
//
// Model: one [Channel] for each package. At each round the server is asked for
// something newer than what is installed; the file is fetched, checked and given
// to the installer, a hook. Nothing restarts. The steps are those of the
// firmware, downloading, downloaded, installing, in a record of the package's own.
//
// Crash assumptions: each step is in the journal before it is done, and can be
// done again. A download goes on from its checkpoint. An installer that was
// interrupted is called again, at most three times, unless the package says by
// itself that it is installed.
//
// Trust: what the settings say of each package. In a .swu: as the firmware, by
// the signed description, which has to name the package. By a detached CMS
// message: anybody whom the box trusts signed exactly this file. By hash only:
// the server and the way to it.
package packages

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"time"

	"otad/ota"
	"otad/ota/durable"
	"otad/ota/hook"
	"otad/ota/journal"
	"otad/ota/swu"
)

// How a package is checked.
const (
	TrustSWU      = "swu"
	TrustCMS      = "cms"
	TrustHashOnly = "hash-only"
)

// Bounds.
const (
	maxFetches  = 10 // that bring nothing
	maxInstalls = 3
	// rest is how long a version is left alone that failed for what may pass.
	rest = 24 * time.Hour
	// oldest is the version that a box without the package says to have: the
	// server takes no 0.
	oldest = 1
)

// Offer is a newer version on the server.
type Offer struct {
	Version   ota.Version
	Type      ota.UpgradeType
	URL       string
	SizeBytes int64  // 0: not told
	MD5       string // hex; "": not told
}

// Details are what the server says about one version, as far as it does.
type Details struct {
	Name, Description string
	SizeBytes         int64
	MD5, SHA256       string
}

// Server is the catalogue of one package.
type Server interface {
	// Offer asks KIND/upgrade; a fault with the code nothing when there is
	// nothing newer than installed.
	Offer(ctx context.Context, installed int64) (Offer, error)
	// Details asks KIND/version. Older servers do not have it.
	Details(ctx context.Context, code int64) (Details, error)
}

// Fetch is one attempt to bring a file in.
type Fetch struct {
	URL, Path string
	MaxBytes  int64 // 0 for the bound of all downloads
	From      ota.Checkpoint
	Save      func(ota.Checkpoint) error
	Progress  func(done, total int64)
}

// Fetcher brings files in.
type Fetcher interface {
	Fetch(ctx context.Context, f Fetch) error
}

// Journal keeps the record; *journal.Journal is the real one.
type Journal interface {
	Package(name string) (ota.Package, error)
	CommitChannel(journal.ChannelChange) error
}

// Parts is what a channel is made of.
type Parts struct {
	Name, Kind, Key string
	Trust           string
	Signature       string        // with TrustCMS: where it is; "" for the URL and ".sig"
	Install         string        // the installer
	Timeout         time.Duration // of one run of it
	// Installed tells the versionCode that is installed, 0 when it is none; nil
	// when only otad knows.
	Installed func(ctx context.Context) (int64, error)
	Dir       string // where files are staged
	FS        durable.FS
	Server    Server
	Fetcher   Fetcher
	Journal   Journal
	// Anchors and Box judge signatures, and for which box a .swu is.
	Anchors func() (*swu.Trust, error)
	Box     swu.Selection
	// May tells why the package must not be installed now, and when to ask
	// again; "" when it may. since is when the file was there.
	May func(ctx context.Context, how ota.UpgradeType, since time.Time) (reason string, again time.Duration)
	Now func() time.Time
	// Tell makes the event that tells of an end.
	Tell func(ota.Outcome) journal.Event
	// Changed is called when State has something new.
	Changed func()
	Report  bool // tell the server's statistics, too
	// Result is the number of a failure there.
	Result func(*ota.Failure) int64
	Log    *slog.Logger
}

// Channel is one side package. One goroutine works with it; State may be called
// by any.
type Channel struct {
	Parts

	mu    sync.Mutex // guards the rest
	state State
}

// State is what can be said of a package.
type State struct {
	Record  ota.Package
	Reason  string       // why it is not installed now
	Trouble *ota.Failure // what is being tried again
	// How far the download is; 0 of 0 when there is none.
	DoneBytes, TotalBytes int64
}

// Open reads the record.
func Open(p Parts) (*Channel, error) {
	rec, err := p.Journal.Package(p.Name)
	if err != nil {
		return nil, err
	}
	return &Channel{Parts: p, state: State{Record: rec}}, nil
}

// State tells how it stands.
func (c *Channel) State() State {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.state
}

func (c *Channel) edit(change func(*State)) {
	c.mu.Lock()
	change(&c.state)
	c.mu.Unlock()
	if c.Changed != nil {
		c.Changed()
	}
}

// rec is the record; only the goroutine that works changes it.
func (c *Channel) rec() ota.Package { return c.State().Record }

// Pending tells whether an installation was begun and has not ended.
func (c *Channel) Pending() bool {
	w := c.rec().Work
	return w != nil && w.Phase == ota.PhaseInstalling
}

// Round goes on with what is under way, or asks for something newer and goes as
// far as it can. A fault with the code not-now says when to go on. An installer
// that runs when ctx ends is waited for.
func (c *Channel) Round(ctx context.Context) error {
	c.edit(func(s *State) { s.Reason = "" })
	err := c.round(ctx)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	f := ota.FaultOf(err)
	c.edit(func(s *State) {
		s.Trouble, s.DoneBytes, s.TotalBytes = nil, 0, 0
		if f != nil && f.Code == ota.CodeNotNow {
			s.Reason = f.Error()
		} else {
			s.Trouble = ota.FailureOf(f)
		}
	})
	return err
}

func (c *Channel) round(ctx context.Context) error {
	if c.rec().Work == nil {
		if err := c.ask(ctx); err != nil {
			return err
		}
	}
	steps := map[ota.Phase]func(context.Context, ota.PackageWork) error{
		ota.PhaseDownloading: c.download, ota.PhaseDownloaded: c.wait, ota.PhaseInstalling: c.install,
	}
	for work := c.rec().Work; work != nil; work = c.rec().Work {
		step := steps[work.Phase]
		if step == nil {
			return c.end(*work, ota.NewPermanent(ota.CodeInternal, fmt.Errorf("cannot go on with package %q: it is %q", c.Name, work.Phase)))
		}
		if err := step(ctx, *work); err != nil {
			return err
		}
	}
	return nil
}

// installed is the versionCode that is installed.
func (c *Channel) installed(ctx context.Context) (int64, error) {
	if c.Installed == nil {
		return c.rec().Installed.Code, nil
	}
	code, err := c.Installed(ctx)
	if err != nil {
		return 0, ota.NewTransient(ota.CodePackageHook, fmt.Errorf("cannot tell the version of package %q: %w", c.Name, err)).
			WithHint("see package.version")
	}
	return code, nil
}

// ask looks for something newer and journals that it is to be fetched.
func (c *Channel) ask(ctx context.Context) error {
	installed, err := c.installed(ctx)
	if err != nil {
		return err
	}
	offer, err := c.Server.Offer(ctx, max(oldest, installed))
	if f := ota.FaultOf(err); f != nil && f.Code == ota.CodeNothing {
		return nil
	} else if f != nil {
		return err
	}
	now := c.Now()
	if bad := c.rec().Bad; bad != nil && bad.Version.Code == offer.Version.Code && (bad.Until.IsZero() || now.Before(bad.Until)) {
		return nil // told of when it failed
	}
	work := ota.PackageWork{ID: newID(), Phase: ota.PhaseDownloading, To: offer.Version, From: ota.Version{Code: installed}, Type: offer.Type,
		URL: offer.URL, SizeBytes: offer.SizeBytes, MD5: offer.MD5, StartedAt: now, ChangedAt: now}
	details, err := c.Server.Details(ctx, offer.Version.Code)
	if err != nil && c.Trust == TrustHashOnly && work.MD5 == "" && ota.FaultOf(err).Class == ota.Transient {
		return err // the hash may be there
	}
	describe(&work, details)
	if c.Trust == TrustHashOnly && work.MD5 == "" && work.SHA256 == "" {
		return c.end(work, ota.NewPermanent(ota.CodePackageUnchecked,
			fmt.Errorf("cannot take package %q version %d: the server tells no hash of it", c.Name, offer.Version.Code)).
			WithHint("sign the package, or use a server that tells hashes"))
	}
	c.Log.Info("package is offered", "package", c.Name, "version", work.To.Code)
	return c.commit(work)
}

// runHook runs the installer to its end: one that was begun is not interrupted,
// that would be no better than a power cut.
func (c *Channel) runHook(ctx context.Context, input []byte, file string) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), c.Timeout)
	defer cancel()
	_, err := hook.Run(ctx, c.Install, input, file)
	return err
}

// staged is the file of this package; more is what its name goes on with. The
// agent removes old files with ".swu" in their names: these are none.
func (c *Channel) staged(more string) string {
	return filepath.Join(c.Dir, "package-"+c.Name+more)
}
