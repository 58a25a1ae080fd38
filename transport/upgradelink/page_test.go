package upgradelink_test

import (
	"encoding/json"
	"testing"

	"otad/transport/upgradelink"
	"otad/transport/upgradelink/upgradelinktest"
)

// The answer of win/version as on the vendor's page: 21 members, of which the
// open-source server has 6 (7 with the key). Each comes through as it is.
func TestWindowsVersionAsOnThePage(t *testing.T) {
	t.Parallel()
	const members = `{"winKey":"isVZBUvkFhv6oHxk_X-D0Q","packageName":"com.a.c","versionName":"v2","versionCode":2,"description":"Description content",
		"pubDate":"2024-02-17T10:34:55+08:00","arch":"x64","releaseNote":"Release note content","changelog":"Changelog content","upgradeMode":1,
		"forcedUpgradeVersionCode":1,"silentUpgradeVersionCode":1,"target":"win","releaseUrl":"https://example.com/windows-app-v2.exe","updateType":"manual",
		"md5":"md5 value","sha256":"sha256 value","downloadUrl":"https://example.com/windows-app-v2.exe","fileSize":1024000,"downloadTimes":100,"isPreRelease":true}`
	s := upgradelinktest.NewServer(upgradelinktest.Options{})
	t.Cleanup(s.Close)
	s.Inject(upgradelinktest.Fault{Path: "/v1/win/version", Status: 200, ContentType: "application/json",
		Body: `{"code":200,"msg":"Version details found","data":` + members + `}`})
	c, err := upgradelink.New(upgradelink.Options{BaseURL: s.URL, AccessKey: upgradelinktest.DemoAccessKey, Secret: upgradelinktest.DemoSecretKey})
	if err != nil {
		t.Fatal(err)
	}
	v, err := c.VersionWindows(t.Context(), upgradelink.Query{Key: "isVZBUvkFhv6oHxk_X-D0Q", VersionCode: 2, Arch: "x64"})
	if err != nil {
		t.Fatal(err)
	}
	var want, got map[string]any
	data, err := json.Marshal(v)
	if err == nil {
		err = json.Unmarshal(data, &got)
	}
	if err == nil {
		err = json.Unmarshal([]byte(members), &want)
	}
	if err != nil {
		t.Fatal(err)
	}
	delete(want, "winKey") // who asked knows it
	if len(want) != 20 {
		t.Errorf("the page has 21 members, this is of %d", len(want)+1)
	}
	for name, value := range want {
		if got[name] != value {
			t.Errorf("%s is %v, the server said %v", name, got[name], value)
		}
	}
}
