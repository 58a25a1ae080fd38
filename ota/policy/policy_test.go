package policy

import (
	"strings"
	"testing"
	"time"
	_ "time/tzdata" // the machine that runs the tests may have none
)

const (
	prompt, silent, forcedType, unknown = Prompt, Silent, Forced, Upgrade(0)
	yesSaid, noSaid, unsaid             = "yes", "no", ""
)

func at(t testing.TB, zone, text string) time.Time {
	t.Helper()
	location, err := time.LoadLocation(zone)
	if err != nil {
		t.Fatal(err)
	}
	when, err := time.ParseInLocation("2006-01-02 15:04", text, location)
	if err != nil {
		t.Fatal(err)
	}
	return when
}

func windows(t testing.TB, list string) []Window {
	t.Helper()
	var ws []Window
	for _, s := range strings.Fields(list) {
		w, err := ParseWindow(s)
		if err != nil {
			t.Fatal(err)
		}
		ws = append(ws, w)
	}
	return ws
}

// Who may do what, with the viewer busy or not, inside or outside of the
// window 02:00-05:00. "no" is no until something happens; "later" is no with a
// time to ask again.
func TestDecide(t *testing.T) {
	t.Parallel()
	const inside, outside = "2026-03-10 03:00", "2026-03-10 20:00"
	for _, tt := range []struct {
		upgrade Upgrade
		consent string
		busy    string
		now     string

		download, install, reboot string
	}{
		// Prompt: not even fetched before the viewer agreed; then as a silent one.
		{prompt, unsaid, "", inside, "no", "no", "no"},
		{prompt, unsaid, "watching", inside, "no", "no", "no"},
		{prompt, unsaid, "", outside, "no", "no", "no"},
		{prompt, noSaid, "", inside, "no", "no", "no"},
		{prompt, yesSaid, "", inside, "yes", "yes", "yes"},
		{prompt, yesSaid, "", outside, "yes", "yes", "later"},
		{prompt, yesSaid, "recording", outside, "yes", "yes", "later"},
		{prompt, yesSaid, "recording", inside, "yes", "yes", "later"},
		// A type that is not known is treated as the gentlest.
		{unknown, unsaid, "", inside, "no", "no", "no"},
		{unknown, noSaid, "", inside, "no", "no", "no"},
		{unknown, yesSaid, "", outside, "yes", "yes", "later"},
		{Upgrade(9), unsaid, "", inside, "no", "no", "no"},
		// Silent: in the window, while nobody watches.
		{silent, unsaid, "", inside, "yes", "yes", "yes"},
		{silent, unsaid, "", outside, "yes", "yes", "later"},
		{silent, unsaid, "watching", inside, "yes", "yes", "later"},
		{silent, unsaid, "watching", outside, "yes", "yes", "later"},
		{silent, yesSaid, "", outside, "yes", "yes", "later"},
		{silent, yesSaid, "watching", outside, "yes", "yes", "later"},
		{silent, noSaid, "", inside, "yes", "yes", "yes"}, // nobody asked
		// Forced: at once when nobody watches, else after the countdown.
		{forcedType, unsaid, "", outside, "yes", "yes", "yes"},
		{forcedType, unsaid, "watching", outside, "yes", "yes", "later"},
		{forcedType, unsaid, "watching", inside, "yes", "yes", "later"},
		{forcedType, noSaid, "watching", inside, "yes", "yes", "later"},
		{forcedType, noSaid, "", inside, "yes", "yes", "yes"},
	} {
		now := at(t, "Europe/Berlin", tt.now)
		f := Facts{Now: now, Begun: now, Type: tt.upgrade, Agreed: tt.consent == yesSaid, Busy: tt.busy,
			Rules: Rules{Windows: windows(t, "02:00-05:00"), Countdown: 10 * time.Minute}}
		for q, want := range map[Question]string{Download: tt.download, Install: tt.install, Reboot: tt.reboot} {
			v := Decide(q, f)
			got := "no"
			switch {
			case v.Allowed:
				got = "yes"
			case !v.At.IsZero() || v.Again > 0:
				got = "later"
			}
			if got != want || v.Allowed != (v.Reason == "") || v.Allowed && !v.At.IsZero() || !v.At.IsZero() && !v.At.After(now) {
				t.Errorf("type %d, consent %q, busy %q, %s: %s? got %s (%+v), want %s", tt.upgrade, tt.consent, tt.busy, tt.now, q, got, v, want)
			}
			f := f
			f.Force = true
			if v := Decide(q, f); v != yes {
				t.Errorf("type %d, consent %q, busy %q, %s: %s, pressed: got %+v", tt.upgrade, tt.consent, tt.busy, tt.now, q, v)
			}
		}
	}
}

