package journal

import (
	"encoding/json"

	"go.etcd.io/bbolt"

	"otad/ota"
)

// putDeed appends to the audit. Above the bound the oldest that was refused
// goes first: a flood of what nobody obeyed does not hide what was done.
func putDeed(tx *bbolt.Tx, d ota.Deed) error {
	audit, err := tx.CreateBucketIfNotExists(bucketAudit)
	if err != nil {
		return err
	}
	seq, err := audit.NextSequence()
	if err != nil {
		return err
	}
	if err := putJSON(audit, number(seq), d); err != nil {
		return err
	}
	refused := func(v []byte) bool {
		var d ota.Deed
		return json.Unmarshal(v, &d) != nil || !d.OK
	}
	if err := trim(audit, MaxDeeds, refused); err != nil {
		return err
	}
	return trim(audit, MaxDeeds, func([]byte) bool { return true })
}

// Deeds returns up to n lines of the audit, the newest first. What is damaged
// is left out: no check sum holds the audit.
func (j *Journal) Deeds(n int) ([]ota.Deed, error) {
	list := []ota.Deed{}
	err := j.view(func(tx *bbolt.Tx) error {
		audit := tx.Bucket(bucketAudit)
		if audit == nil {
			return nil
		}
		c := audit.Cursor()
		for k, v := c.Last(); k != nil && len(list) < n; k, v = c.Prev() {
			var d ota.Deed
			if json.Unmarshal(v, &d) == nil {
				list = append(list, d)
			}
		}
		return nil
	})
	return list, fault("read", err)
}
