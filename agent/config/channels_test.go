package config

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// fileWith is the least configuration with more below it.
func fileWith(t *testing.T, more string) string {
	t.Helper()
	page, err := os.ReadFile("../../docs/configuration.md")
	if err != nil {
		t.Fatal(err)
	}
	_, after, _ := strings.Cut(string(page), "```toml\n")
	text, _, _ := strings.Cut(after, "```")
	return strings.Replace(text, "mac:eth0", "box-1", 1) + more
}

const launcher = `
[[package]]
name = "launcher"
kind = "apk"
key = "K"
install = "/usr/lib/otad/install-apk"
trust = "cms"
`

func TestChannels(t *testing.T) {
	t.Parallel()
	schema := filepath.Join(t.TempDir(), "schema.json")
	if err := os.WriteFile(schema, []byte(`{"if": {}}`), 0o644); err != nil {
		t.Fatal(err)
	}
	const configuration = "[configuration]\nkey = \"K\"\napply = \"/bin/true\"\n"
	replace := func(old, new string) string { return strings.Replace(launcher, old, new, 1) }
	for _, row := range []struct{ name, more, want string }{
		{"both", configuration + launcher, ""},
		{"two packages", launcher + replace("launcher", "remote"), ""},
		{"no key", "[configuration]\napply = \"/bin/true\"\n", "configuration.key is not set"},
		{"no hook", "[configuration]\nkey = \"K\"\n", "configuration.apply is not set"},
		{"hook without a path", "[configuration]\nkey = \"K\"\napply = \"apply\"\n", "not an absolute path"},
		{"no time", configuration + "timeout = \"0s\"\n", "configuration.timeout must not be 0"},
		{"schema that is not understood", configuration + "schema = \"" + schema + "\"\n", `the keyword "if" is not known`},
		{"no schema there", configuration + "schema = \"/nowhere\"\n", "configuration.schema: open /nowhere"},
		{"name twice", launcher + launcher, `the name "launcher" is there twice`},
		{"odd name", replace("launcher", "../launcher"), "small letters"},
		{"odd kind", replace("apk\"", "deb\""), `kind "deb"`},
		{"arch is missing", replace("apk\"", "lnx\""), "arch is not set"},
		{"arch of an apk", launcher + "arch = \"arm64\"\n", "has none"},
		{"odd version", launcher + "version = \"/etc/v\"\n", "neither file:PATH nor hook:PATH"},
		{"odd trust", replace("cms", "none"), `trust "none" is not one of`},
		{"signature without cms", replace("cms", "swu") + "signature = \"http://h/s\"\n", "signature: there is none"},
		{"signature is no URL", launcher + "signature = \"launcher.sig\"\n", "not an http or https URL"},
		{"hash of a url", strings.Replace(replace("cms", "hash-only"), "apk\"", "url\"", 1), "tells no hash"},
		{"hash over https", replace("cms", "hash-only"), ""},
		{"time without a unit", launcher + "timeout = 10\n", "package.timeout = 10 has no unit"},
		{"misspelt key", launcher + "instal = \"x\"\n", `did you mean "package.install"`},
		{"too many", strings.Repeat(launcher, 17), "17 of them are more than 16"},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			_, err := load(t, fileWith(t, row.more))
			if row.want == "" && err != nil || row.want != "" && (err == nil || !strings.Contains(err.Error(), row.want)) {
				t.Errorf("%v, want %q", err, row.want)
			}
		})
	}
}

// The hash is only as good as the way to the server.
func TestHashOnlyNeedsAPrivateWay(t *testing.T) {
	t.Parallel()
	text := strings.Replace(fileWith(t, strings.Replace(launcher, "cms", "hash-only", 1)), "[server]\n", "[server]\nurl = \"http://upgrade.example\"\n", 1)
	if _, err := load(t, text); err == nil || !strings.Contains(err.Error(), "must be https") {
		t.Errorf("%v", err)
	}
	if _, err := load(t, strings.Replace(text, "upgrade.example", "127.0.0.1:8080", 1)); err != nil {
		t.Errorf("on this machine: %v", err)
	}
}

