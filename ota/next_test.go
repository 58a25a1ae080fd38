package ota

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"
)

// Records to start from, one for each phase and the three faces of a trial.
// Slot a is the old system, slot b the target; the slot was armed in boot "1".
func starts() map[string]Record {
	at := time.Date(2026, 3, 1, 2, 0, 0, 0, time.UTC)
	r := Record{
		ID: "u1", By: "poll", Offer: Offer{VersionCode: 2, VersionName: "2.0", URL: "http://h/2.swu", Type: UpgradeSilent},
		From: Version{Code: 1}, FromSlot: "a", StartedAt: at, ChangedAt: at, Changes: 3,
	}
	list := map[string]Record{"idle": {Phase: PhaseIdle}, "fresh": {}}
	for _, p := range Phases[1:] {
		r := r
		r.Phase = p
		switch p {
		case PhaseInstalled, PhaseArmed, PhaseTrial, PhaseConfirmed, PhaseRolledBack:
			r.ToSlot, r.BootID = "b", "1"
		case PhaseFailed:
			r.Failure = &Failure{Class: Permanent, Code: CodeArtifactHash, Text: "bad"}
		}
		list[string(p)] = r
	}
	healthy, sick := list["trial"], list["trial"]
	healthy.Healthy = true
	sick.Failure = &Failure{Class: Permanent, Code: CodeUnhealthy, Text: "sick"}
	list["trial healthy"], list["trial sick"] = healthy, sick
	for _, name := range []string{"armed", "trial", "trial healthy", "confirmed"} {
		r := list[name]
		r.Applied, r.ToSlot = true, ""
		list[name+", files"] = r
	}
	// A box with one system, in slot b, and a rescue system in slot a.
	detoured := list["installing"]
	detoured.Rescue, detoured.FromSlot, detoured.BootID = "a", "b", "1"
	list["detoured"] = detoured
	takenBack := list["armed"]
	takenBack.Phase, takenBack.Failure = PhaseFailed, &Failure{Class: Refused, Code: CodeRejected, Text: "given up"}
	list["taken back"] = takenBack
	return list
}

// One event of each kind, several where the content decides.
var happenings = map[string]Event{
	"boot old":        Booted{BootID: "1", Slot: "a"},
	"boot old later":  Booted{BootID: "2", Slot: "a"},
	"boot new":        Booted{BootID: "1", Slot: "b", Trial: true},
	"boot new later":  Booted{BootID: "2", Slot: "b", Trial: true},
	"boot new kept":   Booted{BootID: "2", Slot: "b"},
	"accepted":        Accepted{Record{ID: "u2", Offer: Offer{URL: "http://h/3.swu"}}},
	"allowed":         Allowed{},
	"progressed":      Progressed{Checkpoint{SyncedBytes: 1 << 20}},
	"fetched":         Fetched{File: "/s/u1.swu"},
	"unstaged":        Unstaged{},
	"landed":          Landed{Checkpoint: Checkpoint{SyncedBytes: 1 << 20}, Point: StreamPoint{Entry: "rootfs", PlainBytes: 1 << 20}},
	"gained":          Gained{},
	"targeted":        Targeted{Slot: "b"},
	"written":         Written{Image: Image{Version: "2.0", SHA256: "ab", SizeBytes: 3}},
	"applied":         Applied{BootID: "1"},
	"applied, stays":  Applied{BootID: "1", Stay: true},
	"detoured":        Detoured{Rescue: "a", BootID: "1"},
	"armed":           Armed{BootID: "1"},
	"healthy":         Healthy{},
	"confirmed":       Confirmed{},
	"rejected":        Rejected{},
	"fails passing":   Failed{NewTransient(CodeBoard, errors.New("busy"))},
	"fails for good":  Failed{NewPermanent(CodeArtifactHash, errors.New("bad"))},
	"refused":         Failed{NewRefused(CodeNotNow, errors.New("no"))},
	"file is gone":    Failed{NewPermanent(CodeFirmwareNotFound, errors.New("gone"))},
	"cancelled":       Cancelled{By: "cli"},
	"viewer agrees":   Consented{ConsentAccepted},
	"viewer declines": Consented{ConsentDeclined},
	"viewer defers":   Deferred{At: time.Unix(1, 0).UTC(), For: time.Hour},
	"waited":          Waited{Wait{AskedAt: time.Unix(2, 0).UTC(), Prompted: true}},
	"pressed":         Pressed{},
	"settled":         Settled{},
	"returning":       Returning{Record{ID: "u3", ToSlot: "b", Offer: Offer{VersionCode: 1}}},
	"vouched":         Vouched{},
	"given up":        GivenUp{By: "cli"},
}