// The countdown of a forced update, from 20:00 on, ten minutes long.
func TestCountdown(t *testing.T) {
	t.Parallel()
	since := at(t, "Europe/Berlin", "2026-03-10 20:00")
	for _, tt := range []struct {
		name    string
		now     time.Time
		allowed bool
		at      time.Time
	}{
		{"at its start", since, false, since.Add(10 * time.Minute)},
		{"half-way", since.Add(5 * time.Minute), false, since.Add(10 * time.Minute)},
		{"a moment before its end", since.Add(10*time.Minute - 1), false, since.Add(10 * time.Minute)},
		{"at its end", since.Add(10 * time.Minute), true, time.Time{}},
		{"a day later", since.AddDate(0, 0, 1), true, time.Time{}},
		{"the clock jumped back by a minute", since.Add(-time.Minute), true, time.Time{}},
		{"the clock jumped back to 1970", time.Unix(0, 0), true, time.Time{}},
	} {
		got := Decide(Reboot, Facts{Now: tt.now, Begun: since, Type: forcedType, Busy: "watching", Rules: Rules{Countdown: 10 * time.Minute}})
		if got.Allowed != tt.allowed || !got.At.Equal(tt.at) {
			t.Errorf("%s: got %+v", tt.name, got)
		}
	}
	if got := Decide(Reboot, Facts{Now: since, Begun: since, Type: forcedType, Busy: "watching"}); got != yes {
		t.Errorf("no countdown: got %+v", got)
	}
}

// Windows over the day, over midnight and over the days on which the clocks
// change: Berlin on 29 March (2:00 to 3:00) and 25 October 2026 (3:00 to 2:00),
// New York on 8 March and 1 November 2026.
func TestWindows(t *testing.T) {
	t.Parallel()
	const berlin, newYork = "Europe/Berlin", "America/New_York"
	for _, tt := range []struct {
		zone, windows, now string
		next               string // "" when it is open now; UTC otherwise
	}{
		{berlin, "", "2026-03-10 12:00", ""}, // none: any time
		{berlin, "02:00-05:00", "2026-03-10 01:59", "2026-03-10 01:00"},
		{berlin, "02:00-05:00", "2026-03-10 02:00", ""},
		{berlin, "02:00-05:00", "2026-03-10 04:59", ""},
		{berlin, "02:00-05:00", "2026-03-10 05:00", "2026-03-11 01:00"},
		{berlin, "02:00-05:00", "2026-12-31 23:00", "2027-01-01 01:00"},
		{berlin, "00:00-24:00", "2026-03-10 23:59", ""},
		{berlin, "20:00-24:00", "2026-03-10 23:59", ""},
		{berlin, "20:00-24:00", "2026-03-11 00:00", "2026-03-11 19:00"},
		{berlin, "20:00-00:00", "2026-03-10 23:59", ""},
		{berlin, "20:00-00:00", "2026-03-11 00:00", "2026-03-11 19:00"},
		// Over midnight.
		{berlin, "22:00-04:00", "2026-03-10 21:59", "2026-03-10 21:00"},
		{berlin, "22:00-04:00", "2026-03-10 22:00", ""},
		{berlin, "22:00-04:00", "2026-03-11 00:00", ""},
		{berlin, "22:00-04:00", "2026-03-11 03:59", ""},
		{berlin, "22:00-04:00", "2026-03-11 04:00", "2026-03-11 21:00"},
		// Several: the nearest counts.
		{berlin, "02:00-03:00 13:00-14:00", "2026-03-10 03:00", "2026-03-10 12:00"},
		{berlin, "13:00-14:00 02:00-03:00", "2026-03-10 14:00", "2026-03-11 01:00"},
		{berlin, "02:00-03:00 13:00-14:00", "2026-03-10 13:30", ""},
		// The clock skips an hour: what is left of the window is open.
		{berlin, "02:00-05:00", "2026-03-29 01:59", "2026-03-29 01:00"},
		{berlin, "02:00-05:00", "2026-03-29 03:00", ""},
		{berlin, "01:00-04:00", "2026-03-29 03:30", ""},
		{newYork, "02:00-05:00", "2026-03-08 01:59", "2026-03-08 07:00"},
		{newYork, "02:00-05:00", "2026-03-08 03:00", ""},
		{newYork, "22:00-03:30", "2026-03-08 03:15", ""},
		// A window that lies in the gap is not there on that day.
		{berlin, "02:00-02:30", "2026-03-29 03:00", "2026-03-30 00:00"},
		{newYork, "02:00-02:30", "2026-03-08 03:00", "2026-03-09 06:00"},
		// An hour comes twice: the window is open both times.
		{berlin, "02:00-03:00", "2026-10-25 01:59", "2026-10-25 00:00"},
		{berlin, "02:00-03:00", "2026-10-25 02:30", ""},
		{berlin, "02:00-03:00", "2026-10-25 03:00", "2026-10-26 01:00"},
		{newYork, "01:00-02:00", "2026-11-01 00:30", "2026-11-01 05:00"},
		{newYork, "01:00-02:00", "2026-11-01 01:30", ""},
		{newYork, "01:00-02:00", "2026-11-01 02:00", "2026-11-02 06:00"},
		{"UTC", "02:00-05:00", "1970-01-01 00:00", "1970-01-01 02:00"},
	} {
		now := at(t, tt.zone, tt.now)
		got := Decide(Reboot, Facts{Now: now, Type: silent, Rules: Rules{Windows: windows(t, tt.windows)}})
		if tt.next == "" {
			if got != yes {
				t.Errorf("%s, %q at %s: got %+v, want it open", tt.zone, tt.windows, tt.now, got)
			}
			continue
		}
		if want := at(t, "UTC", tt.next); got.Allowed || !got.At.Equal(want) {
			t.Errorf("%s, %q at %s: got %+v (%v), want closed until %v", tt.zone, tt.windows, tt.now, got, got.At.UTC(), want)
		}
	}
	// The second pass through the hour that comes twice.
	second := at(t, berlin, "2026-10-25 01:30").Add(2 * time.Hour)
	if w := (Window{Start: 120, End: 180}); second.Hour() != 2 || !w.Contains(second) {
		t.Errorf("%v is not in the window", second)
	}
}

