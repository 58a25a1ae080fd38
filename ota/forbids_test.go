package ota

import (
	"testing"
	"time"
)

// What was declined stays so from another place, until something newer comes;
// another failure is of its own offer only.
func TestForbids(t *testing.T) {
	t.Parallel()
	declined := Offer{VersionCode: 7, VersionName: "7.0", URL: "http://h/7.swu"}
	failed := Offer{VersionCode: 9, VersionName: "9.0", URL: "http://h/9.swu"}
	box := Box{}.Remember(BadOffer{Key: declined.Key(), Code: CodeDeclined, VersionCode: 7}).
		Remember(BadOffer{Key: failed.Key(), Code: CodeUnhealthy})
	for _, tt := range []struct {
		name  string
		offer Offer
		want  Code
	}{
		{"the same", declined, CodeDeclined},
		{"another place", Offer{VersionCode: 7, VersionName: "7.0", URL: "http://h/7b.swu"}, CodeDeclined},
		{"another name", Offer{VersionCode: 7, VersionName: "seven", URL: "http://h/7.swu"}, CodeDeclined},
		{"an older one", Offer{VersionCode: 6, VersionName: "6.0", URL: "http://h/6.swu"}, CodeDeclined},
		{"a newer one", Offer{VersionCode: 8, VersionName: "8.0", URL: "http://h/8.swu"}, ""},
		{"what failed", failed, CodeUnhealthy},
		{"what failed, mended", Offer{VersionCode: 9, VersionName: "9.0", URL: "http://h/9b.swu"}, ""},
		{"a file", Offer{File: "/usb/7.swu"}, ""},
	} {
		bad, is := box.Forbids(tt.offer, time.Unix(1, 0))
		if bad.Code != tt.want || is != (tt.want != "") {
			t.Errorf("%s: %q, want %q", tt.name, bad.Code, tt.want)
		}
	}
	if _, is := box.Forget(declined.Key()).Forbids(declined, time.Unix(1, 0)); is {
		t.Error("forbidden after a person took it all the same")
	}
}
