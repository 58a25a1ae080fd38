package board

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"path/filepath"

	"otad/ota/durable"
)

// Staged is a file in which the variables of an artifact wait until their slot
// is armed: the common part of drivers with the power [Variables]. It is there
// whole or not at all. One that rotted is an error, and keeps the slot from
// being armed without its variables.
type Staged struct {
	FS   durable.FS
	Path string // on a file system that all slots share
}

// maxStaged bounds the file; an artifact's whole description may have 256 KiB.
const maxStaged = 1 << 20

// staged is the file's content, behind a check sum of it.
type staged struct {
	Slot    string     `json:"slot"`
	Changes []Variable `json:"changes"`
}

// Keep keeps changes for slot in place of all before; none drops them.
//
// Calls: durable.MkdirAll's and durable.WriteFile's; those of Drop.
func (s Staged) Keep(slot string, changes []Variable) error {
	if len(changes) == 0 {
		return s.Drop()
	}
	text, err := json.Marshal(staged{slot, changes})
	if err == nil && len(text) > maxStaged {
		err = fmt.Errorf("%d bytes are too many", len(text))
	}
	if err == nil {
		err = durable.MkdirAll(s.FS, filepath.Dir(s.Path), 0o755)
	}
	if err == nil {
		err = durable.WriteFile(s.FS, s.Path, fmt.Appendf(nil, "%08x %s", crc32.ChecksumIEEE(text), text), 0o644)
	}
	if err != nil {
		return fmt.Errorf("cannot stage variables: %w", err)
	}
	return nil
}

// For returns what waits for slot; nothing when it waits for another one.
func (s Staged) For(slot string) ([]Variable, error) {
	data, err := durable.ReadFile(s.FS, s.Path, maxStaged+9)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var held staged
	sum, text, _ := bytes.Cut(data, []byte(" "))
	if err == nil && string(sum) != fmt.Sprintf("%08x", crc32.ChecksumIEEE(text)) {
		err = errors.New("bad check sum")
	}
	if err == nil {
		err = json.Unmarshal(text, &held)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read the variables that wait in %q: %w", s.Path, err)
	}
	if held.Slot != slot {
		return nil, nil
	}
	return held.Changes, nil
}

// Drop forgets them.
func (s Staged) Drop() error {
	if err := durable.Remove(s.FS, s.Path); err != nil {
		return fmt.Errorf("cannot drop the variables that wait: %w", err)
	}
	return nil
}
