package upgradelinktest_test

import (
	"encoding/json"
	"fmt"
	"time"

	"otad/transport/upgradelink/upgradelinktest"
)

// The access keys of the recorded server; the second secret is our own.
const (
	ak  = "mui2W50H1j-OC4xD6PgQag"
	sk  = "PEbdHFGC0uO_Pch7XWBQTMsFRxKPQAM2565eP8LJ3gc"
	ak2 = "tenant2-AccessKey-0001"
	sk2 = "second-tenant-secret"
)

const files = "http://127.0.0.1:18080/artifacts/"

func urlVersion(code int64) upgradelinktest.Version {
	return upgradelinktest.Version{
		Code: code, Description: fmt.Sprintf("desc %d", code), URL: fmt.Sprintf("%sfw-%d.bin", files, code),
	}
}

// stock gives a server the applications of the recorded one, as far as they
// can be inferred from its answers.
func stock(s *upgradelinktest.Server) {
	past := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	future := time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC)
	prompt := upgradelinktest.Strategy{UpgradeType: 1, Prompt: "Prompt content"}
	with := func(change func(*upgradelinktest.Strategy)) upgradelinktest.Strategy {
		st := prompt
		change(&st)
		return st
	}
	publish := func(key string, code int64, how upgradelinktest.Strategy) {
		s.Publish(upgradelinktest.URL, key, urlVersion(code), how)
	}
	listed := func(key string, versions ...upgradelinktest.Version) {
		s.Edit(upgradelinktest.URL, key, func(a *upgradelinktest.App) { a.Versions = append(a.Versions, versions...) })
	}

	listed("url-plain", urlVersion(1), urlVersion(2))
	publish("url-plain", 3, upgradelinktest.Strategy{UpgradeType: 2, Prompt: "silent 3"})
	s.Publish(upgradelinktest.URL, "url-big", upgradelinktest.Version{
		Code: 9007199254740993, Name: "v9007199254.740.993", URL: files + "fw-9007199254740993.bin",
	}, prompt)
	publish("键-Unicode/key", 2, prompt)
	publish("url-forced", 2, upgradelinktest.Strategy{UpgradeType: 3,
		Prompt: "必须升级 <b>fix & \"quote\"</b> 🚀\nline2\ttab \\ / \u2028end"})
	publish("url-upgradetype0", 2, upgradelinktest.Strategy{})
	relative := urlVersion(2)
	relative.URL = "relative/fw.bin"
	listed("url-links", relative)
	s.Publish(upgradelinktest.URL, "url-links", upgradelinktest.Version{Code: 3}, prompt)
	listed("WT2DZ4vJy9H30VPlM6AqjA")
	listed("url-nostrategy", urlVersion(2))
	publish("url-expired", 2, with(func(st *upgradelinktest.Strategy) { st.Until = past }))
	publish("url-future", 2, with(func(st *upgradelinktest.Strategy) { st.From = future }))
	publish("url-disabled", 2, with(func(st *upgradelinktest.Strategy) { st.Disabled = true }))
	deleted := urlVersion(2)
	deleted.Deleted = true
	s.Publish(upgradelinktest.URL, "url-delver", deleted, prompt)
	publish("url-twosame", 2, upgradelinktest.Strategy{UpgradeType: 1, Prompt: "first strategy"})
	publish("url-twosame", 2, upgradelinktest.Strategy{UpgradeType: 1, Prompt: "second strategy"})
	publish("url-fromver", 3, prompt)
	publish("url-model", 2, with(func(st *upgradelinktest.Strategy) { st.Models = []string{"stv1", "机型-三"} }))
	publish("url-group", 2, with(func(st *upgradelinktest.Strategy) { st.Devices = []string{"LOYlLXNy7w"} }))
	publish("url-mixed", 2, prompt)
	publish("url-mixed", 3, with(func(st *upgradelinktest.Strategy) { st.Models = []string{"stv1"} }))
	publish("url-baddev", 2, upgradelinktest.Strategy{Broken: "Internal service error"})
	publish("url-badflow", 2, upgradelinktest.Strategy{
		Broken: `解析开始时间失败: parsing time "8:00" as "15:04:05": cannot parse "" as ":"`})

	// Calls that came before the recorded ones had used up a part.
	publish("url-gray", 2, with(func(st *upgradelinktest.Strategy) { st.Gray = &upgradelinktest.Gray{Limit: 1} }))
	publish("url-grayfall", 2, prompt)
	publish("url-grayfall", 3, with(func(st *upgradelinktest.Strategy) { st.Gray = &upgradelinktest.Gray{Limit: 1} }))
	publish("url-graywindow", 2, with(func(st *upgradelinktest.Strategy) { st.Gray = &upgradelinktest.Gray{Until: past} }))
	publish("url-flow", 2, with(func(st *upgradelinktest.Strategy) { st.Flow = onceADay() }))
	publish("url-flowsec", 2, with(func(st *upgradelinktest.Strategy) {
		st.Flow = &upgradelinktest.Flow{Limit: 1, Per: time.Second}
	}))
	stockOthers(s)
}

