package journal

import (
	"slices"

	"go.etcd.io/bbolt"

	"otad/ota"
)

// MaxReports bounds the reports that wait for the server. Above it the oldest
// that tells of progress goes first. One that tells how an upgrade ended goes
// only when there is nothing but these, and then that of the same application
// and version that is told anew, else the oldest.
const MaxReports = 64

// ReportOutcome is the type of the reports that tell how an upgrade ended.
const ReportOutcome = "app_upgrade_upgrade"

// ReportEntry is a report that waits. Seq is never used twice.
type ReportEntry struct {
	Seq      uint64     `json:"seq"`
	Report   ota.Report `json:"report"`
	Attempts int        `json:"attempts,omitempty"` // that the server did not take
}

// Reports is what waits for the server.
type Reports struct {
	Queue    []ReportEntry `json:"queue,omitempty"` // the oldest first
	LastSeq  uint64        `json:"last_seq,omitempty"`
	Failures int           `json:"failures,omitempty"` // attempts in a row that failed, whatever report it was
	BootID   string        `json:"boot_id,omitempty"`  // the boot that was reported last
}

// Reports returns the reports that wait.
func (j *Journal) Reports() (r Reports, err error) { return r, j.get(keyReports, &r) }

// ReportDone removes a report that the server took, or that it never will.
func (j *Journal) ReportDone(seq uint64) error {
	return j.editReports(func(q *Reports) {
		q.Failures = 0
		q.Queue = slices.DeleteFunc(q.Queue, func(e ReportEntry) bool { return e.Seq == seq })
	})
}

// ReportFailed counts an attempt that failed. A report of progress that failed
// limit times goes.
func (j *Journal) ReportFailed(seq uint64, limit int) error {
	return j.editReports(func(q *Reports) {
		q.Failures++
		for i := range q.Queue {
			if q.Queue[i].Seq == seq {
				q.Queue[i].Attempts++
			}
		}
		q.Queue = slices.DeleteFunc(q.Queue, func(e ReportEntry) bool { return e.Attempts >= limit && !e.outcome() })
	})
}

func (j *Journal) editReports(change func(*Reports)) error {
	return fault("write", j.update(func(tx *bbolt.Tx) error {
		var q Reports
		state := tx.Bucket(bucketState)
		if err := getJSON(state, keyReports, &q); err != nil {
			return err
		}
		change(&q)
		return putJSON(state, keyReports, q)
	}))
}

// addReports appends within a transaction; boot, if any, is that of which the
// start is told.
func addReports(state *bbolt.Bucket, boot string, list []ota.Report) error {
	if len(list) == 0 {
		return nil
	}
	var q Reports
	if err := getJSON(state, keyReports, &q); err != nil {
		return err
	}
	if boot != "" {
		q.BootID = boot
	}
	for _, r := range list {
		q.add(r)
	}
	return putJSON(state, keyReports, q)
}

func (e ReportEntry) outcome() bool { return e.Report.Type == ReportOutcome }

// add appends r and holds the bound.
func (q *Reports) add(r ota.Report) {
	q.LastSeq++
	q.Queue = append(q.Queue, ReportEntry{Seq: q.LastSeq, Report: r})
	if len(q.Queue) <= MaxReports {
		return
	}
	goes := slices.IndexFunc(q.Queue, func(e ReportEntry) bool { return !e.outcome() })
	if goes < 0 {
		goes = max(0, slices.IndexFunc(q.Queue[:MaxReports], func(e ReportEntry) bool {
			return e.Report.AppKey == r.AppKey && e.Report.Target == r.Target
		}))
	}
	q.Queue = slices.Delete(q.Queue, goes, goes+1)
}
