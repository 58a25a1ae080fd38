package config

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"otad/ota"
	"otad/ota/policy"
)

// least is the shortest file that is accepted, by section.
func least() map[string]string {
	return map[string]string{
		"device":   "model = \"stv1\"\nkey = \"box-1\"\n",
		"server":   "url = \"http://server.example\"\naccess_key = \"ak\"\nsecret_key_file = \"/etc/otad/secret\"\n",
		"firmware": "url_key = \"uk\"\n",
		"trust":    "ca = [\"/etc/otad/ca.pem\"]\n",
		"board":    "driver = \"sim\"\n",
	}
}

// text is a file with more lines, or other ones, in a section.
func text(section, lines string) string {
	sections := least()
	for _, line := range strings.Split(lines, "\n") {
		key, _, _ := strings.Cut(line, " =")
		var kept []string
		for _, old := range strings.Split(sections[section], "\n") {
			if !strings.HasPrefix(old, key+" =") {
				kept = append(kept, old)
			}
		}
		sections[section] = line + "\n" + strings.Join(kept, "\n")
	}
	var b strings.Builder
	for _, name := range []string{"device", "server", "firmware", "trust", "board", "mqtt", "policy", "download", "health", "control", "state", "log"} {
		if body, ok := sections[name]; ok {
			b.WriteString("[" + name + "]\n" + body + "\n")
		}
	}
	return b.String()
}

func load(t *testing.T, data string) (*Config, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "otad.toml")
	if err := os.WriteFile(path, []byte(data), 0o600); err != nil {
		t.Fatal(err)
	}
	return Load(path)
}

func TestLeast(t *testing.T) {
	t.Parallel()
	got, err := load(t, text("board", "driver = \"sim\"\ndir = \"/var/lib/otad/box\""))
	if err != nil {
		t.Fatal(err)
	}
	want := Default()
	want.Device = Device{Model: "stv1", Key: "box-1"}
	want.Server = Server{URL: "http://server.example", AccessKey: "ak", SecretKeyFile: "/etc/otad/secret", Report: true}
	want.Firmware.URLKey = "uk"
	want.Configuration.File = "/var/lib/otad/configuration.json"
	want.Trust.CA = []string{"/etc/otad/ca.pem"}
	want.Board.Driver, want.Board.Dir = "sim", "/var/lib/otad/box"
	want.Download.Dir = "/var/lib/otad/staging"
	if !reflect.DeepEqual(*got, want) {
		t.Errorf("got %+v\nwant %+v", *got, want)
	}
}

func TestExample(t *testing.T) {
	t.Parallel()
	c, err := Load("testdata/otad.toml")
	if err != nil {
		t.Fatal(err)
	}
	want := policy.Rules{Windows: []policy.Window{{Start: 120, End: 300}, {Start: 780, End: 840}}, Countdown: 10 * time.Minute,
		TimerAhead: 30 * time.Minute, Deadline: 168 * time.Hour, Silence: policy.Ask, ApplySpread: 30 * time.Minute, DeferCount: 3, DeferTotal: 72 * time.Hour}
	if got := c.Rules(); !reflect.DeepEqual(got, want) {
		t.Errorf("rules %+v", got)
	}
	if c.Download.LimitBusy != 512<<10 || c.Download.Checkpoint != 16<<20 || c.Device.Revision != "1.2" {
		t.Errorf("got %+v", c)
	}
}

// What is shown can be loaded again, and is the same then.
func TestText(t *testing.T) {
	t.Parallel()
	c, err := Load("testdata/otad.toml")
	if err != nil {
		t.Fatal(err)
	}
	c.MQTT.Username = "quotes \" and ' and \\, lines\n, \t, \x00, \x7f, \u2028, \U0001f4fa, <&>"
	shown := c.Text()
	again, err := load(t, shown)
	if err != nil {
		t.Fatalf("%v in\n%s", err, shown)
	}
	if twice := again.Text(); twice != shown || again.MQTT.Username != c.MQTT.Username {
		t.Errorf("got %s\nwant %s", twice, shown)
	}
	c.Server.Proxy = "http://user:hunter2@proxy:3128"
	c.MQTT.Brokers = []string{"ssl://box:hunter2@broker:8883", "tcp://%zz:hunter2@x"}
	if shown = c.Text(); strings.Contains(shown, "hunter2") || !strings.Contains(shown, "user:xxxxx@proxy:3128") {
		t.Errorf("a password is in\n%s", shown)
	}
}

