package upgradelinktest

import "time"

// Report is one stored report.
type Report struct {
	At          time.Time // when it came, by the server's clock
	AccessKey   string    // who sent it
	Type        string    // app_start, app_upgrade_download, app_upgrade_upgrade
	AppKey      string
	Time        time.Time // when it happened, says the sender
	VersionCode int64
	LaunchTime  time.Time // app_start
	// TargetVersionCode is the downloadVersionCode or upgradeVersionCode.
	TargetVersionCode             int64
	Code                          int64
	ModelKey, DeviceKey, OS, Arch string // OS is the member "target"
}

// report stores what it understands and accepts nearly everything, as the
// server with a lenient database does.
func (c *call) report() {
	f := c.parse()
	rep := Report{At: c.now, AccessKey: c.r.Header.Get("X-AccessKey"), Type: f.str("eventType", true)}
	stamp := f.str("timestamp", true)
	rep.AppKey = f.str("appKey", true)
	data := f.object("eventData")
	launch := data.str("launchTime", false)
	rep.VersionCode = data.int("versionCode", false)
	rep.ModelKey, rep.DeviceKey = data.str("devModelKey", false), data.str("devKey", false)
	rep.OS, rep.Arch = data.str("target", false), data.str("arch", false)
	downloaded, upgraded := data.int("downloadVersionCode", false), data.int("upgradeVersionCode", false)
	rep.Code = data.int("code", false)
	if data.err != nil { // holds the failure of f, too
		c.fail(data.err)
		return
	}
	known := true
	var bad, badLaunch error
	rep.Time, bad = time.Parse(time.RFC3339, stamp)
	switch rep.Type {
	case "app_start":
		rep.LaunchTime, badLaunch = time.Parse(time.RFC3339, launch)
	case "app_upgrade_download":
		rep.TargetVersionCode = downloaded
	case "app_upgrade_upgrade":
		rep.TargetVersionCode = upgraded
	default:
		known = false
	}
	if bad != nil || badLaunch != nil {
		c.fail(internalError())
		return
	}
	if known {
		c.s.mu.Lock()
		c.s.reports = appended(c.s.reports, rep, maxReports)
		c.s.mu.Unlock()
	}
	c.succeed(0, msgReported, "", "")
}