// What follows, of everything that can happen in every phase. A pair that is
// not listed must change nothing and ask for nothing; "same" is the phase that
// it was.
const transitions = `
from           | event           | to          | act
---------------|-----------------|-------------|-------------
idle           | accepted        | offered     | ask-download
idle           | returning       | installed   | arm
idle           | boot new        | trial       | check-health
idle           | boot new later  | trial       | check-health
fresh          | accepted        | offered     | ask-download
fresh          | returning       | installed   | arm
fresh          | boot new        | trial       | check-health
fresh          | boot new later  | trial       | check-health

offered        | boot old        | same        | ask-download
offered        | boot old later  | same        | ask-download
offered        | boot new        | trial       | check-health
offered        | boot new later  | trial       | check-health
offered        | boot new kept   | same        | ask-download
offered        | allowed         | downloading | download
offered        | fails passing   | same        | ask-download
offered        | fails for good  | failed      | settle
offered        | refused         | failed      | settle
offered        | file is gone    | failed      | settle
offered        | cancelled       | failed      | settle
offered        | viewer agrees   | same        | ask-download
offered        | viewer declines | failed      | settle
offered        | pressed         | same        | ask-download
offered        | viewer defers   | same        | ask-download
offered        | waited          | same        | none

downloading    | boot old        | same        | download
downloading    | boot old later  | same        | download
downloading    | boot new        | trial       | check-health
downloading    | boot new later  | trial       | check-health
downloading    | boot new kept   | same        | download
downloading    | progressed      | same        | none
downloading    | fetched         | downloaded  | ask-install
downloading    | unstaged        | downloaded  | ask-install
downloading    | fails passing   | same        | download
downloading    | fails for good  | failed      | settle
downloading    | refused         | failed      | settle
downloading    | file is gone    | failed      | settle
downloading    | cancelled       | failed      | settle
downloading    | viewer agrees   | same        | none
downloading    | viewer declines | same        | none
downloading    | pressed         | same        | none
downloading    | viewer defers   | same        | none
downloading    | waited          | same        | none

downloaded     | boot old        | same        | ask-install
downloaded     | boot old later  | same        | ask-install
downloaded     | boot new        | trial       | check-health
downloaded     | boot new later  | trial       | check-health
downloaded     | boot new kept   | same        | ask-install
downloaded     | allowed         | installing  | install
downloaded     | fails passing   | same        | ask-install
downloaded     | fails for good  | failed      | settle
downloaded     | refused         | failed      | settle
downloaded     | file is gone    | failed      | settle
downloaded     | cancelled       | failed      | settle
downloaded     | viewer agrees   | same        | ask-install
downloaded     | viewer declines | failed      | settle
downloaded     | pressed         | same        | ask-install
downloaded     | viewer defers   | same        | ask-install
downloaded     | waited          | same        | none

installing     | boot old        | same        | install
installing     | boot old later  | same        | install
installing     | boot new        | trial       | check-health
installing     | boot new later  | trial       | check-health
installing     | boot new kept   | same        | install
installing     | targeted        | same        | none
installing     | landed          | same        | none
installing     | gained          | same        | none
installing     | written         | installed   | arm
installing     | applied         | armed       | ask-reboot
installing     | applied, stays  | trial       | check-health
installing     | detoured        | same        | ask-reboot
installing     | fails passing   | same        | install
installing     | fails for good  | failed      | settle
installing     | refused         | failed      | settle
installing     | file is gone    | downloading | download
installing     | cancelled       | failed      | settle
installing     | viewer agrees   | same        | none
installing     | viewer declines | same        | none
installing     | pressed         | same        | none
installing     | viewer defers   | same        | none
installing     | waited          | same        | none

installed      | boot old        | same        | arm
installed      | boot old later  | same        | arm
installed      | boot new        | trial       | check-health
installed      | boot new later  | trial       | check-health
installed      | boot new kept   | trial       | check-health
installed      | armed           | armed       | ask-reboot
installed      | fails passing   | same        | arm
installed      | fails for good  | failed      | settle
installed      | refused         | failed      | settle
installed      | file is gone    | failed      | settle
installed      | viewer agrees   | same        | none
installed      | viewer declines | same        | none
installed      | pressed         | same        | none
installed      | given up        | failed      | settle
installed      | viewer defers   | same        | none
installed      | waited          | same        | none

armed          | boot old        | same        | ask-reboot
armed          | boot old later  | rolled-back | settle
armed          | boot new        | trial       | check-health
armed          | boot new later  | trial       | check-health
armed          | boot new kept   | trial       | check-health
armed          | allowed         | same        | reboot
armed          | fails passing   | same        | ask-reboot
armed          | fails for good  | same        | ask-reboot
armed          | refused         | same        | ask-reboot
armed          | file is gone    | same        | ask-reboot
armed          | viewer agrees   | same        | ask-reboot
armed          | viewer declines | same        | ask-reboot
armed          | pressed         | same        | ask-reboot
armed          | given up        | failed      | settle
armed          | viewer defers   | same        | ask-reboot
armed          | waited          | same        | none

trial          | boot old        | rolled-back | settle
trial          | boot old later  | rolled-back | settle
trial          | boot new        | same        | check-health
trial          | boot new later  | same        | check-health
trial          | boot new kept   | same        | check-health
trial          | healthy         | same        | confirm
trial          | vouched         | same        | confirm
trial          | given up        | same        | reject
trial          | fails passing   | same        | reject
trial          | fails for good  | same        | reject
trial          | refused         | same        | reject
trial          | file is gone    | same        | reject

trial healthy  | boot old        | rolled-back | settle
trial healthy  | boot old later  | rolled-back | settle
trial healthy  | boot new        | same        | confirm
trial healthy  | boot new later  | same        | confirm
trial healthy  | boot new kept   | same        | confirm
trial healthy  | healthy         | same        | confirm
trial healthy  | vouched         | same        | confirm
trial healthy  | confirmed       | confirmed   | settle
trial healthy  | fails passing   | same        | confirm
trial healthy  | fails for good  | same        | confirm
trial healthy  | refused         | same        | confirm
trial healthy  | file is gone    | same        | confirm

trial sick     | boot old        | rolled-back | settle
trial sick     | boot old later  | rolled-back | settle
trial sick     | boot new        | same        | reject
trial sick     | boot new later  | same        | reject
trial sick     | boot new kept   | same        | reject
trial sick     | healthy         | same        | reject
trial sick     | vouched         | same        | reject
trial sick     | rejected        | same        | reboot
trial sick     | fails passing   | same        | reject
trial sick     | fails for good  | same        | reject
trial sick     | refused         | same        | reject
trial sick     | file is gone    | same        | reject

detoured       | boot old        | same        | install
detoured       | boot old later  | same        | install
detoured       | boot new        | failed      | settle      
detoured       | boot new later  | failed      | settle      
detoured       | boot new kept   | same        | ask-reboot
detoured       | allowed         | same        | enter-rescue
detoured       | targeted        | same        | none
detoured       | landed          | same        | none
detoured       | gained          | same        | none
detoured       | written         | installed   | arm
detoured       | applied         | armed       | ask-reboot
detoured       | applied, stays  | trial       | check-health
detoured       | detoured        | same        | ask-reboot
detoured       | fails passing   | same        | ask-reboot
detoured       | fails for good  | failed      | settle
detoured       | refused         | failed      | settle
detoured       | file is gone    | downloading | download
detoured       | cancelled       | failed      | settle
detoured       | viewer agrees   | same        | ask-reboot
detoured       | viewer declines | failed      | settle
detoured       | pressed         | same        | ask-reboot
detoured       | viewer defers   | same        | ask-reboot
detoured       | waited          | same        | none

armed, files   | boot old        | same        | ask-reboot
armed, files   | boot old later  | trial       | check-health
armed, files   | boot new        | same        | ask-reboot
armed, files   | boot new later  | trial       | check-health
armed, files   | boot new kept   | trial       | check-health
armed, files   | allowed         | same        | reboot
armed, files   | fails passing   | same        | ask-reboot
armed, files   | fails for good  | same        | ask-reboot
armed, files   | refused         | same        | ask-reboot
armed, files   | file is gone    | same        | ask-reboot
armed, files   | viewer agrees   | same        | ask-reboot
armed, files   | viewer declines | same        | ask-reboot
armed, files   | pressed         | same        | ask-reboot
armed, files   | viewer defers   | same        | ask-reboot
armed, files   | waited          | same        | none
armed, files   | given up        | failed      | settle

trial, files   | boot old        | same        | check-health
trial, files   | boot old later  | same        | check-health
trial, files   | boot new        | same        | check-health
trial, files   | boot new later  | same        | check-health
trial, files   | boot new kept   | same        | check-health
trial, files   | healthy         | same        | confirm
trial, files   | vouched         | same        | confirm
trial, files   | given up        | failed      | settle
trial, files   | fails passing   | failed      | settle
trial, files   | fails for good  | failed      | settle
trial, files   | refused         | failed      | settle
trial, files   | file is gone    | failed      | settle

trial healthy, files | boot old        | same        | confirm
trial healthy, files | boot old later  | same        | confirm
trial healthy, files | boot new        | same        | confirm
trial healthy, files | boot new later  | same        | confirm
trial healthy, files | boot new kept   | same        | confirm
trial healthy, files | healthy         | same        | confirm
trial healthy, files | vouched         | same        | confirm
trial healthy, files | confirmed       | confirmed   | settle
trial healthy, files | fails passing   | same        | confirm
trial healthy, files | fails for good  | same        | confirm
trial healthy, files | refused         | same        | confirm
trial healthy, files | file is gone    | same        | confirm

confirmed, files | boot *          | same        | settle
confirmed, files | settled         | idle        | none

confirmed      | boot old        | rolled-back | settle
confirmed      | boot old later  | rolled-back | settle
confirmed      | boot new        | same        | settle
confirmed      | boot new later  | same        | settle
confirmed      | boot new kept   | same        | settle
confirmed      | settled         | idle        | none
rolled-back    | boot *          | same        | settle
rolled-back    | settled         | idle        | none
failed         | boot *          | same        | settle
failed         | settled         | idle        | none
taken back     | boot old        | same        | settle
taken back     | boot old later  | same        | settle
taken back     | boot new        | trial       | reject
taken back     | boot new later  | trial       | reject
taken back     | boot new kept   | same        | settle
taken back     | settled         | idle        | none
`

