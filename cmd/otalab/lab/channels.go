package lab

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"path/filepath"

	"otad/agent/config"
	"otad/ota"
	"otad/transport/download/downloadtest"
	"otad/transport/upgradelink/upgradelinktest"
)

// The applications beside the firmware, and how boxes call the package.
const (
	ConfigurationKey = "lab-configuration"
	PackageKey       = "lab-launcher"
	PackageName      = "launcher"
)

// What a release is of, beside the firmware: the member "what" of a query.
const (
	whatConfiguration = "configuration"
	whatPackage       = "package"
)

// The hooks of the lab's images. They keep what they get in the directory that
// outlives updates, data/ of the box.
const (
	applyHook   = "#!/bin/sh -e\ncd \"${0%/*}/../../../../data\"\ncat > settings.json.new\nmv settings.json.new settings.json\n"
	installHook = "#!/bin/sh -e\ncd \"${0%/*}/../../../../data\"\ncp \"$1\" launcher.new\nmv launcher.new launcher\n"
)

// channels gives a box the configuration channel and the side package.
func (b *Box) channels(c *config.Config) {
	hook := func(name string) string { return filepath.Join(b.Root(), "usr/lib/otad", name) }
	c.Configuration.Key, c.Configuration.Apply = ConfigurationKey, hook("apply-config")
	c.Packages = []config.Package{{Name: PackageName, Kind: "apk", Key: PackageKey, Trust: "swu", Install: hook("install-package")}}
}

// PublishConfiguration offers a configuration to every box.
func (s *Server) PublishConfiguration(v ota.Version, kind ota.UpgradeType, content json.RawMessage) {
	s.API.Publish(upgradelinktest.Configuration, ConfigurationKey,
		upgradelinktest.Version{Code: v.Code, Name: v.Name, Content: content}, upgradelinktest.Strategy{UpgradeType: int(kind)})
}

// PublishPackage offers the artifact of a side package to every box.
func (s *Server) PublishPackage(r Release) error {
	content, err := downloadtest.Disk(r.File)
	if err != nil {
		return fmt.Errorf("cannot publish version %d: %w", r.Version.Code, err)
	}
	s.keep(content)
	path := fmt.Sprintf("/fw/%s/%d/%s", PackageName, r.Version.Code, filepath.Base(r.File))
	s.Host.Add(path, content)
	s.API.Publish(upgradelinktest.APK, PackageKey,
		upgradelinktest.Version{Code: r.Version.Code, Name: r.Version.Name, URL: s.URL + path, SizeBytes: content.SizeBytes},
		upgradelinktest.Strategy{UpgradeType: int(r.Type)})
	return nil
}

// maxConfiguration bounds a configuration that is published.
const maxConfiguration = 1 << 20

// serveChannel publishes what is not firmware.
func (s *Server) serveChannel(w http.ResponseWriter, r *http.Request, release Release) error {
	if release.What == whatConfiguration {
		content, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxConfiguration))
		if err != nil {
			return err
		}
		s.PublishConfiguration(release.Version, release.Type, content)
		return nil
	}
	var err error
	if release.File, err = s.store(release.Version.Code, http.MaxBytesReader(w, r.Body, maxArtifact)); err != nil {
		return err
	}
	return s.PublishPackage(release)
}