func TestTuned(t *testing.T) {
	t.Parallel()
	c := Default()
	if err := json.Unmarshal([]byte(`["02:00-05:00","12:00-13:00"]`), &c.Policy.Windows); err != nil {
		t.Fatal(err)
	}
	windows := slices.Clone(c.Policy.Windows)
	got, err := c.Tuned(json.RawMessage(`{"policy":{"check_every":"90m","windows":["23:00-01:00"],"countdown":null},"download":{"limit_busy":"512KiB/s"}}`))
	if err != nil {
		t.Fatal(err)
	}
	if got.Policy.CheckEvery != Duration(90*time.Minute) || len(got.Policy.Windows) != 1 || got.Policy.Countdown != c.Policy.Countdown || got.Download.LimitBusy != 512<<10 {
		t.Errorf("tuned: %+v, %+v", got.Policy, got.Download)
	}
	if !slices.Equal(windows, c.Policy.Windows) || c.Policy.CheckEvery != Default().Policy.CheckEvery {
		t.Errorf("the settings themselves changed: %+v", c.Policy)
	}
	for _, nothing := range []string{"", "null", "{}", `{"policy":null}`} {
		if got, err := c.Tuned(json.RawMessage(nothing)); err != nil || got.Policy.CheckEvery != c.Policy.CheckEvery {
			t.Errorf("%q: %v", nothing, err)
		}
	}
}

func TestNotTuned(t *testing.T) {
	t.Parallel()
	for tuning, want := range map[string]string{
		`{"trust":{"ca":["/tmp/mine.pem"]}}`:                               `"trust.ca" cannot be tuned`,
		`{"server":{"url":"http://mine"}}`:                                 `"server.url" cannot be tuned`,
		`{"mqtt":{"brokers":["tcp://mine"]}}`:                              `"mqtt.brokers" cannot be tuned`,
		`{"policy":{"check_every":"1h","check-every":"1h"}}`:               `"policy.check-every" cannot be tuned`,
		`{"Policy":{"check_every":"1h"}}`:                                  `"Policy.check_every" cannot be tuned`,
		`{"policy":{"check_every":"1s"}}`:                                  "is not between",
		`{"policy":{"check_every":"1000h"}}`:                               "is not between",
		`{"policy":{"check_every":3600}}`:                                  "has no unit",
		`{"policy":{"check_every":"often"}}`:                               "cannot read duration",
		`{"policy":{"countdown":"48h"}}`:                                   "is not between",
		`{"policy":{"windows":"02:00-05:00"}}`:                             "policy.windows",
		`{"policy":{"windows":["2-5"]}}`:                                   "cannot read window",
		`{"download":{"limit_idle":"1B/s"}}`:                               "four times",
		`{"download":{"limit_busy":0}}`:                                    "has no unit",
		`{"policy":5}`:                                                     "want sections",
		`[]`:                                                               "want sections",
		`{"download":{"limit_idle":"1MiB/s"},"console":{"pin_file":"/x"}}`: `"console.pin_file" cannot be tuned`,
	} {
		c := Default()
		if _, err := c.Tuned(json.RawMessage(tuning)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", tuning, err, want)
		}
	}
}

// The page of the channel lists what may be tuned.
func TestTunableIsDocumented(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../docs/configuration-channel.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(page), "## What may be tuned")
	table, _, _ = strings.Cut(table, "\n## ")
	var got []string
	for line := range strings.Lines(table) {
		if key, ok := strings.CutPrefix(line, "| `"); ok {
			key, _, _ = strings.Cut(key, "`")
			got = append(got, key)
		}
	}
	if want := Tunable(); !slices.Equal(got, want) {
		t.Errorf("the page lists %q, want %q", got, want)
	}
}
