package main_test

import (
	"bytes"
	"crypto/md5"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"otad/agent/config"
	"otad/agent/report"
	"otad/cmd/internal/cli"
	"otad/ota"
	"otad/ota/swu"
	"otad/transport/download/downloadtest"
	"otad/transport/upgradelink/upgradelinktest"
)

const configurationKey = "settings"

// script writes an executable of the box and returns its path.
func (b *box) script(name, text string) string {
	b.t.Helper()
	must(b.t, os.WriteFile(b.path(name), []byte("#!/bin/sh\n"+text+"\n"), 0o755))
	return b.path(name)
}

// withConfiguration gives the box a configuration channel, whose hook keeps
// what it gets in the file "applied".
func (b *box) withConfiguration(c *config.Config) {
	b.write("schema.json", []byte(`{"properties":{"volume":{"type":"integer","maximum":10},"otad":{}},"additionalProperties":false}`))
	c.Configuration.Key = configurationKey
	c.Configuration.Apply = b.script("apply", "cat > "+b.path("applied"))
	c.Configuration.Health = b.script("config-health", "! grep -q '\"volume\":9' "+b.path("applied")+" || { echo too loud >&2; exit 1; }")
	c.Configuration.Schema = b.path("schema.json")
}

func (s *site) configuration(code int64, content string) {
	s.api.Publish(upgradelinktest.Configuration, configurationKey,
		upgradelinktest.Version{Code: code, Content: json.RawMessage(content)}, upgradelinktest.Strategy{UpgradeType: 2})
}

// The configuration of the server is applied, tunes the agent at once and after
// a restart, and a bad one leaves all as it was.
func TestConfigurationChannel(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.configuration(2, `{"volume": 5, "otad": {"policy": {"windows": ["02:00-03:00"]}}}`)
	b := newBox(t, s)
	b.configure(b.withConfiguration)
	b.otad("config", "check").want(cli.Done)
	service := b.start()
	runs := func(code int64) func(report.State) bool {
		return func(s report.State) bool {
			return s.Configuration != nil && s.Configuration.Version.Code == code && s.Configuration.To == nil
		}
	}
	service.await(runs(2))
	if got := string(b.read(b.path("applied"))); got != `{"otad":{"policy":{"windows":["02:00-03:00"]}},"volume":5}` {
		t.Errorf("the hook got %s", got)
	}
	b.otad("config", "status").want(cli.Done).said("version 2 (v2), since ")
	b.otad("status").want(cli.Done).said("configuration  version 2 (v2)")
	for code, row := range map[int64]struct{ content, why string }{
		3: {`{"volume": 11}`, "configuration-schema"},
		4: {`{"volume": 9}`, "unhealthy"},
		5: {`{"volume": 1, "otad": {"trust": {"ca": ["/tmp/mine.pem"]}}}`, "configuration-tuning"},
	} {
		s.api.Delete(upgradelinktest.Configuration, configurationKey)
		s.configuration(code, row.content)
		last := service.await(func(s report.State) bool {
			c := s.Configuration
			return c != nil && c.Bad != nil && c.Bad.Code == code && c.To == nil
		})
		if got := string(last.Configuration.Failure.Code); got != row.why || last.Configuration.Version.Code != 2 {
			t.Errorf("version %d: %s, %+v", code, got, last.Configuration)
		}
		if got := string(b.read(b.path("applied"))); !strings.Contains(got, `"volume":5`) {
			t.Errorf("after version %d the application has %s", code, got)
		}
	}
	var ends []string
	for _, o := range b.history() {
		ends = append(ends, fmt.Sprintf("%s %s", o.Kind, o.Result))
	}
	slices.Sort(ends)
	if got := strings.Join(ends, ", "); got != "configuration confirmed, configuration failed, configuration failed, configuration rolled-back" {
		t.Errorf("history: %s", got)
	}
	if !strings.Contains(service.log.String(), "tuned by the configuration") {
		t.Error("the agent was not tuned at once")
	}
	service.kill()
	again := b.start()
	again.await(runs(2))
	if !strings.Contains(again.log.String(), "tuned by the configuration") {
		t.Errorf("the agent is not tuned after a restart:\n%s", again.log.String())
	}
}

