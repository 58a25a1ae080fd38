package journal

import (
	"encoding/json"
	"fmt"
	"slices"

	"go.etcd.io/bbolt"

	"otad/ota"
)

// The records of the channels beside the firmware lie in the state bucket under
// keys of their own, and not in buckets of their own: an otad that does not know
// them, which a rollback may bring back, counts them into its check sum and
// leaves them as they are. They are written by the channels, the firmware's
// record by the agent's loop; bbolt lets one in after the other.
//
// Names persisted, added to schema 1.
var (
	keyConfiguration = []byte("configuration")
	keyReports       = []byte("reports")
	prefixPackage    = []byte("package/")
)

// ChannelChange is what one commit of a channel writes; nil and empty members
// stay as they are.
type ChannelChange struct {
	Configuration *ota.Configuration
	Package       string       // the name of the package whose record it is
	PackageRecord *ota.Package // with Package
	Ended         *ota.Outcome // appended to the history
	Events        []Event      // appended to the outbox
	Reports       []ota.Report // appended to the reports
}

// Configuration returns the record of the configuration channel.
func (j *Journal) Configuration() (c ota.Configuration, err error) {
	return c, j.get(keyConfiguration, &c)
}

// Package returns the record of a side package.
func (j *Journal) Package(name string) (p ota.Package, err error) {
	return p, j.get(packageKey(name), &p)
}

func packageKey(name string) []byte { return append(slices.Clip(prefixPackage), name...) }

// get reads one record of the state; one that is not there leaves into as it is.
func (j *Journal) get(key []byte, into any) error {
	return fault("read", j.view(func(tx *bbolt.Tx) error { return getJSON(tx.Bucket(bucketState), key, into) }))
}

func getJSON(b *bbolt.Bucket, key []byte, into any) error {
	data := b.Get(key)
	if data == nil {
		return nil
	}
	if err := json.Unmarshal(data, into); err != nil {
		return fmt.Errorf("%s: %w", key, err)
	}
	return nil
}

// CommitChannel writes c in one transaction, as [Journal.Commit] does.
func (j *Journal) CommitChannel(c ChannelChange) error {
	return fault("write", j.update(func(tx *bbolt.Tx) error {
		state := tx.Bucket(bucketState)
		if c.Configuration != nil {
			if err := putJSON(state, keyConfiguration, c.Configuration); err != nil {
				return err
			}
		}
		if c.PackageRecord != nil {
			if err := putJSON(state, packageKey(c.Package), c.PackageRecord); err != nil {
				return err
			}
		}
		if c.Ended != nil {
			history := tx.Bucket(bucketHistory)
			if isNewest(history, c.Ended.ID) {
				return nil // all was told at an attempt whose sync failed late
			}
			if err := appendTo(history, c.Ended, MaxHistory); err != nil {
				return err
			}
		}
		if err := addReports(state, "", c.Reports); err != nil {
			return err
		}
		return enqueue(tx.Bucket(bucketOutbox), c.Events)
	}))
}
