package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/pelletier/go-toml/v2"

	"otad/ota"
)

// DefaultPath is where the file is when nobody says otherwise.
const DefaultPath = "/etc/otad/otad.toml"

// maxFile bounds the settings file and every file that it names for a value.
const maxFile = 1 << 20

// Load reads and checks the file at path. Faults have the code config.
func Load(path string) (*Config, error) {
	data, err := readFile(path)
	if err != nil {
		return nil, wrong("cannot read configuration: %w", err).
			WithHint("name the file with --config FILE")
	}
	c, err := parse(data)
	if err != nil {
		return nil, wrong("cannot read configuration %q: %w", path, err)
	}
	if err := c.resolve(); err != nil {
		return nil, wrong("cannot use configuration %q: %w", path, err)
	}
	return c, nil
}

func wrong(format string, args ...any) *ota.Fault {
	return ota.NewPermanent(ota.CodeConfig, fmt.Errorf(format, args...))
}

func parse(data []byte) (*Config, error) {
	c := Default()
	decoder := toml.NewDecoder(bytes.NewReader(data)).DisallowUnknownFields()
	err := decoder.Decode(&c)
	var unknown *toml.StrictMissingError
	var decode *toml.DecodeError
	switch {
	case errors.As(err, &unknown):
		return nil, unknownKeys(unknown)
	case errors.As(err, &decode):
		line, _ := decode.Position()
		text := strings.TrimPrefix(decode.Error(), "toml: ")
		if key := strings.Join(decode.Key(), "."); key != "" {
			text = key + ": " + text
		}
		return nil, fmt.Errorf("line %d: %s", line, text)
	case err != nil:
		return nil, err
	}
	var raw map[string]any
	if err := toml.Unmarshal(data, &raw); err != nil {
		return nil, err
	}
	return &c, withoutUnit(reflect.TypeFor[Config](), raw, "")
}

// withoutUnit refuses a bare number where a number with a unit belongs: the
// decoder would take it for nanoseconds or bytes.
func withoutUnit(t reflect.Type, raw map[string]any, prefix string) error {
	var errs []error
	for i := range t.NumField() {
		field := t.Field(i)
		key := field.Tag.Get("toml")
		switch value := raw[key].(type) {
		case map[string]any:
			if field.Type.Kind() != reflect.Struct {
				errs = append(errs, fmt.Errorf("[%s%s] is one of a list: write it as [[%s%s]]", prefix, key, prefix, key))
				continue
			}
			errs = append(errs, withoutUnit(field.Type, value, prefix+key+"."))
		case []any: // [[package]]
			for _, element := range value {
				if table, is := element.(map[string]any); is && field.Type.Elem().Kind() == reflect.Struct {
					errs = append(errs, withoutUnit(field.Type.Elem(), table, prefix+key+"."))
				}
			}
		case int64:
			if field.Type.Kind() == reflect.Int64 {
				errs = append(errs, fmt.Errorf("%s%s = %d has no unit, as in \"90s\" or \"16MiB\"", prefix, key, value))
			}
		}
	}
	return errors.Join(errs...)
}

func unknownKeys(e *toml.StrictMissingError) error {
	var list []error
	known := knownKeys(reflect.TypeFor[Config](), "")
	for i := range e.Errors {
		line, _ := e.Errors[i].Position()
		key := strings.Join(e.Errors[i].Key(), ".")
		text := fmt.Sprintf("line %d: unknown key %q", line, key)
		if near := nearest(key, known); near != "" {
			text += fmt.Sprintf(", did you mean %q?", near)
		}
		list = append(list, errors.New(text))
	}
	return errors.Join(list...)
}

// knownKeys lists the full names of all keys, sections included.
func knownKeys(t reflect.Type, prefix string) []string {
	var keys []string
	for i := range t.NumField() {
		name := prefix + t.Field(i).Tag.Get("toml")
		keys = append(keys, name)
		inner := t.Field(i).Type
		if inner.Kind() == reflect.Slice {
			inner = inner.Elem()
		}
		if inner.Kind() == reflect.Struct && inner.PkgPath() == t.PkgPath() && inner != reflect.TypeFor[Window]() {
			keys = append(keys, knownKeys(inner, name+".")...)
		}
	}
	return keys
}