type move struct {
	to  Phase
	act Act
}

func parseTransitions(t *testing.T) map[[2]string]move {
	t.Helper()
	table := map[[2]string]move{}
	for _, line := range strings.Split(strings.TrimSpace(transitions), "\n")[2:] {
		cells := strings.Split(line, "|")
		if len(cells) != 4 {
			continue
		}
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		from, ok := starts()[cells[0]]
		if !ok {
			t.Fatalf("row %q: no such start", line)
		}
		to := Phase(cells[2])
		if to == "same" {
			to = from.Phase
		}
		prefix, every := strings.CutSuffix(cells[1], "*")
		matched := false
		for name := range happenings {
			if name == cells[1] || every && strings.HasPrefix(name, prefix) {
				table[[2]string{cells[0], name}] = move{to, Act(cells[3])}
				matched = true
			}
		}
		if !matched {
			t.Fatalf("row %q: no such event", line)
		}
	}
	return table
}

func TestNext(t *testing.T) {
	t.Parallel()
	table := parseTransitions(t)
	for from, record := range starts() {
		for name, event := range happenings {
			t.Run(from+"/"+name, func(t *testing.T) {
				got, act := Next(record, event)
				want, listed := table[[2]string{from, name}]
				if !listed {
					if !reflect.DeepEqual(got, record) || act != ActNone {
						t.Errorf("got %s, %s: want no change and no act", got.Phase, act)
					}
					return
				}
				if got.Phase != want.to || act != want.act {
					t.Errorf("got %s, %s; want %s, %s", got.Phase, act, want.to, want.act)
				}
				if changed := got.Phase != record.Phase; changed && got.Attempts != 0 {
					t.Errorf("%d attempts are left from the phase before", got.Attempts)
				}
				if again, _ := Next(record, event); !reflect.DeepEqual(got, again) {
					t.Error("the same event on the same record gives another record")
				}
			})
		}
	}
}

