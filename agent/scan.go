package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"otad/agent/control"
	"otad/ota"
	"otad/ota/install"
	"otad/ota/journal"
	"otad/ota/swu"
)

// Bounds of what a stick can make a box look at.
const (
	maxScanEntries = 4096 // of its directory
	maxScanFiles   = 32   // artifacts among them
)

// Scan is what was found in a directory.
type Scan struct {
	Taken   string    `json:"taken,omitempty"`   // the artifact that became the update; "" when none did
	Version string    `json:"version,omitempty"` // its signed version
	Update  string    `json:"update,omitempty"`  // id of the update
	Asks    bool      `json:"asks,omitempty"`    // it waits for consent
	Skipped []Skipped `json:"skipped,omitempty"` // why not the others; older ones than Taken are not mentioned
}

// Skipped is an artifact that is of no use here.
type Skipped struct {
	File string   `json:"file"`
	Code ota.Code `json:"code"`
	Text string   `json:"text"`
}

// doScan takes the newest artifact of a directory that this box may install:
// by the signed version, for this model, above the floor. It is an offer like
// another, which the viewer is asked about unless the settings say otherwise.
// A stick that stays plugged in offers nothing twice: neither what is
// installed nor what was declined or failed, until another file is in its place.
func (a *Agent) doScan(ctx context.Context, r control.Request) (any, error) {
	dir := filepath.Clean(r.Args.Source)
	if err := a.mayScan(dir); err != nil {
		return nil, err
	}
	var rules install.Rules
	err := a.inLoop(ctx, func(ctx context.Context) (err error) {
		if err := a.idle(); err != nil {
			return err
		}
		rules, err = a.scanRules(ctx)
		return err
	})
	if err != nil {
		return nil, err
	}
	if rules.Trust, err = a.Trust(); err != nil {
		return nil, err
	}
	files, err := artifactsIn(dir)
	if err != nil {
		return nil, ota.NewTransient(ota.CodeFirmwareNotFound, fmt.Errorf("cannot look into %q: %w", dir, err))
	}
	found := Scan{}
	for _, offer := range a.byVersion(ctx, files, rules, &found) {
		err := openArtifact(ctx, offer.File, rules)
		if err != nil && ctx.Err() == nil {
			found.skip(offer.File, err)
			continue
		}
		if err == nil {
			found.Taken, found.Version = offer.File, offer.VersionName
			err = a.takeScanned(ctx, r.By, offer, &found)
		}
		return found, err
	}
	return found, nil
}

// mayScan holds a directory to the settings.
func (a *Agent) mayScan(dir string) error {
	within, err := filepath.Rel(a.Config.USB.Dir, dir)
	if a.Config.USB.Dir == "" || err != nil || !filepath.IsLocal(within) {
		return ota.NewRefused(ota.CodeUsage, fmt.Errorf("cannot look into %q: it is not below usb.dir", dir)).
			WithHint("set [usb] dir, or name a file: otad install FILE")
	}
	return nil
}

func (a *Agent) scanRules(ctx context.Context) (install.Rules, error) {
	target, copyName, err := a.target(ctx)
	return install.Rules{
		Around: a.Around, At: a.Clock.Now(), Floor: a.box.Floor, Target: target,
		Selection: swu.Selection{Board: a.Config.Device.Model, Revision: a.Config.Device.Revision, Set: a.Config.Board.Set, Mode: copyName},
	}, err
}

// artifactsIn lists the artifacts of a directory: plain files, no links.
func artifactsIn(dir string) ([]string, error) {
	d, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	entries, err := d.ReadDir(maxScanEntries)
	if err != nil && len(entries) == 0 && !errors.Is(err, io.EOF) {
		return nil, err
	}
	var files []string
	for _, e := range entries {
		name := e.Name()
		hidden := strings.HasPrefix(name, ".") // macOS leaves a "._fw.swu" beside each file
		if e.Type().IsRegular() && !hidden && strings.EqualFold(filepath.Ext(name), ".swu") && len(files) < maxScanFiles {
			files = append(files, filepath.Join(dir, name))
		}
	}
	return files, nil
}

