package agent

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"path/filepath"
	"strings"

	"otad/ota/durable"
	"otad/ota/swu"
)

// The floor is kept twice: in the journal, and in a small file beside it, so
// that a journal that is lost does not take it along. The file is written
// before the journal's commit and read at every start; the higher one counts.
const (
	floorFile    = "floor"
	maxFloorFile = 4 << 10
)

// ErrFloorDamaged says that the file is not what was written.
var ErrFloorDamaged = errors.New("damaged")

// ReadFloor returns the floor that is kept in the state directory beside the
// journal, "" when there is none yet.
func ReadFloor(fsys durable.FS, stateDir string) (string, error) {
	name := filepath.Join(stateDir, floorFile)
	data, err := durable.ReadFile(fsys, name, maxFloorFile)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	floor, _, _ := strings.Cut(string(data), "\n")
	if string(data) != string(floorText(floor)) {
		return "", fmt.Errorf("cannot read %q: %w", name, ErrFloorDamaged)
	}
	return floor, nil
}

func floorText(floor string) []byte {
	return fmt.Appendf(nil, "%s\n%08x\n", floor, crc32.ChecksumIEEE([]byte(floor)))
}

// writeFloor keeps floor.
//
// Calls: those of durable.MkdirAll and durable.WriteFile.
func (a *Agent) writeFloor(floor string) error {
	dir := a.Config.State.Dir
	if err := durable.MkdirAll(a.FS, dir, 0o755); err != nil {
		return err
	}
	return durable.WriteFile(a.FS, filepath.Join(dir, floorFile), floorText(floor), 0o644)
}

// higher is the higher one of two floors; "" is below all.
func higher(a, b string) string {
	if a == "" || b != "" && swu.CompareVersions(b, a) > 0 {
		return b
	}
	return a
}

// loadFloor takes the higher one of the two floors, and makes the file good
// that is behind the journal or damaged.
func (a *Agent) loadFloor() {
	kept, err := ReadFloor(a.FS, a.Config.State.Dir)
	if err != nil {
		a.Log.Warn("the floor beside the journal cannot be used", "cause", err)
	}
	if floor := higher(a.box.Floor, kept); floor != a.box.Floor {
		a.Log.Warn("the journal has lost the floor; the file beside it has not", "floor", floor)
		a.box.Floor = floor
	}
	if a.box.Floor != kept {
		if err := a.writeFloor(a.box.Floor); err != nil {
			a.Log.Warn("cannot keep the floor beside the journal", "cause", err)
		}
	}
}

// raiseFloor keeps the version v as the floor, if it is higher, before the
// journal does. That it cannot be kept twice is no reason not to go on.
func (a *Agent) raiseFloor(floor, v string) string {
	raised := higher(floor, v)
	if raised != floor {
		if err := a.writeFloor(raised); err != nil {
			a.Log.Warn("cannot keep the floor beside the journal", "cause", err)
		}
	}
	return raised
}
