package config

import (
	"log/slog"
	"net/url"
	"reflect"
	"strconv"
	"strings"

	"otad/ota"
)

var logLevels = map[string]slog.Level{
	"debug": slog.LevelDebug, "info": slog.LevelInfo, "warn": slog.LevelWarn, "error": slog.LevelError,
}

// Level is the log level.
func (c *Config) Level() slog.Level { return logLevels[c.Log.Level] }

// Text is the effective configuration as a file, defaults filled in. Secrets
// are in files of their own and so not in it; passwords inside of URLs are
// blotted out.
func (c *Config) Text() string {
	shown := *c
	shown.Server.URL, shown.Server.Proxy = redacted(c.Server.URL), redacted(c.Server.Proxy)
	shown.MQTT.Brokers = nil
	for _, broker := range c.MQTT.Brokers {
		shown.MQTT.Brokers = append(shown.MQTT.Brokers, redacted(broker))
	}
	return string(appendTable(nil, "", reflect.ValueOf(shown)))
}

func redacted(text string) string {
	u, err := url.Parse(text)
	if err != nil {
		return "(not a URL)"
	}
	if _, has := u.User.Password(); !has {
		return text
	}
	return u.Redacted()
}

// RunningVersion reads the version file of the image that runs: the
// versionCode, then, after a space or on the next line, the versionName.
func (c *Config) RunningVersion() (ota.Version, error) {
	path := c.Firmware.VersionFile
	data, err := readFile(path)
	if err != nil {
		return ota.Version{}, wrong("cannot read the running version: %w", err).
			WithHint("the image build writes the versionCode into [firmware] version_file")
	}
	fields := strings.Fields(string(data))
	if len(fields) == 0 {
		return ota.Version{}, wrong("cannot read the running version: %q is empty", path)
	}
	code, err := strconv.ParseInt(fields[0], 10, 64)
	if err != nil || code < 0 {
		return ota.Version{}, wrong("cannot read the running version: %q begins with %q, want the versionCode", path, fields[0])
	}
	return ota.Version{Code: code, Name: strings.Join(fields[1:], " ")}, nil
}