// byVersion reads the descriptions and sorts by the signed versions, the newest
// first; what is of no use goes to found.
func (a *Agent) byVersion(ctx context.Context, files []string, rules install.Rules, found *Scan) []ota.Offer {
	history, err := a.Journal.History(journal.MaxHistory)
	if err != nil {
		a.Log.Warn("cannot read the history", "cause", err)
	}
	var list []ota.Offer
	for _, path := range files {
		offer := fileOffer(path)
		offer.VersionName, err = signedVersion(path, rules)
		if err != nil { // the engine says better what is wrong, and as soon
			if fault := openArtifact(ctx, path, rules); fault != nil {
				err = fault
			}
		} else {
			err = a.wanted(offer, rules.Floor, history)
		}
		if err != nil {
			found.skip(path, err)
			continue
		}
		list = append(list, offer)
	}
	slices.SortStableFunc(list, func(x, y ota.Offer) int { return swu.CompareVersions(y.VersionName, x.VersionName) })
	return list
}

// wanted tells why not to take an artifact that is all right in itself.
func (a *Agent) wanted(offer ota.Offer, floor string, history []ota.Outcome) error {
	switch version := offer.VersionName; {
	case floor != "" && swu.CompareVersions(version, floor) < 0:
		return ota.NewPermanent(ota.CodeBelowFloor, fmt.Errorf("version %q is below the floor %q", version, floor))
	case version == floor, version == a.Running.Name, version == strconv.FormatInt(a.Running.Code, 10):
		return ota.NewRefused(ota.CodeNothing, fmt.Errorf("version %q is installed", version))
	}
	for _, o := range history {
		// A stick that was pulled out too early may come again.
		if o.Offer.Key() == offer.Key() && o.Offer.VersionName == offer.VersionName && o.Failure != nil && o.Failure.Code != ota.CodeFirmwareNotFound {
			return ota.NewRefused(ota.CodeBadOffer, fmt.Errorf("version %q was tried before: %s", offer.VersionName, o.Failure.Text)).
				WithHint("`otad install FILE` tries it again")
		}
	}
	return nil
}

func (s *Scan) skip(path string, err error) {
	f := ota.FaultOf(err)
	s.Skipped = append(s.Skipped, Skipped{File: path, Code: f.Code, Text: f.Error()})
}

// takeScanned makes the update.
func (a *Agent) takeScanned(ctx context.Context, by string, offer ota.Offer, found *Scan) error {
	offer.Type = ota.UpgradePrompt
	asked := ota.Record{By: by}
	found.Asks = a.Config.USB.Ask
	if !found.Asks {
		offer.Type, asked.Consent = ota.UpgradeSilent, ota.ConsentAccepted
	}
	return a.inLoop(ctx, func(ctx context.Context) error {
		if err := a.idle(); err != nil {
			return err
		}
		// wanted has judged what came before, by the version too.
		err := a.accept(ctx, checked{offer: offer, asked: asked, person: true})
		found.Update = a.rec.ID
		return err
	})
}

// fileOffer is the offer of a file that somebody handed in. One that cannot be
// looked at is known by its path alone; that it cannot be read shows later.
func fileOffer(path string) ota.Offer {
	offer := ota.Offer{File: path}
	if info, err := os.Stat(path); err == nil {
		offer.FileBytes, offer.FileTime = info.Size(), info.ModTime().UTC()
	}
	return offer
}

// signedVersion is of the description only: the payloads are not read.
func signedVersion(path string, rules install.Rules) (string, error) {
	f, size, err := openFile(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	archive, err := swu.Open(f, size)
	if err != nil {
		return "", err
	}
	description, _, err := archive.Description(rules.Trust, rules.At)
	if err != nil {
		return "", err
	}
	selected, err := description.Select(rules.Selection)
	if err != nil {
		return "", err
	}
	return selected.Version, nil
}

// openArtifact verifies an artifact whole, as an install will again.
func openArtifact(ctx context.Context, path string, rules install.Rules) error {
	f, size, err := openFile(path)
	if err != nil {
		return ota.NewTransient(ota.CodeFirmwareNotFound, err)
	}
	defer f.Close()
	_, err = install.Open(ctx, f, size, rules, func(install.Stage, int64, int64) {})
	return err
}

func openFile(path string) (*os.File, int64, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, 0, fmt.Errorf("cannot open artifact: %w", err)
	}
	info, err := f.Stat()
	if err != nil {
		return nil, 0, errors.Join(fmt.Errorf("cannot examine artifact: %w", err), f.Close())
	}
	return f, info.Size(), nil
}
