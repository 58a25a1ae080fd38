package journal

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"otad/ota"
)

func reopen(t *testing.T, j *Journal, path string) *Journal {
	t.Helper()
	if j != nil {
		if err := j.Close(); err != nil {
			t.Fatal(err)
		}
	}
	j, recovered, err := Open(path, time.Now())
	if err != nil || recovered != nil {
		t.Fatal(err, recovered)
	}
	return j
}

func TestChannelRecordsOutliveARestart(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "journal.db")
	j := reopen(t, nil, path)
	if c, err := j.Configuration(); err != nil || c.Running.Code != 0 {
		t.Fatal(c, err)
	}
	c := ota.Configuration{Running: ota.Version{Code: 7, Name: "v7"}, Next: &ota.ConfigurationChange{ID: "A", SHA256: "00"}}
	p := ota.Package{Installed: ota.Version{Code: 3}, Work: &ota.PackageWork{ID: "B", Phase: ota.PhaseDownloading}}
	change := ChannelChange{Configuration: &c, Package: "launcher", PackageRecord: &p,
		Ended:   &ota.Outcome{ID: "A", Kind: ota.KindConfiguration, Result: ota.PhaseConfirmed},
		Events:  []Event{{Payload: json.RawMessage(`{}`), Outcome: true}},
		Reports: []ota.Report{{Type: ReportOutcome, AppKey: "k", Target: 7}}}
	// A commit whose sync failed late is made again: nothing is told twice.
	for range 2 {
		if err := j.CommitChannel(change); err != nil {
			t.Fatal(err)
		}
	}
	// The firmware's record is another's business.
	if err := j.Commit(Change{Update: &ota.Record{ID: "U", Phase: ota.PhaseArmed}}); err != nil {
		t.Fatal(err)
	}
	j = reopen(t, j, path)
	defer j.Close()
	gotC, errC := j.Configuration()
	gotP, errP := j.Package("launcher")
	other, errO := j.Package("remote")
	if errC != nil || errP != nil || errO != nil {
		t.Fatal(errC, errP, errO)
	}
	if fmt.Sprint(gotC.Running, *gotC.Next) != fmt.Sprint(c.Running, *c.Next) || *gotP.Work != *p.Work || other.Installed.Code != 0 {
		t.Errorf("got %+v, %+v, %+v", gotC, gotP, other)
	}
	history, _ := j.History(10)
	events, _ := j.Pending(10)
	reports, _ := j.Reports()
	if len(history) != 1 || len(events) != 1 || len(reports.Queue) != 1 {
		t.Errorf("%d ends, %d events, %d reports", len(history), len(events), len(reports.Queue))
	}
}

// An otad before the channels keeps their records: it knows the same buckets,
// and its check sum is over all that is in them.
func TestSchemaOneHoldsTheChannels(t *testing.T) {
	t.Parallel()
	if schema != 1 || len(buckets) != 5 {
		t.Errorf("schema %d with %d buckets: an older otad would throw the journal away at a rollback", schema, len(buckets))
	}
}

func TestReportsAreBounded(t *testing.T) {
	t.Parallel()
	progress := func(n int64) ota.Report { return ota.Report{Type: "app_upgrade_download", AppKey: "k", Target: n} }
	outcome := func(n int64) ota.Report { return ota.Report{Type: ReportOutcome, AppKey: "k", Target: n} }
	var q Reports
	q.add(progress(1))
	for n := range int64(MaxReports - 2) {
		q.add(outcome(n))
	}
	q.add(progress(2))
	q.add(outcome(1000)) // now the oldest progress goes
	if len(q.Queue) != MaxReports || q.Queue[0].Report != outcome(0) || q.Queue[MaxReports-2].Report != progress(2) {
		t.Errorf("%d reports, the first %+v", len(q.Queue), q.Queue[0])
	}
	q.add(outcome(1001)) // then the other
	q.add(outcome(1001)) // then what is told anew
	if len(q.Queue) != MaxReports || q.Queue[0].Report != outcome(0) || q.Queue[MaxReports-2].Report != outcome(1000) {
		t.Errorf("%d reports, the first %+v", len(q.Queue), q.Queue[0])
	}
	q.add(progress(3)) // among outcomes only there is no room for it
	if last := q.Queue[MaxReports-1].Report; last != outcome(1001) {
		t.Errorf("the last is %+v", last)
	}
}

func TestReportQueue(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "journal.db")
	j := reopen(t, nil, path)
	for range 2 {
		if was, err := j.Load(); err != nil || was.ReportedBoot == "boot-1" {
			continue
		}
		if err := j.Commit(Change{Boot: "boot-1", Reports: []ota.Report{{Type: "app_start"}}}); err != nil {
			t.Fatal(err)
		}
		j = reopen(t, j, path)
	}
	defer func() { j.Close() }()
	q, err := j.Reports()
	if err != nil || len(q.Queue) != 1 {
		t.Fatalf("%+v, %v", q, err)
	}
	seq := q.Queue[0].Seq
	for attempt := 1; attempt <= 3; attempt++ {
		if err := j.ReportFailed(seq, 3); err != nil {
			t.Fatal(err)
		}
		j = reopen(t, j, path)
		q, err = j.Reports()
		if err != nil || q.Failures != attempt || (len(q.Queue) == 1) != (attempt < 3) {
			t.Errorf("after attempt %d: %+v, %v", attempt, q, err)
		}
	}
	if err := j.ReportDone(seq); err != nil {
		t.Fatal(err)
	}
	if q, _ = j.Reports(); q.Failures != 0 || q.LastSeq != seq {
		t.Errorf("%+v", q)
	}
}