func TestRefused(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		data string
		want []string // all of them are in the error
	}{
		{"empty", "", []string{"device.model is not set", "device.key is not set", "server.access_key is not set", "server.secret_key_file is not set",
			"firmware.url_key is not set", "board.driver is not set", "trust.ca is not set"}},
		{"no TOML", "[device\n", []string{"line 1: "}},
		{"not UTF-8", "[device]\nmodel = \"\xff\"\n", []string{"line 2: "}},
		{"a key twice", "[device]\nmodel = \"a\"\nmodel = \"b\"\n", []string{"model"}},
		// Unknown keys, with the line and the nearest known one.
		{"misspelt key", "[policy]\n\ncheck_evry = \"6h\"\n", []string{`line 3: unknown key "policy.check_evry", did you mean "policy.check_every"?`}},
		{"key in the wrong section", "[server]\nurl_key = \"x\"\n", []string{`line 2: unknown key "server.url_key"`}},
		{"misspelt section", "[polcy]\ncheck_every = \"6h\"\n", []string{`"polcy`, `did you mean "policy`}},
		{"far from any", "[server]\nzzzzzzzzzzzzzzzzzzzzzzz = 1\n", []string{`line 2: unknown key "server.zzzzzzzzzzzzzzzzzzzzzzz"`}},
		{"two unknown keys", "[log]\nlevle = \"info\"\ncolour = true\n", []string{`line 2: unknown key "log.levle", did you mean "log.level"?`, `line 3: unknown key "log.colour"`}},
		{"key outside of all sections", "model = \"x\"\n", []string{`line 1: unknown key "model"`}},
		// Wrong types.
		{"number for text", text("device", "model = 7"), []string{"line 2: device.model"}},
		{"text for a list", text("trust", "ca = \"/x\""), []string{"trust.ca"}},
		{"number for a duration", text("policy", "check_every = 6"), []string{"policy.check_every = 6 has no unit"}},
		{"numbers for sizes and rates", text("download", "max_size = 100\nlimit_busy = 7"), []string{"download.max_size = 100 has", "download.limit_busy = 7 has"}},
		{"duration without a unit", text("policy", "check_every = \"6\""), []string{"cannot read duration", `"90s" or "6h"`}},
		{"negative duration", text("policy", "countdown = \"-1m\""), []string{"cannot read duration"}},
		{"truth for a size", text("download", "max_size = true"), []string{"cannot read size"}},
		{"size without a unit", text("download", "max_size = \"100\""), []string{"cannot read size"}},
		{"size in other units", text("download", "max_size = \"4GB\""), []string{"cannot read size"}},
		{"size beyond all bounds", text("download", "max_size = \"99999999999GiB\""), []string{"cannot read size"}},
		{"negative size", text("download", "max_size = \"-1MiB\""), []string{"cannot read size"}},
		{"rate without a time", text("download", "limit_busy = \"512KiB\""), []string{"cannot read rate"}},
		{"rate of time", text("download", "limit_busy = \"5s/s\""), []string{"cannot read rate"}},
		{"wrong window", text("policy", "windows = [\"2-5\"]"), []string{`cannot read window "2-5"`}},
		{"empty window", text("policy", "windows = [\"02:00-02:00\"]"), []string{"it is empty"}},
		// Wrong values.
		{"never checks", text("policy", "check_every = \"0s\""), []string{"policy.check_every must not be 0"}},
		{"no time for health", text("health", "timeout = \"0s\""), []string{"health.timeout must not be 0"}},
		{"nothing may come in", text("download", "max_size = \"0B\""), []string{"download.max_size must not be 0"}},
		{"tries without a pause", text("download", "retry_first = \"0s\"\nretry_max = \"0s\""), []string{"download.retry_first must", "download.retry_max must"}},
		{"patience without end", text("download", "low_speed = \"0B/s\"\nlow_speed_time = \"0s\""), []string{"download.low_speed must", "download.low_speed_time must"}},
		{"checkpoints that wear the flash", text("download", "checkpoint = \"64KiB\""), []string{"download.checkpoint must be at least 1MiB"}},
		{"unknown log level", text("log", "level = \"loud\""), []string{`log.level "loud" is not one of debug, info, warn, error`}},
		{"no server", text("server", "url = \"\""), []string{"server.url is not set"}},
		{"server without a scheme", text("server", "url = \"api.example\""), []string{"server.url is not an http"}},
		{"server by ftp", text("server", "url = \"ftp://x\""), []string{"server.url is not an http"}},
		{"wrong proxy", text("server", "proxy = \"socks5://u:hunter2@x\""), []string{"server.proxy is not an http"}},
		{"no state", text("state", "dir = \"\""), []string{"state.dir is not set"}},
		{"no socket", text("control", "socket = \"\""), []string{"control.socket is not set"}},
		{"no version file", text("firmware", "version_file = \"\""), []string{"firmware.version_file is not set"}},
		{"prefix that is a pattern", text("mqtt", "brokers = [\"tcp://b:1883\"]\nprefix = \"otad/#\""), []string{"mqtt.prefix"}},
		// Boards.
		{"unknown board", text("board", "driver = \"grub\""), []string{`board.driver "grub" is not one of sim, uboot, hooks`}},
		{"simulated box without a place", text("board", "driver = \"sim\"\ndir = \"\""), []string{"board.dir is not set"}},
		{"U-Boot without slots", text("board", "driver = \"uboot\""), []string{"board.slot: two slots are needed"}},
		{"U-Boot in a style of its own", text("board", "driver = \"uboot\"\nstyle = \"x\"\nslot = [{name = \"a\", device = \"/a\"}, {name = \"b\", device = \"/b\"}]"), []string{`board.style "x" is not one of`}},
		{"slot without a device", text("board", "driver = \"hooks\"\ndir = \"/x\"\nslot = [{name = \"a\"}]"), []string{"board.slot 1: name and device must be set"}},
		{"a slot that is no list", text("board", "driver = \"uboot\"") + "[board.slot]\nname = \"a\"\n", []string{"[[board.slot]]"}},
		{"a part without a device", text("board", "driver = \"uboot\"") + "[[board.slot]]\nname = \"a\"\ndevice = \"/dev/a\"\n[[board.slot.part]]\nname = \"kernel\"\n[[board.slot]]\nname = \"b\"\ndevice = \"/dev/b\"\n", []string{"part 1"}},
		{"misspelt key of a slot", text("board", "driver = \"uboot\"") + "[[board.slot]]\nnmae = \"a\"\n", []string{`unknown key "board.slot.nmae", did you mean "board.slot.name"?`}},
		// Identity.
		{"no model", text("device", "model = \"\""), []string{"device.model is not set"}},
		{"interface that is not there", text("device", "key = \"mac:nosuch0\""), []string{`device.key: interface "nosuch0" has no MAC address`}},
		{"interface without a name", text("device", "key = \"mac:\""), []string{`device.key: interface ""`}},
		{"interface without an address", text("device", "key = \"mac:lo\""), []string{`interface "lo" has no MAC address`}},
		{"file that is not there", text("device", "key = \"file:/no/such/file\""), []string{"device.key: ", "/no/such/file"}},
		{"file without a name", text("device", "key = \"file:\""), []string{"device.key: "}},
		{"too long", text("device", "key = \""+strings.Repeat("x", 129)+"\""), []string{"device.key is longer than 128 bytes"}},
		{"two lines", text("device", "key = \"a\\nb\""), []string{"device.key is not one line of text"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c, err := load(t, tt.data)
			if err == nil || c != nil {
				t.Fatalf("it was taken: %+v", c)
			}
			if f := ota.FaultOf(err); f.Code != ota.CodeConfig || f.Class != ota.Permanent || !strings.HasPrefix(err.Error(), "cannot ") {
				t.Errorf("got %s %s: %v", f.Class, f.Code, err)
			}
			for _, want := range tt.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("got %q\nwant %q in it", err, want)
				}
			}
			if strings.Contains(err.Error(), "hunter2") {
				t.Errorf("a password is in %q", err)
			}
		})
	}
}

