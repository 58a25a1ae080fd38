package config

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/url"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"time"

	"otad/ota/schema"
)

// packageName is what a package may be called: it is part of file names.
var packageName = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,31}$`)

// MaxPackages bounds the side packages: each costs two questions a round.
const MaxPackages = 16

const defaultInstallTime = 10 * time.Minute

// resolveChannels checks the configuration channel and the side packages, and
// fills in what depends on the rest.
func (c *Config) resolveChannels() error {
	if len(c.Packages) > MaxPackages {
		return fmt.Errorf("package: %d of them are more than %d", len(c.Packages), MaxPackages)
	}
	errs := []error{c.Configuration.resolve(c.State.Dir)}
	names := map[string]bool{}
	for i := range c.Packages {
		p := &c.Packages[i]
		if err := p.resolve(c.Server.URL); err != nil {
			errs = append(errs, fmt.Errorf("package %d: %w", i+1, err))
		}
		if names[p.Name] {
			errs = append(errs, fmt.Errorf("package %d: the name %q is there twice", i+1, p.Name))
		}
		names[p.Name] = true
	}
	return errors.Join(errs...)
}

func (c *Configuration) resolve(stateDir string) error {
	if c.File == "" {
		c.File = filepath.Join(stateDir, "configuration.json")
	}
	if c.Key == "" {
		if c.Apply != "" || c.Health != "" || c.Schema != "" {
			return errors.New("configuration.key is not set")
		}
		return nil
	}
	if c.Apply == "" {
		return errors.New("configuration.apply is not set: it names the executable that gets the content")
	}
	if c.Timeout == 0 {
		return errors.New("configuration.timeout must not be 0")
	}
	for key, path := range map[string]string{"apply": c.Apply, "health": c.Health, "file": c.File} {
		if path != "" && !filepath.IsAbs(path) {
			return fmt.Errorf("configuration.%s %q is not an absolute path", key, path)
		}
	}
	if _, err := c.ReadSchema(); err != nil {
		return fmt.Errorf("configuration.schema: %w", err)
	}
	return nil
}

// ReadSchema reads the schema; nil when there is none.
func (c *Configuration) ReadSchema() (*schema.Schema, error) {
	if c.Schema == "" {
		return nil, nil
	}
	data, err := readFile(c.Schema)
	if err != nil {
		return nil, err
	}
	s, err := schema.Parse(data)
	if err != nil {
		return nil, fmt.Errorf("cannot use %q: %w", c.Schema, err)
	}
	return s, nil
}

func (p *Package) resolve(server string) error {
	if p.Timeout == 0 {
		p.Timeout = Duration(defaultInstallTime)
	}
	kind, source, _ := strings.Cut(p.Version, ":")
	withArch := p.Kind == "lnx" || p.Kind == "win"
	switch {
	case !packageName.MatchString(p.Name):
		return fmt.Errorf("name %q is not made of up to 32 small letters, digits and \"-\"", p.Name)
	case !slices.Contains([]string{"url", "file", "apk", "lnx", "win"}, p.Kind):
		return fmt.Errorf("kind %q is not one of url, file, apk, lnx, win", p.Kind)
	case p.Key == "":
		return errors.New("key is not set")
	case withArch && p.Arch == "":
		return fmt.Errorf("arch is not set: a package of kind %s has one, as in \"arm64\"", p.Kind)
	case !withArch && p.Arch != "":
		return fmt.Errorf("arch: a package of kind %s has none", p.Kind)
	case !filepath.IsAbs(p.Install):
		return fmt.Errorf("install %q is not an absolute path: it names the executable that installs the package", p.Install)
	case p.Version != "" && (kind != "file" && kind != "hook" || !filepath.IsAbs(source)):
		return fmt.Errorf("version %q is neither file:PATH nor hook:PATH", p.Version)
	case !slices.Contains([]string{"swu", "cms", "hash-only"}, p.Trust):
		return fmt.Errorf("trust %q is not one of swu, cms, hash-only", p.Trust)
	case p.Signature != "" && p.Trust != "cms":
		return fmt.Errorf("signature: there is none with trust %q", p.Trust)
	case p.Signature != "" && httpURL("signature", p.Signature) != nil:
		return httpURL("signature", p.Signature)
	case p.Trust == "hash-only" && p.Kind == "url":
		return errors.New("trust \"hash-only\": the server tells no hash of packages of kind url; sign it, or use file, apk, lnx or win")
	case p.Trust == "hash-only" && !private(server):
		return errors.New("trust \"hash-only\": the hash is only as good as the way to the server, so server.url must be https")
	}
	return nil
}

// private tells whether nobody in between can change what the server says.
func private(server string) bool {
	u, err := url.Parse(server)
	if err != nil {
		return false
	}
	ip := net.ParseIP(u.Hostname())
	return u.Scheme == "https" || u.Hostname() == "localhost" || ip != nil && ip.IsLoopback()
}

// tunable lists the settings that a configuration from the server may change,
// with the bounds within which the box can be reached again. Trust, server, keys
// and paths are not among them, and never will be.
var tunable = []struct {
	key   string
	check func(*Config) error
}{
	{"policy.check_every", func(c *Config) error {
		return within(time.Duration(c.Policy.CheckEvery), time.Minute, 7*24*time.Hour)
	}},
	{"policy.windows", func(*Config) error { return nil }},
	{"policy.countdown", func(c *Config) error { return within(time.Duration(c.Policy.Countdown), 0, 24*time.Hour) }},
	{"download.limit_busy", func(c *Config) error { return flowing(c.Download.LimitBusy, c.Download.LowSpeed) }},
	{"download.limit_idle", func(c *Config) error { return flowing(c.Download.LimitIdle, c.Download.LowSpeed) }},
}

func within(d, low, high time.Duration) error {
	if d < low || d > high {
		return fmt.Errorf("%s is not between %s and %s", d, low, high)
	}
	return nil
}

// flowing refuses a limit at which every download would be cut as stalled.
func flowing(limit, low Rate) error {
	if limit != 0 && limit < 4*low {
		return fmt.Errorf("it is less than four times download.low_speed")
	}
	return nil
}

// Tuned returns the settings as the member "otad" of a configuration tunes
// them: {"policy": {"check_every": "1h"}}, with the names and units of the
// settings file. What is not in it, also with null, is as in c. Anything that may
// not be tuned, or that is out of bounds, makes all of it void.
func (c *Config) Tuned(tuning json.RawMessage) (*Config, error) {
	tuned := *c
	if len(tuning) == 0 || string(tuning) == "null" {
		return &tuned, nil
	}
	var sections map[string]map[string]json.RawMessage
	if err := json.Unmarshal(tuning, &sections); err != nil {
		return nil, errors.New("want sections with settings, as in {\"policy\": {\"check_every\": \"1h\"}}")
	}
	allowed := map[string]bool{}
	for _, t := range tunable {
		allowed[t.key] = true
		section, name, _ := strings.Cut(t.key, ".")
		value, is := sections[section][name]
		if !is || string(value) == "null" {
			continue
		}
		if value[0] != '"' && value[0] != '[' { // a bare number would be nanoseconds
			return nil, fmt.Errorf("%s = %s has no unit, as in \"90s\" or \"512KiB/s\"", t.key, value)
		}
		setting := tuned.setting(section, name)
		setting.SetZero() // a list must not be written into that of c
		if err := json.Unmarshal(value, setting.Addr().Interface()); err != nil {
			return nil, fmt.Errorf("%s: %w", t.key, err)
		}
		if err := t.check(&tuned); err != nil {
			return nil, fmt.Errorf("%s: %w", t.key, err)
		}
	}
	for section, settings := range sections {
		for name := range settings {
			if key := section + "." + name; !allowed[key] {
				return nil, fmt.Errorf("%q cannot be tuned from afar", key)
			}
		}
	}
	return &tuned, nil
}

// Adopt takes over what may be tuned from tuned, and tells whether that changes
// anything.
func (c *Config) Adopt(tuned *Config) (changed bool) {
	for _, t := range tunable {
		section, name, _ := strings.Cut(t.key, ".")
		from, to := tuned.setting(section, name), c.setting(section, name)
		if !reflect.DeepEqual(from.Interface(), to.Interface()) {
			to.Set(from)
			changed = true
		}
	}
	return changed
}

// setting is where a setting is kept.
func (c *Config) setting(section, name string) reflect.Value {
	find := func(v reflect.Value, tag string) reflect.Value {
		for i := range v.NumField() {
			if v.Type().Field(i).Tag.Get("toml") == tag {
				return v.Field(i)
			}
		}
		panic("config: no key " + tag)
	}
	return find(find(reflect.ValueOf(c).Elem(), section), name)
}

// Tunable lists the keys that a configuration may tune.
func Tunable() []string {
	var keys []string
	for _, t := range tunable {
		keys = append(keys, t.key)
	}
	return keys
}
