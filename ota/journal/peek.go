package journal

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"otad/ota/durable"
)

// ErrDamaged says that the content is at fault and not the access to it. Open
// would keep the file aside and start afresh.
var ErrDamaged = errors.New("journal: damaged")

// Glimpse is what Peek saw.
type Glimpse struct {
	State
	Schema  uint64
	History int       // outcomes kept
	Outbox  int       // events that wait for the broker
	Untold  *Recovery // a recovery that nobody was told of yet
	Kept    []string  // damaged files that were kept aside
}

// Looks bounds how often Peek looks again: a commit that happens while the file
// is read looks like damage.
const (
	looks     = 3
	lookPause = 100 * time.Millisecond
)

// Peek reads the journal at path without changing it and without its lock,
// from a copy: another otad may have it open. An error is an access that
// failed, fs.ErrNotExist among them, or ErrDamaged.
func Peek(path string) (g Glimpse, err error) {
	for look := range looks {
		if look > 0 {
			time.Sleep(lookPause)
		}
		if g, err = glimpse(path); !errors.Is(err, ErrDamaged) {
			break
		}
	}
	g.Kept, _ = filepath.Glob(path + damagedMark + "*") // the pattern is good
	return g, err
}

func glimpse(path string) (g Glimpse, err error) {
	data, err := durable.ReadFile(durable.OS, path, maxFileBytes)
	if err != nil {
		return g, err
	}
	dir, err := os.MkdirTemp("", "otad-peek-")
	if err != nil {
		return g, fmt.Errorf("cannot copy the journal: %w", err)
	}
	defer os.RemoveAll(dir)
	own := filepath.Join(dir, "journal.db")
	if err := os.WriteFile(own, data, 0o600); err != nil {
		return g, fmt.Errorf("cannot copy the journal: %w", err)
	}
	j, untold, err := openExisting(own)
	var damage *damageError
	if errors.As(err, &damage) {
		return g, fmt.Errorf("%w: %w", ErrDamaged, damage.cause)
	}
	if err != nil {
		return g, err
	}
	defer func() { err = errors.Join(err, j.Close()) }()
	g.Untold, g.Schema = untold, schema
	if g.State, err = j.Load(); err != nil {
		return g, err
	}
	history, historyErr := j.History(MaxHistory)
	outbox, outboxErr := j.Pending(MaxOutbox)
	g.History, g.Outbox = len(history), len(outbox)
	return g, errors.Join(historyErr, outboxErr)
}