// Every type of event is in the table: a new one must not be forgotten.
func TestEventsAreAllInTheTable(t *testing.T) {
	t.Parallel()
	types := map[string]bool{}
	for _, e := range happenings {
		types[fmt.Sprintf("%T", e)] = true
	}
	if want := 26; len(types) != want {
		t.Errorf("the table has %d types of events, want %d: %v", len(types), want, types)
	}
}

// What the record holds after an event, beyond the phase.
func TestNextContent(t *testing.T) {
	t.Parallel()
	s := starts()
	with := func(r Record, change func(*Record)) Record { change(&r); return r }
	for _, tt := range []struct {
		name  string
		from  Record
		event Event
		check func(r Record) bool
	}{
		{"an accepted record brings only what it may", s["idle"],
			Accepted{Record{ID: "u2", Phase: PhaseArmed, ToSlot: "b", Healthy: true, Changes: 9, Boots: 2, File: "/x", Force: true, Below: true, Consent: ConsentAccepted}},
			func(r Record) bool {
				return reflect.DeepEqual(r, Record{ID: "u2", Phase: PhaseOffered, Force: true, Below: true, Consent: ConsentAccepted, Changes: 1})
			}},
		{"progress forgives attempts", with(s["downloading"], func(r *Record) { r.Attempts = 9 }), happenings["progressed"],
			func(r Record) bool { return r.Attempts == 0 && r.Download.SyncedBytes == 1<<20 }},
		{"a checkpoint without progress does not", with(s["downloading"], func(r *Record) { r.Attempts, r.Download.SyncedBytes = 9, 2<<20 }), happenings["progressed"],
			func(r Record) bool { return r.Attempts == 9 && r.Download.SyncedBytes == 1<<20 }},
		{"the staged file is kept", s["downloading"], happenings["fetched"], func(r Record) bool { return r.File == "/s/u1.swu" }},
		{"a no while it comes in counts when it is in", with(s["downloading"], func(r *Record) { r.Consent = ConsentDeclined }), happenings["fetched"],
			func(r Record) bool { return r.Phase == PhaseFailed && r.Failure.Code == CodeDeclined }},
		{"but not against a person's now", with(s["downloading"], func(r *Record) { r.Consent, r.Force = ConsentDeclined, true }), happenings["fetched"],
			func(r Record) bool { return r.Phase == PhaseDownloaded }},
		{"a lost file starts the download afresh", with(s["installing"], func(r *Record) { r.File, r.Download.SyncedBytes = "/s", 7 }), happenings["file is gone"],
			func(r Record) bool { return r.File == "" && r.Download == Checkpoint{} }},
		{"a lost local file cannot be fetched", with(s["installing"], func(r *Record) { r.Offer = Offer{File: "/usb/x.swu"} }), happenings["file is gone"],
			func(r Record) bool { return r.Phase == PhaseFailed && r.Failure.Code == CodeFirmwareNotFound }},
		{"the target is known before it is touched", s["installing"], happenings["targeted"], func(r Record) bool { return r.ToSlot == "b" }},
		{"the image is on record", s["installing"], happenings["written"], func(r Record) bool { return r.Image.SHA256 == "ab" }},
		{"arming notes the boot", with(s["installed"], func(r *Record) { r.BootID = "" }), happenings["armed"], func(r Record) bool { return r.BootID == "1" }},
		{"now is kept", s["installing"], Pressed{}, func(r Record) bool { return r.Force }},
		{"cancelled is refused, not bad", s["offered"], happenings["cancelled"],
			func(r Record) bool { return r.Failure.Class == Refused && r.Failure.Code == CodeCancelled }},
		{"the bootloader gave up", s["armed"], happenings["boot old later"], func(r Record) bool { return r.Failure.Code == CodeNeverCameUp }},
		{"a rollback keeps its reason", s["trial sick"], happenings["boot old later"], func(r Record) bool { return r.Failure.Code == CodeUnhealthy }},
		{"a new boot counts", s["armed"], happenings["boot new later"], func(r Record) bool { return r.Boots == 1 && r.BootID == "2" }},
		{"a restart of the agent does not", with(s["trial"], func(r *Record) { r.Boots = 1 }), happenings["boot new"], func(r Record) bool { return r.Boots == 1 }},
		{"too many boots", with(s["trial"], func(r *Record) { r.Boots = MaxBoots }), happenings["boot new later"],
			func(r Record) bool { return r.Failure.Code == CodeAttempts && Resume(r) == ActReject }},
		{"a bootloader that ignores rejects", with(s["trial sick"], func(r *Record) { r.Boots = 2*MaxBoots - 1 }), happenings["boot new later"],
			func(r Record) bool { return r.Phase == PhaseTrial && r.Boots == 2*MaxBoots && Resume(r) == ActReject }},
		{"but not for ever: the box stays up", with(s["trial sick"], func(r *Record) { r.Boots = 2 * MaxBoots }), happenings["boot new later"],
			func(r Record) bool {
				return r.Phase == PhaseFailed && r.Failure.Code == CodeUnhealthy && Resume(r) == ActSettle
			}},
		{"a restart of the agent is none of these boots", with(s["trial sick"], func(r *Record) { r.Boots = 2 * MaxBoots }), happenings["boot new"],
			func(r Record) bool { return r.Phase == PhaseTrial && Resume(r) == ActReject }},
		{"many boots of a healthy system", with(s["trial healthy"], func(r *Record) { r.Boots = MaxBoots }), happenings["boot new kept"],
			func(r Record) bool { return r.Failure == nil && Resume(r) == ActConfirm }},
		{"a trial that nobody knows of", s["idle"], Booted{BootID: "2", Slot: "b", Version: Version{Code: 7, Name: "v7"}, Trial: true},
			func(r Record) bool {
				return r.ID == "boot-2" && r.By == "board" && r.ToSlot == "b" && r.Boots == 1 && r.Offer.VersionCode == 7 && r.Offer.VersionName == "v7"
			}},
		{"a trial of what is to be replaced is not the update's", with(s["downloading"], func(r *Record) { r.FromSlot = "a" }), Booted{BootID: "2", Slot: "a", Trial: true},
			func(r Record) bool { return r.Phase == PhaseFailed && r.Failure.Code == CodeBoard && r.ToSlot == "" }},
		{"a person gives it up", s["trial"], GivenUp{By: "cli"},
			func(r Record) bool {
				return r.Failure.Code == CodeRejected && r.Failure.Class == Refused && strings.Contains(r.Failure.Text, "cli")
			}},
		{"a way back brings only what it may", s["idle"],
			Returning{Record{ID: "u3", Phase: PhaseTrial, ToSlot: "b", Image: Image{SHA256: "ab"}, Healthy: true, Boots: 2, File: "/x", Force: true}},
			func(r Record) bool {
				return r == Record{ID: "u3", Phase: PhaseInstalled, Back: true, ToSlot: "b", Image: Image{SHA256: "ab"}, Force: true, Changes: 1}
			}},
		{"the idle record is clean", s["failed"], Settled{}, func(r Record) bool { return r == Record{Phase: PhaseIdle} }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if got, _ := Next(tt.from, tt.event); !tt.check(got) {
				t.Errorf("got %+v, failure %+v", got, got.Failure)
			}
		})
	}
}

