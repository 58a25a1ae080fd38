package ota

import (
	"errors"
	"fmt"
	"testing"
	"time"
)

func TestOfferKey(t *testing.T) {
	t.Parallel()
	keys := map[string]string{}
	for name, o := range map[string]Offer{
		"one":               {VersionCode: 2, VersionName: "2.0", URL: "http://h/2.swu"},
		"another version":   {VersionCode: 3, VersionName: "3.0", URL: "http://h/2.swu"},
		"another place":     {VersionCode: 2, VersionName: "2.0", URL: "http://h/2b.swu"},
		"a file":            {File: "/usb/2.swu"},
		"another file":      {File: "/usb/3.swu"},
		"a file, known":     {File: "/usb/2.swu", FileBytes: 7, FileTime: time.Unix(1, 0)},
		"a newer file":      {File: "/usb/2.swu", FileBytes: 7, FileTime: time.Unix(2, 0)},
		"a longer file":     {File: "/usb/2.swu", FileBytes: 8, FileTime: time.Unix(1, 0)},
		"a name like a key": {VersionName: "file:/usb/2.swu"},
	} {
		if other, twice := keys[o.Key()]; twice {
			t.Errorf("%q and %q have the same key", name, other)
		}
		keys[o.Key()] = name
	}
	prompted := Offer{VersionCode: 2, VersionName: "2.0", URL: "http://h/2.swu", Type: UpgradeForced, Prompt: "hello"}
	if keys[prompted.Key()] != "one" {
		t.Error("another prompt makes another offer")
	}
}

func TestBadOffers(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 1, 2, 0, 0, 0, time.UTC)
	var b Box
	b = b.Remember(BadOffer{Key: "for good", Code: CodeArtifactHash})
	b = b.Remember(BadOffer{Key: "today", Until: now.Add(time.Hour)})
	for _, tt := range []struct {
		name, key string
		at        time.Time
		want      bool
	}{
		{"for good", "for good", now.AddDate(10, 0, 0), true},
		{"while it rests", "today", now, true},
		{"when it rested", "today", now.Add(time.Hour), false},
		{"unknown", "other", now, false},
	} {
		if bad, got := b.IsBad(tt.key, tt.at); got != tt.want || got && bad.Key != tt.key {
			t.Errorf("%s: got %v %+v", tt.name, got, bad)
		}
	}
	old := b
	b = b.Remember(BadOffer{Key: "for good", Code: CodeUnhealthy})
	if bad, _ := b.IsBad("for good", now); len(b.Bad) != 2 || bad.Code != CodeUnhealthy {
		t.Errorf("a second failure did not replace the first: %+v", b.Bad)
	}
	if bad, _ := old.IsBad("for good", now); bad.Code != CodeArtifactHash {
		t.Error("the box before was changed")
	}
	if b = b.Forget("for good"); len(b.Bad) != 1 || len(old.Bad) != 2 {
		t.Errorf("forget: %+v, before %+v", b.Bad, old.Bad)
	}
	for i := range 3 * MaxBad {
		b = b.Remember(BadOffer{Key: fmt.Sprint(i)})
	}
	if len(b.Bad) != MaxBad || b.Bad[MaxBad-1].Key != fmt.Sprint(3*MaxBad-1) {
		t.Errorf("%d entries, the last %q", len(b.Bad), b.Bad[len(b.Bad)-1].Key)
	}
}

func TestBackoff(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name         string
		n            int
		first, limit time.Duration
		whole        time.Duration // the exponential
	}{
		{"the first", 1, time.Second, time.Minute, time.Second},
		{"the third", 3, time.Second, time.Minute, 4 * time.Second},
		{"before the first", -5, time.Second, time.Minute, time.Second},
		{"capped", 7, time.Second, time.Minute, time.Minute},
		{"far out", 1 << 30, time.Second, time.Minute, time.Minute},
		{"where doubling overflows", 25, time.Hour, 240 * time.Hour, 240 * time.Hour},
		{"a first above the limit", 1, time.Hour, time.Minute, time.Minute},
		{"no first", 1, 0, time.Minute, time.Minute},
	} {
		for _, roll := range []float64{0, 0.25, 0.5, 0.999999} {
			got := Backoff(tt.n, tt.first, tt.limit, roll)
			if got < tt.whole/10 || got > tt.whole {
				t.Errorf("%s, roll %v: %v is not between a tenth and the whole of %v", tt.name, roll, got, tt.whole)
			}
		}
	}
	for n := range 70 {
		if Backoff(n+1, time.Minute, 24*time.Hour, 0.5) < Backoff(n, time.Minute, 24*time.Hour, 0.5) {
			t.Errorf("the wait shrinks after attempt %d", n)
		}
	}
}

func TestFaultOf(t *testing.T) {
	t.Parallel()
	cause := errors.New("refused by peer")
	inner := NewRefused(CodeRateLimited, cause).WithHint("wait")
	inner.RetryAfter = time.Minute
	for _, tt := range []struct {
		name  string
		err   error
		class Class
		code  Code
		text  string
	}{
		{"a fault", inner, Refused, CodeRateLimited, "refused by peer"},
		{"a wrapped fault", fmt.Errorf("cannot check: %w", inner), Refused, CodeRateLimited, "cannot check: refused by peer"},
		{"a joined fault", errors.Join(errors.New("first"), inner), Refused, CodeRateLimited, "first\nrefused by peer"},
		{"nobody classed it", cause, Transient, CodeInternal, "refused by peer"},
	} {
		f := FaultOf(tt.err)
		if f.Class != tt.class || f.Code != tt.code || f.Error() != tt.text {
			t.Errorf("%s: got %s %s %q", tt.name, f.Class, f.Code, f)
		}
		if !errors.Is(f, cause) {
			t.Errorf("%s: the cause is lost", tt.name)
		}
		if tt.code == CodeRateLimited && (f.Hint != "wait" || f.RetryAfter != time.Minute) {
			t.Errorf("%s: hint or wait is lost: %+v", tt.name, f)
		}
	}
	if inner.Err != cause {
		t.Error("the inner fault was changed")
	}
	if FaultOf(nil) != nil || FailureOf(nil) != nil {
		t.Error("nothing became a fault")
	}
	if got := FailureOf(inner); *got != (Failure{Class: Refused, Code: CodeRateLimited, Text: "refused by peer", Hint: "wait"}) {
		t.Errorf("persisted: %+v", got)
	}
}
