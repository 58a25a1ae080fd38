package sim

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"

	"otad/board"
)

// environment is what the bootloader and otad tell each other. Two copies are
// kept; a write goes over the older one, so a torn write leaves the newer one.
type environment struct {
	Serial    uint64
	Default   string   // the permanent choice
	Trying    string   // the armed slot, "" when there is none
	TriesLeft int      // how often Trying may still be started
	Bad       []string // slots that must not be started
	// Variables are what artifacts set for the bootloader.
	Variables map[string]string
}

// ownVariables are those that an artifact must not set.
var ownVariables = []string{"serial", "default", "trying", "tries", "bad", "crc"}

// variablePrefix begins the lines of the others.
const variablePrefix = "var."

func (e *environment) bad(slot string) bool { return slices.Contains(e.Bad, slot) }

func (e *environment) setBad(slot string) {
	if !e.bad(slot) {
		e.Bad = append(e.Bad, slot)
	}
	if e.Trying == slot {
		e.Trying, e.TriesLeft = "", 0
	}
}

func (e *environment) clearBad(slot string) {
	e.Bad = slices.DeleteFunc(e.Bad, func(s string) bool { return s == slot })
}

// change sets and unsets variables; the map may be shared with another copy.
func (e *environment) change(changes []board.Variable) {
	variables := map[string]string{}
	maps.Copy(variables, e.Variables)
	for _, c := range changes {
		variables[c.Name] = c.Value
		if c.Value == "" {
			delete(variables, c.Name)
		}
	}
	e.Variables = variables
}

// text is the environment in its file form, without the check sum.
func (e *environment) text() string {
	text := fmt.Sprintf("serial=%d\ndefault=%s\ntrying=%s\ntries=%d\nbad=%s\n",
		e.Serial, e.Default, e.Trying, e.TriesLeft, strings.Join(e.Bad, " "))
	for _, name := range slices.Sorted(maps.Keys(e.Variables)) {
		text += variablePrefix + name + "=" + e.Variables[name] + "\n"
	}
	return text
}

func sealed(text string) []byte {
	return fmt.Appendf(nil, "%scrc=%08x\n", text, crc32.ChecksumIEEE([]byte(text)))
}

// parseEnv reads one copy; a copy that is torn or foreign is an error.
func parseEnv(data []byte) (environment, error) {
	var e environment
	end := strings.LastIndex(string(data), "crc=")
	text := string(data[:max(0, end)])
	if end < 0 || string(sealed(text)) != string(data) {
		return e, errors.New("bad check sum")
	}
	for line := range strings.Lines(text) {
		key, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "=")
		var err error
		switch key {
		case "serial":
			e.Serial, err = strconv.ParseUint(value, 10, 64)
		case "default":
			e.Default = value
		case "trying":
			e.Trying = value
		case "tries":
			e.TriesLeft, err = strconv.Atoi(value)
		case "bad":
			e.Bad = strings.Fields(value)
		default:
			name, ours := strings.CutPrefix(key, variablePrefix)
			if !ours {
				return e, fmt.Errorf("unknown variable %q", key)
			}
			e.change([]board.Variable{{Name: name, Value: value}})
		}
		if err != nil {
			return e, err
		}
	}
	return e, nil
}

var envFiles = [2]string{"env.0", "env.1"}

// readEnv returns the newest good copy.
func (b *box) readEnv() (environment, error) {
	env, _, err := b.newestEnv()
	return env, err
}

// newestEnv returns the newest good copy and the index of the file it is in.
func (b *box) newestEnv() (environment, int, error) {
	var newest environment
	at := -1
	var faults []error
	for i, name := range envFiles {
		data, err := b.readCopy(name)
		if err == nil {
			var env environment
			if env, err = parseEnv(data); err == nil && (at < 0 || env.Serial > newest.Serial) {
				newest, at = env, i
			}
		}
		if err != nil {
			faults = append(faults, fmt.Errorf("%s: %w", name, err))
		}
	}
	if at < 0 {
		return newest, at, fmt.Errorf("cannot read the boot environment: %w: %w", board.ErrEnvironment, errors.Join(faults...))
	}
	return newest, at, nil
}

// readCopy reads one copy from the medium: after a sync that failed, the cache
// goes on showing what is not there.
func (b *box) readCopy(name string) ([]byte, error) {
	f, err := b.fs.OpenFile(b.path(name), os.O_RDONLY, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if err := f.DropCache(); err != nil {
		return nil, err
	}
	return io.ReadAll(io.LimitReader(f, smallFile)) // a longer one has a bad check sum
}

// syncEnv makes the copy in file at durable: whoever wrote it may have died
// before its sync.
//
// Calls: open, sync, close, syncdir.
func (b *box) syncEnv(at int) error {
	f, err := b.fs.OpenFile(b.path(envFiles[at]), os.O_RDWR, 0)
	if err == nil {
		err = errors.Join(f.Sync(), f.Close())
	}
	if err == nil {
		err = b.fs.SyncDir(b.dir)
	}
	if err != nil {
		return fmt.Errorf("cannot sync the boot environment: %w: %w", board.ErrEnvironment, err)
	}
	return nil
}

// writeEnv writes env over the older copy.
//
// Calls: open, write, sync, close; the first time also syncdir.
func (b *box) writeEnv(env environment) error {
	current, at, _ := b.newestEnv() // with no good copy: serial 0, at -1
	env.Serial = current.Serial + 1
	name := b.path(envFiles[(at+1)%2])
	f, err := b.fs.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return fmt.Errorf("cannot write the boot environment: %w: %w", board.ErrEnvironment, err)
	}
	_, err = f.Write(sealed(env.text()))
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = b.fs.SyncDir(b.dir)
	}
	if err != nil {
		return fmt.Errorf("cannot write the boot environment: %w: %w", board.ErrEnvironment, err)
	}
	return nil
}

// readBooted returns what the bootloader left for the system that it started.
func (b *box) readBooted() (slot, id string, err error) {
	text, err := b.readSmall("booted")
	if err != nil {
		return "", "", err
	}
	slot, id, _ = strings.Cut(text, " ")
	if b.known(slot) != nil || id == "" {
		return "", "", fmt.Errorf("cannot tell which slot runs: %w: box %q is not powered on", board.ErrEnvironment, b.dir)
	}
	return slot, id, nil
}
