package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"otad/cmd/internal/cli"
	"otad/transport/upgradelink/upgradelinktest"
)

// api runs the command and returns exit code, standard output and error.
func api(t *testing.T, args ...string) (int, string, string) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	env := cli.Env{Stdin: strings.NewReader(""), Stdout: &stdout, Stderr: &stderr}
	code := cli.Main("otactl", "test", env, []cli.Command{apiCommand()}, append([]string{"api"}, args...))
	return code, stdout.String(), stderr.String()
}

func TestAPI(t *testing.T) {
	t.Parallel()
	s := upgradelinktest.NewServer(upgradelinktest.Options{})
	t.Cleanup(s.Close)
	s.Publish(upgradelinktest.URL, "fw",
		upgradelinktest.Version{Code: 9007199254740993, Name: "big", URL: "http://h/2.swu?a=1&b=2", Description: "two"},
		upgradelinktest.Strategy{UpgradeType: 2, Prompt: "a\nb", Models: []string{"stv1"}})
	s.Publish(upgradelinktest.Configuration, "cfg",
		upgradelinktest.Version{Code: 2, Content: json.RawMessage(`{"b":1,"a":"x"}`)}, upgradelinktest.Strategy{})
	s.Publish(upgradelinktest.APK, "apk", upgradelinktest.Version{Code: 2, Description: "a"}, upgradelinktest.Strategy{})
	s.Edit(upgradelinktest.APK, "apk", func(a *upgradelinktest.App) { a.PackageName = "tv.app" })
	s.Publish(upgradelinktest.Windows, "win",
		upgradelinktest.Version{Code: 2, Arch: "x64", Description: "w"}, upgradelinktest.Strategy{})

	dir := t.TempDir()
	secret := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	good := secret("good", upgradelinktest.DemoSecretKey)
	server := []string{"--server", s.URL, "--access-key", upgradelinktest.DemoAccessKey, "--secret-file", good}

	for _, row := range []struct {
		name   string
		args   string
		server []string
		code   int
		stdout string
		stderr string // a part of it
	}{
		{"offer", "url-upgrade --key fw --code 1 --model stv1", server, cli.Done, `urlKey                fw
versionName           big
versionCode           9007199254740993
upgradeType           2 (silent)
promptUpgradeContent  "a\nb"
urlPath               http://h/2.swu?a=1&b=2
`, ""},
		{"offer as JSON", "url-upgrade --key fw --code 1 --model stv1 --json", server, cli.Done,
			`{"urlKey":"fw","versionName":"big","versionCode":9007199254740993,"upgradeType":2,"promptUpgradeContent":"a\nb","urlPath":"http://h/2.swu?a=1&b=2"}` + "\n", ""},
		{"nothing", "url-upgrade --key fw --code 1 --model other", server, cli.Nothing,
			"nothing for this box: up to date, not targeted, or the rollout is paused or full\n", ""},
		{"nothing as JSON", "--json url-upgrade --key fw --code 1", server, cli.Nothing, "null\n", ""},
		{"configuration", "configuration-upgrade --key cfg --code 1", server, cli.Done, `configurationKey      cfg
versionName           v2
versionCode           2
upgradeType           0 (unknown)
promptUpgradeContent  
content               {"a":"x","b":1}
`, ""},
		{"configuration version", "configuration-version --key cfg --code 2 --json", server, cli.Done,
			`{"versionName":"v2","versionCode":2,"description":""}` + "\n", ""},
		{"apk version", "apk-version --key apk --code 2 --json", server, cli.Done,
			`{"versionName":"v2","versionCode":2,"description":"a","packageName":"tv.app"}` + "\n", ""},
		{"win version", "win-version --key win --code 2 --arch x64 --json", server, cli.Done,
			`{"versionName":"v2","versionCode":2,"description":"w"}` + "\n", ""},
		{"report", "app-report --key fw --code 1 --appoint 2 --event app_upgrade_upgrade --result 1004", server, cli.Done, "reported  true\n", ""},
		{"unknown version", "url-version --key fw --code 7", server, cli.Failed, "", "code 404001"},
		{"wrong secret", "url-upgrade --key fw --code 1",
			[]string{"--server", s.URL, "--access-key", upgradelinktest.DemoAccessKey, "--secret-file", secret("bad", "wrong")},
			cli.Failed, "", "hint: the secret key is wrong"},
		{"no secret file", "url-upgrade --key fw --code 1",
			[]string{"--server", s.URL, "--access-key", "a", "--secret-file", filepath.Join(dir, "none")}, cli.BadConfig, "", "cannot read secret key"},
		{"bad server", "url-upgrade --key fw --code 1",
			[]string{"--server", "example.com", "--access-key", "a", "--secret-file", good}, cli.BadConfig, "", "hint: [server] url"},
		{"no route", "", server, cli.Usage, "", "missing operand"},
		{"unknown route", "fw-upgrade --key fw --code 1", server, cli.Usage, "", "url-upgrade"},
		{"no code", "url-upgrade --key fw", server, cli.Usage, "", "missing option --code"},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			code, stdout, stderr := api(t, append(strings.Fields(row.args), row.server...)...)
			if code != row.code {
				t.Errorf("exit code %d, want %d\n%s", code, row.code, stderr)
			}
			if stdout != row.stdout {
				t.Errorf("stdout:\n%q\nwant\n%q", stdout, row.stdout)
			}
			if !strings.Contains(stderr, row.stderr) || row.stderr == "" && stderr != "" {
				t.Errorf("stderr %q, want %q", stderr, row.stderr)
			}
			if strings.Contains(stderr, upgradelinktest.DemoSecretKey) {
				t.Errorf("the secret shows: %s", stderr)
			}
		})
	}
}