func TestIdentity(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write := func(name, content string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return "file:" + path
	}
	for _, tt := range []struct{ value, want string }{
		{"box-1", "box-1"},
		{"00:11:22:33:44:55", "00:11:22:33:44:55"}, // colons do not make it a form
		{"sn:42", "sn:42"},
		{"mac:00:11:22:33:44:55", "mac:00:11:22:33:44:55"},
		{write("serial", "  SN 0042\n"), "SN 0042"},
		{write("empty", " \n"), ""},
		{write("lines", "a\nb\n"), ""},
		{write("binary", "\xff\xfe"), ""},
		{write("long", strings.Repeat("x", maxFile+1)), ""},
		{"file:" + dir, ""},
	} {
		got, err := identity("device.key", tt.value)
		if got != tt.want || (err == nil) != (tt.want != "") {
			t.Errorf("%q: got %q, %v", tt.value, got, err)
		}
	}
}

func TestNoSuchFile(t *testing.T) {
	t.Parallel()
	_, err := Load(filepath.Join(t.TempDir(), "none.toml"))
	if f := ota.FaultOf(err); !errors.Is(err, os.ErrNotExist) || f.Code != ota.CodeConfig || !strings.Contains(f.Hint, "--config") {
		t.Errorf("got %v", err)
	}
}