// nearest returns the known key that takes the fewest edits, if they are few.
func nearest(key string, known []string) string {
	best, bestCost := "", len(key)/3+2
	for _, k := range known {
		if cost := edits(key, k); cost < bestCost {
			best, bestCost = k, cost
		}
	}
	return best
}

// edits is the Levenshtein distance.
func edits(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}

// leastWatchdog is longer than any one thing that the loop does by itself.
const leastWatchdog = 10 * time.Second

// resolve fills in what depends on the box and checks the whole.
func (c *Config) resolve() error {
	var errs []error
	check := func(err error) {
		if err != nil {
			errs = append(errs, err)
		}
	}
	var err error
	c.Device.Model, err = identity("device.model", c.Device.Model)
	check(err)
	c.Device.Key, err = identity("device.key", c.Device.Key)
	check(err)
	check(httpURL("server.url", c.Server.URL))
	if c.Server.Proxy != "" {
		check(httpURL("server.proxy", c.Server.Proxy))
	}
	for _, s := range []struct{ key, value string }{
		{"server.access_key", c.Server.AccessKey}, {"server.secret_key_file", c.Server.SecretKeyFile},
		{"firmware.url_key", c.Firmware.URLKey}, {"firmware.version_file", c.Firmware.VersionFile},
		{"board.driver", c.Board.Driver}, {"control.socket", c.Control.Socket}, {"state.dir", c.State.Dir},
	} {
		if s.value == "" {
			check(fmt.Errorf("%s is not set", s.key))
		}
	}
	if len(c.Trust.CA) == 0 {
		check(errors.New("trust.ca is not set: only signed artifacts are installed, so a trusted CA is needed"))
	}
	for _, n := range []struct {
		key   string
		value int64
	}{
		{"policy.prompt_timeout", int64(c.Policy.PromptTimeout)}, {"policy.check_every", int64(c.Policy.CheckEvery)}, {"health.timeout", int64(c.Health.Timeout)},
		{"download.max_size", int64(c.Download.MaxSize)}, {"install.script_timeout", int64(c.Install.ScriptTimeout)},
		{"download.low_speed", int64(c.Download.LowSpeed)}, {"download.low_speed_time", int64(c.Download.LowSpeedTime)},
		{"download.retry_first", int64(c.Download.RetryFirst)}, {"download.retry_max", int64(c.Download.RetryMax)},
	} {
		if n.value == 0 {
			check(fmt.Errorf("%s must not be 0", n.key))
		}
	}
	if c.Watchdog.Device != "" && time.Duration(c.Watchdog.Timeout) < leastWatchdog {
		check(fmt.Errorf("watchdog.timeout must be at least %s: a slow medium is not a box that hangs", leastWatchdog))
	}
	switch c.Policy.ConsentSilence {
	case "accept", "decline", "ask":
	default:
		check(fmt.Errorf("policy.consent_silence %q is not one of accept, decline, ask", c.Policy.ConsentSilence))
	}
	if c.Policy.DeferCount < 0 {
		check(errors.New("policy.defer_count must not be negative"))
	}
	if m := c.Download.Mode; m != ModeAuto && m != ModeStaged && m != ModeStreamed {
		check(fmt.Errorf("download.mode %q is not one of %s, %s, %s", m, ModeAuto, ModeStaged, ModeStreamed))
	}
	if c.Download.Checkpoint < 1<<20 {
		check(errors.New("download.checkpoint must be at least 1MiB"))
	}
	if len(c.MQTT.Brokers) > 0 && (c.MQTT.Prefix == "" || strings.ContainsAny(c.MQTT.Prefix, "+#\x00")) {
		check(fmt.Errorf("mqtt.prefix %q cannot begin a topic", c.MQTT.Prefix))
	}
	if c.Download.Dir == "" {
		c.Download.Dir = filepath.Join(c.State.Dir, "staging")
	}
	if _, ok := logLevels[c.Log.Level]; !ok {
		check(fmt.Errorf("log.level %q is not one of debug, info, warn, error", c.Log.Level))
	}
	check(c.Board.resolve())
	check(c.resolveChannels())
	for _, d := range c.Install.Directories {
		if !filepath.IsAbs(d[strings.LastIndex(d, "=")+1:]) {
			check(fmt.Errorf("install.directories: %q is neither PATH nor DEVICE=PATH", d))
		}
	}
	if c.Install.Vars != "" && !filepath.IsAbs(c.Install.Vars) {
		check(fmt.Errorf("install.vars %q is not an absolute path", c.Install.Vars))
	}
	if c.USB.Dir != "" && !filepath.IsAbs(c.USB.Dir) {
		check(fmt.Errorf("usb.dir %q is not an absolute path", c.USB.Dir))
	}
	if c.Console.Baud <= 0 {
		check(errors.New("console.baud must be more than 0"))
	}
	if c.Console.Terminal != "vt100" && c.Console.Terminal != "dumb" {
		check(fmt.Errorf("console.terminal %q is not one of vt100, dumb", c.Console.Terminal))
	}
	return errors.Join(errs...)
}

