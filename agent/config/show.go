package config

import (
	"fmt"
	"log/slog"
	"os"
	"strconv"
	"strings"

	"github.com/pelletier/go-toml/v2"

	"otad/ota"
)

var logLevels = map[string]slog.Level{
	"debug": slog.LevelDebug, "info": slog.LevelInfo, "warn": slog.LevelWarn, "error": slog.LevelError,
}

// Level is the log level.
func (c *Config) Level() slog.Level { return logLevels[c.Log.Level] }

// Text is the effective configuration as a file, defaults filled in. Secrets
// are in files of their own and so not in it.
func (c *Config) Text() (string, error) {
	data, err := toml.Marshal(c)
	if err != nil {
		return "", fmt.Errorf("cannot show configuration: %w", err)
	}
	return string(data), nil
}

// RunningVersion reads the version file of the image that runs: the
// versionCode, then, after a space or on the next line, the versionName.
func (c *Config) RunningVersion() (ota.Version, error) {
	path := c.Firmware.VersionFile
	data, err := os.ReadFile(path)
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