func onceADay() *upgradelinktest.Flow { return &upgradelinktest.Flow{Limit: 1, Per: 24 * time.Hour} }

func stockOthers(s *upgradelinktest.Server) {
	config := func(key, content string, how upgradelinktest.Strategy) {
		how.UpgradeType, how.Prompt = 2, "cfg"
		s.Publish(upgradelinktest.Configuration, key, upgradelinktest.Version{
			Code: 2, Description: "desc", Content: json.RawMessage(content)}, how)
	}
	config("cfg-main", `{"zeta":1,"alpha":{"n":null,"b":true,"list":[1,2.50,"x"]},"big":9007199254740993,"exp":1e3,
		"f":1.0,"huge":12345678901234567000,"url":"http://a/?x=1&y=<2>","名":"值😀"}`, upgradelinktest.Strategy{})
	s.Edit(upgradelinktest.Configuration, "cfg-main", func(a *upgradelinktest.App) {
		a.Versions = append(a.Versions, upgradelinktest.Version{Code: 1, Description: "desc"})
	})
	config("cfg-array", `[1,2]`, upgradelinktest.Strategy{})
	config("cfg-badjson", `{"a":`, upgradelinktest.Strategy{})
	config("cfg-null", `null`, upgradelinktest.Strategy{})
	config("cfg-model", `{"k":"model"}`, upgradelinktest.Strategy{Models: []string{"stv1"}})
	config("cfg-flow", `{}`, upgradelinktest.Strategy{Flow: &upgradelinktest.Flow{Per: time.Hour}})
	config("cfg-gray", `{}`, upgradelinktest.Strategy{Gray: &upgradelinktest.Gray{}})

	s.Edit(upgradelinktest.File, "file-main", func(a *upgradelinktest.App) {
		a.Versions = []upgradelinktest.Version{{Code: 1, URL: files + "fw-1.bin"}}
	})
	s.Publish(upgradelinktest.File, "file-main", upgradelinktest.Version{
		Code: 2, URL: files + "fw-2.bin", SizeBytes: 2097152,
	}, upgradelinktest.Strategy{UpgradeType: 1, Prompt: "file prompt"})

	s.Edit(upgradelinktest.APK, "apk-main", func(a *upgradelinktest.App) {
		a.PackageName = "com.a.c"
		a.Versions = []upgradelinktest.Version{{Code: 1, URL: files + "app-1.apk"}}
	})
	s.Publish(upgradelinktest.APK, "apk-main", upgradelinktest.Version{
		Code: 2, URL: files + "app-2.apk", SizeBytes: 7213, MD5: "bf77a72f6aac6a8950019fe69283f23b",
	}, upgradelinktest.Strategy{UpgradeType: 3, Prompt: "apk prompt"})

	for _, kind := range []upgradelinktest.Kind{upgradelinktest.Linux, upgradelinktest.Windows} {
		key := string(kind) + "-main"
		s.Edit(kind, key, func(a *upgradelinktest.App) { a.PackageName = "com.example." + string(kind) })
		for _, arch := range []string{"arm64", "x64"} {
			s.Publish(kind, key, upgradelinktest.Version{
				Code: 2, Arch: arch, Description: arch + " 2", URL: files + "fw-2.bin",
				SizeBytes: 2097152, MD5: "50bfaa442ec2178ab487c74f3328107b",
			}, upgradelinktest.Strategy{UpgradeType: 2, Prompt: string(kind) + " " + arch})
		}
	}
}

// prepare does what happened on the recorded server before a row.
func prepare(s *upgradelinktest.Server, name string) {
	if name == "sdk/UrlUpgrade flow limit call 2" {
		s.Edit(upgradelinktest.URL, "url-flow", func(a *upgradelinktest.App) { a.Strategies[0].Flow = onceADay() })
	}
}