// A fault that passes is met MaxAttempts times, then the update is given up.
func TestAttemptsAreBounded(t *testing.T) {
	t.Parallel()
	passing := happenings["fails passing"]
	for _, tt := range []struct {
		from string
		want Phase
		act  Act
	}{
		{"offered", PhaseFailed, ActSettle},
		{"downloading", PhaseFailed, ActSettle},
		{"downloaded", PhaseFailed, ActSettle},
		{"installing", PhaseFailed, ActSettle},
		{"installed", PhaseFailed, ActSettle},
		{"armed", PhaseArmed, ActAskReboot},      // there is no way back but a reboot
		{"trial healthy", PhaseTrial, ActReject}, // cannot be confirmed: give it up
		{"trial sick", PhaseFailed, ActSettle},   // cannot be rejected: left to the bootloader
	} {
		t.Run(tt.from, func(t *testing.T) {
			t.Parallel()
			r, act := starts()[tt.from], ActNone
			first := Resume(r)
			for i := 1; i < MaxAttempts; i++ {
				if r, act = Next(r, passing); act != first {
					t.Fatalf("fault %d asks for %s, want %s again", i, act, first)
				}
			}
			if r, act = Next(r, passing); r.Phase != tt.want || act != tt.act {
				t.Errorf("fault %d: got %s, %s; want %s, %s", MaxAttempts, r.Phase, act, tt.want, tt.act)
			}
		})
	}
}