// Day by day through a year in zones with odd rules: a window opens again
// within two days, and it is open when it is said to open, and not before.
func TestNext(t *testing.T) {
	t.Parallel()
	for _, zone := range []string{"Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Africa/Cairo", "UTC"} {
		for _, w := range windows(t, "00:00-01:00 02:00-05:00 02:30-03:00 23:30-00:30") {
			now := at(t, zone, "2026-01-01 12:00")
			for end := now.AddDate(1, 0, 0); now.Before(end); now = now.Add(20 * time.Hour) {
				for w.Contains(now) {
					now = now.Add(time.Minute)
				}
				next := w.Next(now)
				if gap := next.Sub(now); gap <= 0 || gap > 49*time.Hour || !w.Contains(next) || w.Contains(next.Add(-time.Minute)) {
					t.Fatalf("%s, %v: after %v comes %v", zone, w, now, next)
				}
				now = next
			}
		}
	}
}

func TestParseWindow(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]Window{
		"02:00-05:00": {Start: 120, End: 300}, "22:30-04:15": {Start: 1350, End: 255}, "00:00-24:00": {Start: 0, End: 1440}, "23:59-00:00": {Start: 1439, End: 0},
		"mon-fri 02:00-05:00": {120, 300, 0b0111110}, "sat,sun 01:00-06:00": {60, 360, 0b1000001}, "fri-mon,wed 02:00-05:00": {120, 300, 0b1101011},
		"mon 02:00-05:00": {120, 300, 0b10}, "sun-sat 02:00-05:00": {Start: 120, End: 300},
	} {
		if got, err := ParseWindow(text); got != want || err != nil {
			t.Errorf("%q: got %v, %v", text, got, err)
		}
	}
	for _, text := range []string{
		"", "-", "02:00", "02:00-", "-05:00", "2:00-5:00", "02:0-05:00", "02:00-05:60", "02:60-05:00", "24:00-05:00", "02:00-24:01", "25:00-26:00",
		"02:00-02:00", "mon- 02:00-05:00", "-mon 02:00-05:00", "mon,,tue 02:00-05:00", "Mon 02:00-05:00", "mo 02:00-05:00", "mon 02:00", "mon  02:00-05:00", "mon-tue-wed 02:00-05:00", "02:00-05:00 ", " 02:00-05:00", "02:00 - 05:00", "02:00-05:00-06:00", "+2:00-05:00", "-1:00-05:00", "02.00-05.00", "0a:00-05:00", "02:00–05:00",
	} {
		w, err := ParseWindow(text)
		if err == nil || w != (Window{}) || !strings.HasPrefix(err.Error(), "cannot read window ") {
			t.Errorf("%q: got %v, %v", text, w, err)
		}
	}
}
