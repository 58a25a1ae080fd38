// Package configuration keeps the box's configuration as the operator publishes
// it: a JSON object under a version of its own, beside the firmware.
//
// Model: at each round the server is asked. A newer content is judged (JSON, an
// optional schema, what it says to otad itself), staged, and handed to a hook of
// the image; then a second hook may judge the box's health. When both agree the
// new content takes the place of the running one, whole, in one rename; else the
// hook gets the old content again. A version that failed is not tried again
// until there is a newer one, and versions never go back by themselves.
//
// Crash assumptions: the change is in the journal before the hook runs and
// until its end is known. After a power cut the hook gets the new content again,
// at most three times, so it has to bear being called again; then the old one is
// restored. What is in the file is the old content or the new one, never a mix.
//
// Trust: the server, as for every offer that is not signed. So a configuration
// is data for the hook, can tune a short list of otad's settings, and no more.
package configuration

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path/filepath"
	"sync"
	"time"

	"otad/ota"
	"otad/ota/durable"
	"otad/ota/hook"
	"otad/ota/journal"
	"otad/ota/schema"
)

// Bounds.
const (
	maxAttempts = 3 // of applying one version, or of restoring another
	// MaxBytes is the longest content, as it is handed to the hook.
	MaxBytes = 256 << 10
)

// oldest is the version that a box without a configuration says to have. The
// server takes no 0, so version 1 is what the image brings.
const oldest = 1

// Offer is a configuration on the server.
type Offer struct {
	Version ota.Version
	Type    ota.UpgradeType
	Content json.RawMessage
}

// Server is the catalogue of configurations.
type Server interface {
	// Version asks configuration/version. Servers differ: it is the running
	// version itself, or a newer one, or a fault with the code nothing,
	// app-unknown or not-supported.
	Version(ctx context.Context, running int64) (ota.Version, error)
	// Offer asks configuration/upgrade; a fault with the code nothing when there
	// is nothing newer than running.
	Offer(ctx context.Context, running int64) (Offer, error)
}

// Journal keeps the record; *journal.Journal is the real one.
type Journal interface {
	Configuration() (ota.Configuration, error)
	CommitChannel(journal.ChannelChange) error
}

// Parts is what a channel is made of.
type Parts struct {
	Key     string         // of the application on the server
	File    string         // where the running content is; ".next" and ".old" are beside it
	Apply   string         // the hook that gets the content
	Health  string         // the hook that judges the box afterwards; "" for none
	Timeout time.Duration  // of one run of a hook
	Schema  *schema.Schema // nil for none
	// Judge tells whether otad would follow the member "otad" of a content.
	Judge   func(tuning json.RawMessage) error
	FS      durable.FS
	Server  Server
	Journal Journal
	Now     func() time.Time
	// Tell makes the event that tells of an end.
	Tell   func(ota.Outcome) journal.Event
	Report bool // tell the server's statistics, too
	// Changed is called when State has something new; nil for nobody.
	Changed func()
	Log     *slog.Logger
	// Run runs a hook; nil for hook.Run.
	Run func(ctx context.Context, path string, input []byte) error
}

// Channel is the configuration channel. One goroutine works with it; State and
// Tuning may be called by any.
type Channel struct {
	Parts

	mu      sync.Mutex // guards the rest
	rec     ota.Configuration
	content []byte // the running one; nil when there is none, or it was lost
	trouble *ota.Failure
}

// Open reads what runs.
func Open(p Parts) (*Channel, error) {
	if p.Run == nil {
		p.Run = runHook
	}
	c := &Channel{Parts: p}
	rec, err := p.Journal.Configuration()
	if err != nil {
		return nil, err
	}
	c.rec = rec
	return c, c.read()
}

func runHook(ctx context.Context, path string, input []byte) error {
	_, err := hook.Run(ctx, path, input)
	return err
}

// State is the record and what is being tried again.
func (c *Channel) State() (ota.Configuration, *ota.Failure) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.rec, c.trouble
}

// Tuning is what the running configuration says to otad; nil for nothing.
func (c *Channel) Tuning() json.RawMessage {
	c.mu.Lock()
	defer c.mu.Unlock()
	return tuningOf(c.content)
}

// Pending tells whether a change was begun and has not ended.
func (c *Channel) Pending() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.rec.Next != nil
}

// Round goes on with the change that a power cut left, then asks the server and
// applies what is new. A hook that runs when ctx ends is waited for.
func (c *Channel) Round(ctx context.Context) error {
	err := c.round(ctx)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	c.mu.Lock()
	c.trouble = ota.FailureOf(ota.FaultOf(err))
	c.mu.Unlock()
	return err
}

func (c *Channel) round(ctx context.Context) error {
	if c.rec.Next != nil {
		if err := c.resume(ctx); err != nil {
			return err
		}
	}
	offer, err := c.ask(ctx)
	if err != nil || offer == nil {
		return err
	}
	return c.take(ctx, *offer)
}

// running is the version to ask with. When its content was lost, it asks for
// that again.
func (c *Channel) running() int64 {
	if c.content == nil {
		return oldest
	}
	return max(oldest, c.rec.Running.Code)
}