func TestRunningVersion(t *testing.T) {
	t.Parallel()
	for content, want := range map[string]ota.Version{
		"7":                        {Code: 7},
		"7\n":                      {Code: 7},
		"9007199254740993 2.0\n":   {Code: 1<<53 + 1, Name: "2.0"},
		"12\n2.0 beta\n":           {Code: 12, Name: "2.0 beta"},
		"0 factory":                {Name: "factory"},
		"":                         {Code: -1},
		" \n":                      {Code: -1},
		"2.0":                      {Code: -1},
		"-3":                       {Code: -1},
		"99999999999999999999 big": {Code: -1},
	} {
		path := filepath.Join(t.TempDir(), "version")
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		c := Config{Firmware: Firmware{VersionFile: path}}
		got, err := c.RunningVersion()
		if want.Code < 0 {
			if err == nil || ota.FaultOf(err).Code != ota.CodeConfig {
				t.Errorf("%q: got %v, %v", content, got, err)
			}
			continue
		}
		if got != want || err != nil {
			t.Errorf("%q: got %+v, %v", content, got, err)
		}
	}
}

func TestReadSecret(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "secret")
	for content, want := range map[string]string{"s3cret\n": "s3cret", "  a b \n": "a b", "\n": ""} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := ReadSecret(path); got != want || (err == nil) != (want != "") {
			t.Errorf("%q: got %q, %v", content, got, err)
		}
	}
	if _, err := ReadSecret(path + ".none"); ota.FaultOf(err).Code != ota.CodeConfig {
		t.Errorf("got %v", err)
	}
	if list, err := ReadFiles(path, path+".none"); err == nil || ota.FaultOf(err).Code != ota.CodeConfig {
		t.Errorf("got %q, %v", list, err)
	}
}

func TestUnits(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]int64{"0B": 0, "1B": 1, "1000B": 1000, "512KiB": 512 << 10, "16MiB": 16 << 20, "4GiB": 4 << 30, "1025KiB": 1025 << 10} {
		var s Size
		if err := s.UnmarshalText([]byte(text)); err != nil || int64(s) != want {
			t.Errorf("%q: got %d, %v", text, s, err)
		}
		if back, _ := s.MarshalText(); string(back) != text {
			t.Errorf("%q became %q", text, back)
		}
		var r Rate
		if err := r.UnmarshalText([]byte(text + "/s")); err != nil || int64(r) != want {
			t.Errorf("%q/s: got %d, %v", text, r, err)
		}
	}
	for text, want := range map[string]time.Duration{"0s": 0, "90s": 90 * time.Second, "2h30m": 150 * time.Minute, "250ms": 250 * time.Millisecond} {
		var d Duration
		if err := d.UnmarshalText([]byte(text)); err != nil || time.Duration(d) != want {
			t.Errorf("%q: got %v, %v", text, d, err)
		}
	}
}