// Killed while the hook runs, otad goes on with it at the next start.
func TestConfigurationSurvivesKill(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.configuration(2, `{"volume": 5}`)
	b := newBox(t, s)
	b.configure(func(c *config.Config) {
		b.withConfiguration(c)
		c.Configuration.Apply = b.script("apply", "echo x >> "+b.path("calls")+"; [ $(wc -l < "+b.path("calls")+") -gt 1 ] || sleep 30; cat > "+b.path("applied"))
	})
	service := b.start()
	service.await(func(s report.State) bool { return s.Configuration != nil && s.Configuration.To != nil })
	service.kill()
	service = b.start()
	service.await(func(s report.State) bool { return s.Configuration != nil && s.Configuration.Version.Code == 2 })
	if got := string(b.read(b.path("applied"))); got != `{"volume":5}` {
		t.Errorf("the hook got %s", got)
	}
}

// packageOf packs a side package.
func packageOf(t *testing.T, name, version string, content []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	stored, err := swu.Compress(&bytes.Buffer{}, bytes.NewReader(content), swu.KindNone)
	must(t, err)
	must(t, swu.Pack(&out, swu.Manifest{Version: version, Model: model, Payloads: []swu.Payload{
		{Filename: name + ".bin", Name: name, Stored: stored, Content: bytes.NewReader(content)}}}, authority().Signer))
	return out.Bytes()
}

