// Package journal keeps what otad must not forget, in one bbolt file: the
// record of the update under way, what is remembered of the box, the history,
// the outbox of events and the ids of commands already acted on.
//
// Model: one process, one writer. A [Change] is committed in one transaction,
// so a phase and the event that tells of it are durable together or not at
// all. Intent is committed before the act.
//
// Crash assumptions: a bbolt commit is atomic on a medium that honours fsync.
// The file is created aside and renamed into place. At every start its pages
// are walked before bbolt may see them, and its content is held against a
// check sum. A file that is damaged is kept aside under a dated name and a
// fresh one is started; the caller rebuilds the record from the board. Damage
// to the newest of bbolt's two meta pages cannot be told from a power cut
// before the end of the last commit: the content is then that before it.
package journal

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"time"

	"go.etcd.io/bbolt"

	"otad/ota"
)

// Bounds of what is kept; the oldest goes first.
const (
	MaxHistory  = 50
	MaxOutbox   = 256
	MaxCommands = 256
	MaxDeeds    = 128
)

// schema is the version of what is in the buckets. A field that is added is
// optional and does not change it: it is left out while it is empty, an old file
// lacks it, and an old otad passes over it. Anything else needs another schema
// and a migration in Open.
const schema = 1

// Names of buckets and keys, persisted: since schema 1.
var (
	bucketMeta     = []byte("meta")     // schema, sum, recovery
	bucketState    = []byte("state")    // update, box, and the channels' (channels.go)
	bucketHistory  = []byte("history")  // number → ota.Outcome
	bucketOutbox   = []byte("outbox")   // number → Entry
	bucketCommands = []byte("commands") // number → commandMark
	keySchema      = []byte("schema")
	keySum         = []byte("sum")      // check sum of all the rest
	keyRecovery    = []byte("recovery") // recoveryMark, until it was told of
	keyUpdate      = []byte("update")
	keyBox         = []byte("box")
	buckets        = [][]byte{bucketMeta, bucketState, bucketHistory, bucketOutbox, bucketCommands}

	// bucketAudit (number → ota.Deed) came later: it is made when it is first
	// needed and is not in the check sum, so that an otad before it, to which a
	// box may roll back, takes the file for whole.
	bucketAudit = []byte("audit")
)

// Journal is the open file.
type Journal struct{ db *bbolt.DB }

// State is what is loaded at start.
type State struct {
	Update ota.Record
	Box    ota.Box
	// ReportedBoot is the boot that the server's statistics were told of last.
	ReportedBoot string
}

// Change is what one commit writes; nil and empty members stay as they are.
type Change struct {
	Update  *ota.Record
	Box     *ota.Box
	Ended   *ota.Outcome // appended to the history
	Events  []Event      // appended to the outbox
	Command string       // an id to remember as acted on
	Told    bool         // Events tell of the Recovery that Open returned
	Reports []ota.Report // appended to the reports for the server
	Deed    *ota.Deed    // appended to the audit
	Boot    string       // the boot that Reports tell the start of
}

// Event is a message for the operator that must arrive, sooner or later.
type Event struct {
	Payload json.RawMessage
	Outcome bool // tells how an update ended: dropped last when the outbox is full
}

// Entry is an event in the outbox. Seq grows by at least one from entry to entry and
// is never used twice.
type Entry struct {
	Seq     uint64          `json:"-"`
	Payload json.RawMessage `json:"payload"`
	Outcome bool            `json:"outcome,omitempty"`
}

type commandMark struct {
	ID string `json:"id"`
}

// Load returns the record and the box. A fresh journal gives an idle record.
func (j *Journal) Load() (State, error) {
	s := State{Update: ota.Record{Phase: ota.PhaseIdle}}
	err := j.view(func(tx *bbolt.Tx) error {
		state := tx.Bucket(bucketState)
		for key, into := range map[string]any{string(keyUpdate): &s.Update, string(keyBox): &s.Box} {
			if data := state.Get([]byte(key)); data != nil {
				if err := json.Unmarshal(data, into); err != nil {
					return fmt.Errorf("%s: %w", key, err)
				}
			}
		}
		var reports Reports
		err := getJSON(state, keyReports, &reports)
		s.ReportedBoot = reports.BootID
		return err
	})
	if err != nil {
		return State{}, fault("read", err)
	}
	return s, nil
}

// Commit writes c in one transaction; it is durable when Commit returns nil.
// When it returns an error, c may be durable nevertheless: a sync can fail late.
// So c is committed again, and an update that ended is not told of twice.
func (j *Journal) Commit(c Change) error {
	return fault("write", j.update(func(tx *bbolt.Tx) error {
		state := tx.Bucket(bucketState)
		if c.Update != nil {
			if err := putJSON(state, keyUpdate, c.Update); err != nil {
				return err
			}
		}
		if c.Box != nil {
			if err := putJSON(state, keyBox, c.Box); err != nil {
				return err
			}
		}
		if c.Ended != nil {
			history := tx.Bucket(bucketHistory)
			if isNewest(history, c.Ended.ID) {
				c.Events, c.Reports = nil, nil // they are in the outbox since then
			} else if err := appendTo(history, c.Ended, MaxHistory); err != nil {
				return err
			}
		}
		if c.Command != "" {
			if err := appendTo(tx.Bucket(bucketCommands), commandMark{ID: c.Command}, MaxCommands); err != nil {
				return err
			}
		}
		if c.Deed != nil {
			if err := putDeed(tx, *c.Deed); err != nil {
				return err
			}
		}
		if c.Told {
			if err := tx.Bucket(bucketMeta).Delete(keyRecovery); err != nil {
				return err
			}
		}
		if err := addReports(state, c.Boot, c.Reports); err != nil {
			return err
		}
		return enqueue(tx.Bucket(bucketOutbox), c.Events)
	}))
}

