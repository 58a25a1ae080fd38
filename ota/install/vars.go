package install

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"

	"otad/ota/durable"
	"otad/ota/swu"
)

// The vars of an artifact go into a file of lines name=value, which the
// programs of the box may read; SWUpdate keeps them in an environment of its
// own. Like anchors they wait beside it until the update is confirmed, so that
// an update that comes to nothing changes none.

// maxVars bounds the file.
const maxVars = 256 << 10

func pendingVars(path string) string { return path + ".pending" }

// stageVars keeps changes in place of all that waited before.
func stageVars(path string, changes []swu.Variable) error {
	if len(changes) == 0 {
		return durable.Remove(durable.OS, pendingVars(path))
	}
	if err := durable.MkdirAll(durable.OS, filepath.Dir(path), 0o755); err != nil {
		return err
	}
	var text strings.Builder
	for _, c := range changes {
		fmt.Fprintf(&text, "%s=%s\n", c.Name, c.Value)
	}
	return durable.WriteFile(durable.OS, pendingVars(path), []byte(text.String()), 0o644)
}

// promoteVars merges what waits into the file. It may be called again after a
// crash.
func promoteVars(path string) error {
	changes, err := readVars(pendingVars(path))
	if err != nil || len(changes) == 0 {
		return err
	}
	held, err := readVars(path)
	if err != nil {
		return err
	}
	for _, c := range changes {
		name, value, _ := strings.Cut(c, "=")
		held = slices.DeleteFunc(held, func(line string) bool { return strings.HasPrefix(line, name+"=") })
		if value != "" {
			held = append(held, c)
		}
	}
	slices.Sort(held)
	text := strings.Join(append(held, ""), "\n")
	if err := durable.WriteFile(durable.OS, path, []byte(text), 0o644); err != nil {
		return err
	}
	return durable.Remove(durable.OS, pendingVars(path))
}

// readVars returns the lines of the file; none if it is not there.
func readVars(path string) ([]string, error) {
	data, err := durable.ReadFile(durable.OS, path, maxVars)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return slices.DeleteFunc(strings.Split(string(data), "\n"), func(line string) bool { return line == "" }), err
}

// Promote makes count what an artifact brought for the time after the
// confirmation: its anchors and its vars. It may be called again after a crash;
// with nothing waiting it does nothing.
func (a Around) Promote() error {
	for _, d := range a.Directories {
		if d.Trust {
			if err := Promote(d.Path); err != nil {
				return err
			}
		}
	}
	if a.Vars == "" {
		return nil
	}
	if err := promoteVars(a.Vars); err != nil {
		return fmt.Errorf("cannot set vars in %q: %w", a.Vars, err)
	}
	return nil
}

// Discard throws it away.
func (a Around) Discard() error {
	for _, d := range a.Directories {
		if d.Trust {
			if err := Discard(d.Path); err != nil {
				return err
			}
		}
	}
	if a.Vars == "" {
		return nil
	}
	return stageVars(a.Vars, nil)
}