// ask looks for something newer; nil for nothing. The look-up comes first: a
// server that knows of nothing newer says so there, and is not asked for an
// offer, which may cost a place in a staged rollout.
func (c *Channel) ask(ctx context.Context) (*Offer, error) {
	running := c.running()
	known, err := c.Server.Version(ctx, running)
	switch f := ota.FaultOf(err); {
	case err == nil && known.Code == running && known.Code == c.rec.Running.Code:
		c.Log.Debug("configuration runs", "version", known.Code, "name", known.Name)
	case err == nil: // a newer one, or the one that the image brings
	case f.Code == ota.CodeNothing:
		return nil, nil
	case f.Code == ota.CodeNotSupported, f.Code == ota.CodeAppUnknown: // an older server; or it never had this version
	default:
		return nil, err
	}
	offer, err := c.Server.Offer(ctx, running)
	if f := ota.FaultOf(err); f != nil {
		if f.Code == ota.CodeNothing {
			return nil, nil
		}
		return nil, err
	}
	return &offer, nil
}

// take judges an offer and applies it.
func (c *Channel) take(ctx context.Context, o Offer) error {
	switch bad := c.rec.Bad; {
	case o.Version.Code < c.rec.Floor, o.Version.Code == c.rec.Running.Code && c.content != nil:
		c.Log.Warn("an older configuration is not applied", "version", o.Version.Code, "floor", c.rec.Floor)
		return nil
	case bad != nil && o.Version.Code == bad.Version.Code:
		return nil // told of when it failed
	}
	change := ota.ConfigurationChange{ID: rand.Text()[:12], To: o.Version, StartedAt: c.Now()}
	content, err := c.judge(o.Content)
	if err != nil {
		return c.end(change, ota.FaultOf(err), nil)
	}
	change.SHA256 = sumOf(content)
	// It is durable before the journal says that it is there.
	err = durable.MkdirAll(c.FS, filepath.Dir(c.File), 0o755)
	if err == nil {
		err = durable.WriteFile(c.FS, c.File+".next", content, 0o600)
	}
	if err != nil {
		return ota.NewTransient(ota.CodeJournal, fmt.Errorf("cannot stage configuration %d: %w", o.Version.Code, err))
	}
	return c.apply(ctx, change, content)
}

// judge returns the content as it is handed on.
func (c *Channel) judge(raw json.RawMessage) ([]byte, error) {
	if len(raw) > MaxBytes {
		return nil, bad("it has %d bytes, more than %d", len(raw), MaxBytes)
	}
	document, err := schema.Decode(raw)
	if err != nil {
		return nil, bad("it is not JSON: %w", err)
	}
	if _, is := document.(map[string]any); !is {
		return nil, bad("it is not a JSON object")
	}
	if c.Schema != nil {
		if err := c.Schema.Validate(document); err != nil {
			return nil, ota.NewPermanent(ota.CodeConfigurationSchema, fmt.Errorf("cannot apply configuration: it does not fit the schema %w", err)).
				WithHint("correct the content on the server and publish it as a new version")
		}
	}
	if tuning := tuningOf(raw); tuning != nil {
		if err := c.Judge(tuning); err != nil {
			return nil, ota.NewPermanent(ota.CodeConfigurationTuning, fmt.Errorf("cannot apply configuration: its member \"otad\": %w", err)).
				WithHint("a configuration can tune a few settings only; see docs/configuration-channel.md")
		}
	}
	var content bytes.Buffer
	if err := json.Compact(&content, raw); err != nil {
		return nil, bad("it is not JSON: %w", err)
	}
	return content.Bytes(), nil
}

func bad(format string, args ...any) error {
	return ota.NewPermanent(ota.CodeConfigurationBad, fmt.Errorf("cannot apply configuration: "+format, args...)).
		WithHint("correct the content on the server and publish it as a new version")
}

// tuningOf is the member "otad" of a content; nil when there is none.
func tuningOf(content []byte) json.RawMessage {
	var document struct {
		OTAD json.RawMessage `json:"otad"`
	}
	var names map[string]json.RawMessage // the decoder above takes "OTAD" for it, too
	if json.Unmarshal(content, &names) != nil || names["otad"] == nil || json.Unmarshal(content, &document) != nil {
		return nil
	}
	return names["otad"]
}

func sumOf(content []byte) string {
	sum := sha256.Sum256(content)
	return hex.EncodeToString(sum[:])
}

// read reads the content that runs. One that is not what the record says was
// damaged: it is as good as lost, and asked for again. A box that never had one
// may have been given one by its image.
func (c *Channel) read() error {
	content, err := c.load(c.File)
	if err != nil {
		return err
	}
	sum := sumOf(content)
	finishing := c.rec.Next != nil && sum == c.rec.Next.SHA256
	if content != nil && c.rec.SHA256 != "" && sum != c.rec.SHA256 && !finishing {
		c.Log.Warn("the configuration was damaged", "file", c.File, "version", c.rec.Running.Code)
		content = nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.content = content
	return nil
}

// load reads a file of ours; nil when it is not there.
func (c *Channel) load(name string) ([]byte, error) {
	content, err := durable.ReadFile(c.FS, name, MaxBytes)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, ota.NewTransient(ota.CodeJournal, fmt.Errorf("cannot read configuration: %w", err))
	}
	return content, nil
}