// isNewest tells whether the outcome of this update is the newest in the history.
func isNewest(history *bbolt.Bucket, id string) bool {
	_, v := history.Cursor().Last()
	var newest ota.Outcome
	return v != nil && json.Unmarshal(v, &newest) == nil && newest.ID == id
}

// History returns up to n outcomes, the newest first.
func (j *Journal) History(n int) ([]ota.Outcome, error) {
	var list []ota.Outcome
	err := j.view(func(tx *bbolt.Tx) error {
		c := tx.Bucket(bucketHistory).Cursor()
		for k, v := c.Last(); k != nil && len(list) < n; k, v = c.Prev() {
			var o ota.Outcome
			if err := json.Unmarshal(v, &o); err != nil {
				return err
			}
			list = append(list, o)
		}
		return nil
	})
	return list, fault("read", err)
}

// CommandSeen tells whether the command id was acted on already.
func (j *Journal) CommandSeen(id string) (bool, error) {
	seen := false
	err := j.view(func(tx *bbolt.Tx) error {
		return tx.Bucket(bucketCommands).ForEach(func(_, v []byte) error {
			var mark commandMark
			if err := json.Unmarshal(v, &mark); err != nil {
				return err
			}
			seen = seen || mark.ID == id
			return nil
		})
	})
	return seen, fault("read", err)
}

// Pending returns up to n events of the outbox, the oldest first.
func (j *Journal) Pending(n int) ([]Entry, error) {
	var list []Entry
	err := j.view(func(tx *bbolt.Tx) error {
		c := tx.Bucket(bucketOutbox).Cursor()
		for k, v := c.First(); k != nil && len(list) < n; k, v = c.Next() {
			var e Entry
			if err := json.Unmarshal(v, &e); err != nil {
				return err
			}
			e.Seq = binary.BigEndian.Uint64(k)
			list = append(list, e)
		}
		return nil
	})
	return list, fault("read", err)
}

// Delivered removes events from the outbox, in one commit.
func (j *Journal) Delivered(seqs ...uint64) error {
	if len(seqs) == 0 {
		return nil
	}
	return fault("write", j.update(func(tx *bbolt.Tx) error {
		for _, seq := range seqs {
			if err := tx.Bucket(bucketOutbox).Delete(number(seq)); err != nil {
				return err
			}
		}
		return nil
	}))
}

// Close closes the file.
func (j *Journal) Close() error { return fault("close", j.db.Close()) }

func (j *Journal) view(f func(*bbolt.Tx) error) error {
	return guarded(func() error { return j.db.View(f) })
}

func (j *Journal) update(f func(*bbolt.Tx) error) error {
	return guarded(func() error {
		return j.db.Update(func(tx *bbolt.Tx) error {
			if err := f(tx); err != nil {
				return err
			}
			return putSum(tx)
		})
	})
}

// putSum renews the check sum, as the last thing of every transaction.
func putSum(tx *bbolt.Tx) error {
	sum, err := contentSum(tx)
	if err != nil {
		return err
	}
	return tx.Bucket(bucketMeta).Put(keySum, number(sum))
}

func number(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }

func putJSON(b *bbolt.Bucket, key []byte, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return b.Put(key, data)
}

// appendTo adds v at the end and drops the oldest above limit.
func appendTo(b *bbolt.Bucket, v any, limit int) error {
	seq, err := b.NextSequence()
	if err != nil {
		return err
	}
	if err := putJSON(b, number(seq), v); err != nil {
		return err
	}
	return trim(b, limit, func([]byte) bool { return true })
}

// enqueue adds events to the outbox. Above the bound the oldest that is no
// outcome goes first, then the oldest of all.
func enqueue(b *bbolt.Bucket, events []Event) error {
	for _, e := range events {
		seq, err := b.NextSequence()
		if err != nil {
			return err
		}
		if err := putJSON(b, number(seq), Entry{Payload: e.Payload, Outcome: e.Outcome}); err != nil {
			return err
		}
	}
	if len(events) == 0 {
		return nil
	}
	expendable := func(v []byte) bool {
		var e Entry
		return json.Unmarshal(v, &e) != nil || !e.Outcome
	}
	if err := trim(b, MaxOutbox, expendable); err != nil {
		return err
	}
	return trim(b, MaxOutbox, func([]byte) bool { return true })
}

// trim deletes the oldest entries that may go until at most limit are left.
func trim(b *bbolt.Bucket, limit int, mayGo func(v []byte) bool) error {
	count := 0
	if err := b.ForEach(func(_, _ []byte) error { count++; return nil }); err != nil {
		return err
	}
	var old [][]byte
	c := b.Cursor()
	for k, v := c.First(); k != nil && count-len(old) > limit; k, v = c.Next() {
		if mayGo(v) {
			old = append(old, append([]byte(nil), k...))
		}
	}
	for _, k := range old {
		if err := b.Delete(k); err != nil {
			return err
		}
	}
	return nil
}

// fault classes err; nil stays nil.
func fault(verb string, err error) error {
	if err == nil {
		return nil
	}
	return ota.NewTransient(ota.CodeJournal, fmt.Errorf("cannot %s journal: %w", verb, err)).
		WithHint("check that the state directory is writable and has room")
}

// Stamp is the dated suffix of a damaged file kept aside.
func stamp(at time.Time) string { return at.UTC().Format("20060102-150405") }