// A bootloader that starts a system that was given up, again and again, is
// obeyed in the end: the box must not restart for ever.
func TestBootsAreBounded(t *testing.T) {
	t.Parallel()
	r := starts()["armed"]
	boots := 0
	for act := ActNone; act != ActSettle && boots <= 3*MaxBoots; {
		boots++
		r, act = Next(r, Booted{BootID: fmt.Sprint("boot ", boots), Slot: "b", Trial: true})
		if want := map[bool]Act{false: ActCheckHealth, true: ActReject}[boots > MaxBoots]; act != want && act != ActSettle {
			t.Errorf("boot %d asks for %s, want %s", boots, act, want)
		}
	}
	if boots != 2*MaxBoots+1 || r.Phase != PhaseFailed || r.Failure.Code != CodeAttempts {
		t.Errorf("after %d boots: %s, failure %+v", boots, r.Phase, r.Failure)
	}
}

// A file that vanishes again and again cannot keep the update going round.
func TestChangesAreBounded(t *testing.T) {
	t.Parallel()
	r, _ := Next(Record{}, happenings["accepted"])
	r, _ = Next(r, Allowed{})
	for range MaxChanges {
		for _, e := range []string{"fetched", "allowed", "file is gone"} {
			r, _ = Next(r, happenings[e])
		}
	}
	if r.Phase != PhaseFailed || r.Failure == nil || r.Failure.Code != CodeAttempts {
		t.Errorf("got %s, failure %+v", r.Phase, r.Failure)
	}
}
