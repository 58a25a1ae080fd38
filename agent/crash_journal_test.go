package agent

import (
	"bytes"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"otad/ota"
	"otad/ota/durable/crashfs"
	"otad/ota/journal"
)

const (
	journalName = "journal.db"
	journalPage = 4096
	tornMeta    = crashfs.How("torn-meta") // all data, but the meta page that commits it is torn
)

// crashJournal is the real journal whose commits are durable calls.
type crashJournal struct {
	*journal.Journal
	box *crashBox
}

// Commit implements Journal. bbolt writes the pages of the data, syncs, writes
// one meta page and syncs: so these are the states that a power cut in the
// middle of it leaves.
func (j *crashJournal) Commit(c journal.Change) error {
	b := j.box
	before := b.files[journalName]
	var after []byte
	apply := func() (err error) {
		if err = j.Journal.Commit(c); err == nil {
			after, err = os.ReadFile(filepath.Join(b.dir, journalName))
		}
		return err
	}
	err := b.power.Do(crashfs.Op{
		Name: "commit " + changeName(c), Apply: apply,
		Ways: func() []crashfs.How {
			ways := []crashfs.How{crashfs.Before, crashfs.Lost, crashfs.Kept, crashfs.Torn512, crashfs.Torn4096, crashfs.Content,
				crashfs.Reordered, tornMeta, crashfs.EIO, crashfs.EIOKept, crashfs.ENOSPC, crashfs.EROFS}
			if len(after) > len(before) {
				ways = append(ways, crashfs.Zeros)
			}
			return ways
		},
	})
	if cut := b.power.Took(); cut != nil && errors.Is(err, crashfs.ErrPowerLost) && after != nil {
		after = survivingJournal(before, after, cut.How)
	}
	if after != nil {
		b.files[journalName] = after
	}
	if planned(err) {
		return ota.NewTransient(ota.CodeJournal, err)
	}
	return err
}

// planned tells whether err is of a cut.
func planned(err error) bool {
	for _, cause := range []error{crashfs.ErrPowerLost, syscall.EIO, syscall.ENOSPC, syscall.EROFS} {
		if errors.Is(err, cause) {
			return true
		}
	}
	return false
}

func changeName(c journal.Change) string {
	var parts []string
	if c.Update != nil {
		parts = append(parts, "phase="+string(c.Update.Phase))
	}
	if c.Box != nil {
		parts = append(parts, "box")
	}
	if c.Ended != nil {
		parts = append(parts, "history="+string(c.Ended.Result))
	}
	if len(c.Events) > 0 {
		parts = append(parts, "events")
	}
	return strings.Join(parts, " ")
}

// survivingJournal is the file of which a commit from before to after was cut
// off as how says.
func survivingJournal(before, after []byte, how crashfs.How) []byte {
	page := func(file []byte, n int) []byte {
		p := make([]byte, journalPage)
		if at := n * journalPage; at < len(file) {
			copy(p, file[at:])
		}
		return p
	}
	var data, meta []int // pages that changed
	for n := range len(after) / journalPage {
		if bytes.Equal(page(before, n), page(after, n)) {
			continue
		}
		if n < 2 {
			meta = append(meta, n)
		} else {
			data = append(data, n)
		}
	}
	file := append(bytes.Clone(before), make([]byte, max(0, len(after)-len(before)))...)
	put := func(n, bytes int) { copy(file[n*journalPage:], page(after, n)[:bytes]) }
	whole := func(pages []int) {
		for _, n := range pages {
			put(n, journalPage)
		}
	}
	switch how {
	case crashfs.Lost, crashfs.Kept, crashfs.Names, crashfs.Some:
		return after
	case crashfs.Torn512: // the first page is torn, the others did not get there
		put(data[0], 512)
	case crashfs.Torn4096: // half of the pages
		whole(data[:(len(data)+1)/2])
	case crashfs.Reordered: // the last page, none of the others
		whole(data[len(data)-1:])
	case crashfs.Content: // all data, and no meta page
		whole(data)
	case tornMeta: // in the middle of its fields: a cut at a sector would leave it whole
		whole(data)
		put(meta[0], 16+40)
	}
	return file
}

// openJournal opens the journal in the files that survived. Making a new one,
// and keeping a damaged one aside, is one durable call with the states between.
func (b *crashBox) openJournal() (*journal.Journal, *journal.Recovery, error) {
	if err := writeFiles(b.dir, b.files); err != nil {
		return nil, nil, err
	}
	before := b.files
	j, recovered, err := journal.Open(filepath.Join(b.dir, journalName), crashClock().Local())
	if err != nil {
		return nil, nil, err
	}
	after, err := readFiles(b.dir)
	if err != nil {
		return nil, nil, errors.Join(err, j.Close())
	}
	b.files = after
	if namesOf(before) == namesOf(after) {
		return j, recovered, nil
	}
	name := "create journal"
	if recovered != nil {
		name = "rebuild journal"
	}
	err = b.power.Do(crashfs.Op{
		Name: name, Apply: func() error { return nil },
		Ways: func() []crashfs.How {
			ways := []crashfs.How{crashfs.Before, crashfs.Lost, crashfs.Names, crashfs.Torn512, crashfs.Content, crashfs.EIO, crashfs.ENOSPC, crashfs.EROFS}
			if recovered != nil {
				ways = append(ways, crashfs.Zeros)
			}
			return ways
		},
	})
	if err != nil {
		b.files = survivingCreation(before, after, b.power.Took())
		return nil, nil, errors.Join(err, j.Close())
	}
	return j, recovered, nil
}

// survivingCreation is what a cut leaves while a journal is made aside.
func survivingCreation(before, after map[string][]byte, cut *crashfs.Cut) map[string][]byte {
	if cut == nil || cut.How == crashfs.Before {
		return before // a fault: it is tried again from the start
	}
	if cut.How == crashfs.Lost {
		return after
	}
	files := maps.Clone(after)
	whole := after[journalName]
	delete(files, journalName) // the damaged one was renamed
	switch cut.How {
	case crashfs.Names:
		files[journalName+".new"] = nil
	case crashfs.Torn512:
		files[journalName+".new"] = whole[:len(whole)/2]
	case crashfs.Content:
		files[journalName+".new"] = whole
	}
	return files
}

func writeFiles(dir string, files map[string][]byte) error {
	old, err := readFiles(dir)
	if err != nil {
		return err
	}
	for name := range old {
		if err := os.Remove(filepath.Join(dir, name)); err != nil {
			return err
		}
	}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if err := os.WriteFile(filepath.Join(dir, name), files[name], 0o600); err != nil {
			return err
		}
	}
	return nil
}

func readFiles(dir string) (map[string][]byte, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	files := map[string][]byte{}
	for _, e := range entries {
		if files[e.Name()], err = os.ReadFile(filepath.Join(dir, e.Name())); err != nil {
			return nil, err
		}
	}
	return files, nil
}