// Three packages of three kinds and three trusts in one round, and one that
// fails beside them; the routes of the vendor's pages are all asked; nothing
// restarts; the server's statistics are told.
func TestSidePackages(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	put := func(path string, content []byte) string {
		s.host.Add(path, downloadtest.Bytes(content))
		return s.url + path
	}
	apk, exe, remote := []byte("PK an application"), []byte("MZ a program"), []byte("firmware of a remote control")
	signature, err := authority().Signer.Sign(apk)
	must(t, err)
	put("/apps/launcher.apk.sig", signature)
	weak, strong := md5.Sum(apk), sha256.Sum256(exe)
	s.api.Publish(upgradelinktest.APK, "apk-key", upgradelinktest.Version{Code: 5, Name: "5.0", Description: "faster", URL: put("/apps/launcher.apk", apk),
		SizeBytes: int64(len(apk)), MD5: hex.EncodeToString(weak[:])}, upgradelinktest.Strategy{UpgradeType: 2})
	s.api.Publish(upgradelinktest.URL, "remote-key", upgradelinktest.Version{Code: 3, URL: put("/remote-3.swu", packageOf(t, "remote", "3", remote))},
		upgradelinktest.Strategy{UpgradeType: 2})
	s.api.Publish(upgradelinktest.Windows, "win-key", upgradelinktest.Version{Code: 2, Arch: "x64", URL: put("/tool.exe", exe)}, upgradelinktest.Strategy{UpgradeType: 2})
	s.api.Publish(upgradelinktest.APK, "forged-key", upgradelinktest.Version{Code: 2, URL: put("/forged.apk", []byte("PK evil"))}, upgradelinktest.Strategy{UpgradeType: 2})
	put("/forged.apk.sig", signature) // of another file
	// The look-up as on the vendor's page, with the hash that the offer lacks.
	s.api.Inject(upgradelinktest.Fault{Path: "/v1/win/version", Status: 200, ContentType: "application/json", Body: fmt.Sprintf(`{"code":200,
		"msg":"Version details found","data":{"winKey":"win-key","packageName":"com.a.c","versionName":"v2","versionCode":2,"description":"Description content",
		"pubDate":"2024-02-17T10:34:55+08:00","arch":"x64","releaseNote":"note","changelog":"log","upgradeMode":1,"forcedUpgradeVersionCode":1,
		"silentUpgradeVersionCode":1,"target":"win","releaseUrl":"https://example.com/v2.exe","updateType":"manual","md5":"","sha256":%q,
		"downloadUrl":"https://example.com/v2.exe","fileSize":%d,"downloadTimes":100,"isPreRelease":false}}`, hex.EncodeToString(strong[:]), len(exe))})
	s.configuration(2, `{"volume": 1}`)
	b := newBox(t, s)
	b.configure(func(c *config.Config) {
		b.withConfiguration(c)
		c.Server.Report = true
		install := b.script("install", "cp \"$1\" "+b.path("installed-")+"$(sed 's/.*\"name\":\"\\([a-z]*\\)\".*/\\1/')")
		for _, p := range []config.Package{
			{Name: "launcher", Kind: "apk", Key: "apk-key", Trust: "cms"}, {Name: "remote", Kind: "url", Key: "remote-key", Trust: "swu"},
			{Name: "forged", Kind: "apk", Key: "forged-key", Trust: "cms"}, {Name: "tool", Kind: "win", Key: "win-key", Arch: "x64", Trust: "hash-only"},
		} {
			p.Install = install
			c.Packages = append(c.Packages, p)
		}
	})
	service := b.start()
	last := service.await(func(s report.State) bool {
		done := 0
		for _, p := range s.Packages {
			if p.Phase == ota.PhaseIdle && (p.Version.Code > 0 || p.Bad != nil) {
				done++
			}
		}
		return done == 4
	})
	for name, want := range map[string][]byte{"launcher": apk, "remote": remote, "tool": exe} {
		if got := b.read(b.path("installed-" + name)); !bytes.Equal(got, want) {
			t.Errorf("%s: installed %q", name, got)
		}
	}
	if _, err := os.Stat(b.path("installed-forged")); err == nil || last.Packages[2].Failure.Code != ota.CodeArtifactSignature {
		t.Errorf("the forged one: %v, %+v", err, last.Packages[2])
	}
	if last.Version.Code != 1 || last.Slot != "a" || b.rebootWanted() != "" {
		t.Errorf("a package restarted the box: %+v", last)
	}
	b.otad("status").want(cli.Done).said("launcher", "version 5 (5.0)", "remote", "version 3 (v3)", "version 2 (v2) failed", "artifact-signature")
	asked := map[string]bool{}
	for _, r := range s.api.Requests() {
		asked[r.Target] = true
	}
	for _, route := range []string{"/v1/url/upgrade", "/v1/configuration/version", "/v1/apk/version", "/v1/win/version", "/v1/configuration/upgrade", "/v1/apk/upgrade", "/v1/win/upgrade", "/v1/url/version"} {
		if !asked[route] {
			t.Errorf("%s was not asked", route)
		}
	}
	ends := map[string]ota.Phase{}
	for _, o := range b.history() {
		ends[o.Kind+" "+o.Name] = o.Result
	}
	if len(ends) != 5 || ends["package launcher"] != ota.PhaseConfirmed || ends["package forged"] != ota.PhaseFailed {
		t.Errorf("history: %v", ends)
	}
	awaitReports(t, s, "app_start firmware 0 0", "app_upgrade_upgrade settings 2 0", "app_upgrade_download apk-key 5 0", "app_upgrade_upgrade apk-key 5 0",
		"app_upgrade_upgrade forged-key 2 1", "app_upgrade_upgrade win-key 2 0")
}

// awaitReports waits until the server's statistics have the reports.
func awaitReports(t *testing.T, s *site, want ...string) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for {
		var got []string
		for _, r := range s.api.Reports() {
			got = append(got, fmt.Sprintf("%s %s %d %d", r.Type, r.AppKey, r.TargetVersionCode, r.Code))
		}
		missing := slices.DeleteFunc(slices.Clone(want), func(w string) bool { return slices.Contains(got, w) })
		if len(missing) == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("the server has %q, not %q", got, missing)
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// The firmware's reports: the download when it is there, the upgrade only after
// the new system was confirmed.
func TestFirmwareReports(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.release(t, system{code: 2})
	b := newBox(t, s, func(c *config.Config) { c.Server.Report = true })
	b.live(ended(2))
	awaitReports(t, s, "app_start firmware 0 0", "app_upgrade_download firmware 2 0", "app_upgrade_upgrade firmware 2 0")
	for _, r := range s.api.Reports() {
		if r.Type == "app_upgrade_upgrade" && (r.VersionCode != 2 || r.ModelKey != model || r.DeviceKey != device || r.OS != "linux" || r.Arch == "") {
			t.Errorf("report %+v", r)
		}
	}
}
