package upgradelinktest

import "fmt"

// The server's own words.
const (
	docSite      = "https://www.toolsetlink.com/upgrade/"
	msgInternal  = "Internal service error"
	msgParameter = "Request parameter error"
	msgFlow      = "Request flow control restrictions"
	docsFlow     = "The request flow control policy for the current upgrade task configuration has reached its limit. Please try again later."
	msgLatest    = "Already latest version"
	docsLatest   = "It's already the latest version and no upgrade is required"
	msgNew       = "New version available"
	msgReported  = "上报成功"
)

// docsInternal is the advice that goes with an internal error; errors of the
// parsers come without.
func docsInternal(msg string) string {
	if msg != msgInternal {
		return ""
	}
	return "UpgradeLink internal service error. Please contact us for assistance: " + docSite + "contact-us.html"
}

func internalError() *failure {
	return &failure{500001, msgInternal, docsInternal(msgInternal)}
}

func badParameter(kind Kind, page string) *failure {
	return &failure{400003, msgParameter,
		fmt.Sprintf("Please refer to the documentation: %sapi/%s/get-%s-%s.html", docSite, kind, kind, page)}
}

// noApp names the wrong key for lnx and win, as the server does.
func noApp(kind Kind) *failure {
	name := kind
	if kind.hasArch() {
		name = APK
	}
	return &failure{404001, "The requested application does not exist", fmt.Sprintf(
		"No application corresponding to the %sKey was found. Please confirm that it has been correctly created in the system. Refer to the documentation: %srecommend/%s/app.html",
		name, docSite, kind)}
}

func noVersion(kind Kind) *failure {
	return &failure{404001, "No available version was found", fmt.Sprintf(
		"No corresponding application version was found. Please confirm that it has been correctly created in the system. Refer to the documentation: %srecommend/%s/app-version.html",
		docSite, kind)}
}