// resolve checks what the drivers cannot: what is there belongs to the driver.
func (b *Board) resolve() error {
	switch b.Driver {
	case "sim":
		if b.Dir == "" {
			return errors.New("board.dir is not set: it is the directory of the simulated box")
		}
	case "uboot":
		if len(b.Slots) < 2 {
			return errors.New("board.slot: two slots are needed at least: a box with one system needs a rescue system in the second (board.rescue)")
		}
		if b.Style != "boot-order" && b.Style != "boot-count" {
			return fmt.Errorf("board.style %q is not one of boot-order, boot-count", b.Style)
		}
	case "hooks":
		if b.Dir == "" {
			return errors.New("board.dir is not set: it is the directory of the executables")
		}
	case "": // said already
	default:
		return fmt.Errorf("board.driver %q is not one of sim, uboot, hooks", b.Driver)
	}
	for i := range b.Slots {
		if b.Slots[i].Name == "" || b.Slots[i].Device == "" {
			return fmt.Errorf("board.slot %d: name and device must be set", i+1)
		}
		for j, p := range b.Slots[i].Parts {
			if p.Name == "" || p.Device == "" {
				return fmt.Errorf("board.slot %d, part %d: name and device must be set", i+1, j+1)
			}
		}
	}
	return nil
}

// identity turns mac:IFACE and file:PATH into the value.
func identity(key, value string) (string, error) {
	switch kind, rest, _ := strings.Cut(value, ":"); {
	case value == "":
		return "", fmt.Errorf("%s is not set", key)
	case kind == "mac" && !strings.Contains(rest, ":"):
		iface, err := net.InterfaceByName(rest)
		if err != nil || len(iface.HardwareAddr) == 0 {
			return "", fmt.Errorf("%s: interface %q has no MAC address (or is not there)", key, rest)
		}
		return iface.HardwareAddr.String(), nil
	case kind == "file":
		data, err := readFile(rest)
		if err != nil {
			return "", fmt.Errorf("%s: %w", key, err)
		}
		if value = strings.TrimSpace(string(data)); value == "" {
			return "", fmt.Errorf("%s: %q is empty", key, rest)
		}
	}
	if len(value) > 128 {
		return "", fmt.Errorf("%s is longer than 128 bytes", key)
	}
	if !utf8.ValidString(value) || strings.ContainsFunc(value, unicode.IsControl) {
		return "", fmt.Errorf("%s is not one line of text", key)
	}
	return value, nil
}

func httpURL(key, value string) error {
	if value == "" {
		return fmt.Errorf("%s is not set", key)
	}
	u, err := url.Parse(value)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
		// Not the value: it may hold a password.
		return fmt.Errorf("%s is not an http or https URL", key)
	}
	return nil
}

// ReadSecret reads a secret from its file; the text never appears in an error.
func ReadSecret(path string) (string, error) {
	data, err := readFile(path)
	if err != nil {
		return "", wrong("cannot read secret: %w", err)
	}
	secret := strings.TrimSpace(string(data))
	if secret == "" {
		return "", wrong("cannot read secret: %q is empty", path)
	}
	return secret, nil
}

// ReadFiles returns the content of each file, for certificates.
func ReadFiles(paths ...string) ([][]byte, error) {
	var list [][]byte
	for _, path := range paths {
		data, err := readFile(path)
		if err != nil {
			return nil, wrong("cannot read certificates: %w", err)
		}
		list = append(list, data)
	}
	return list, nil
}

// readFile reads a small file.
func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, err
	}
	if len(data) > maxFile {
		return nil, fmt.Errorf("%q is longer than %d bytes", path, maxFile)
	}
	return data, nil
}
