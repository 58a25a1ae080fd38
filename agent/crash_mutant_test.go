package agent

import (
	"context"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"testing"

	"otad/agent/control"
	"otad/board"
	"otad/ota"
	"otad/ota/durable"
	"otad/ota/durable/crashfs"
	"otad/ota/journal"
)

// TestCrashCatches holds the test to its own promise: an engine that is broken
// on purpose, in a way that no ordinary run shows, violates something.
func TestCrashCatches(t *testing.T) {
	for _, tt := range []struct {
		name  string
		story *story
		ways  []crashfs.How // that are tried, in this order
		want  string        // of the violation
	}{
		{
			name:  "armed although the read-back differs",
			story: &story{offer: 2, wrongBoard: func(b crashBoard) board.Board { return credulous{b} }},
			ways:  []crashfs.How{crashfs.Rot},
			want:  "holds no whole image",
		},
		{
			name:  "a delta armed although the read-back differs",
			story: &story{offer: deltaCode, wrongBoard: func(b crashBoard) board.Board { return credulous{b} }},
			ways:  []crashfs.How{crashfs.Rot},
			want:  "holds no whole image",
		},
		{
			name:  "directories are not synced",
			story: &story{offer: 2, wrongFS: func(fsys durable.FS) durable.FS { return forgetful{fsys} }},
			ways:  []crashfs.How{crashfs.Lost, crashfs.Content},
			want:  "not there",
		},
		{
			name:  "confirmed before it proved healthy",
			story: &story{offer: 2, sick: 2, wrongBoard: func(b crashBoard) board.Board { return hasty{b} }},
			ways:  []crashfs.How{crashfs.Lost},
			want:  "is the permanent choice and version 2 is not healthy",
		},
		{
			name:  "the boot environment is not synced",
			story: &story{offer: 2, wrongDriver: func(fsys durable.FS) durable.FS { return unsynced{fsys} }},
			ways:  []crashfs.How{crashfs.Lost},
			want:  "rolled-back: never-came-up", // though nothing was wrong with it
		},
		{
			name: "the floor is what was confirmed last",
			story: &story{says: control.Rollback, from: withoutFloorFile, wrongJournal: func(j Journal) Journal { return sinking{j} },
				wrongFS: func(fsys durable.FS) durable.FS { return once{fsys} }},
			ways: []crashfs.How{crashfs.Lost},
			want: `the floor fell from "3" to "2"`,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := tt.story
			if s.from == nil {
				s.from = func(*testing.T) snapshot { return factory() }
			}
			told := s.tell(t)
			if found := append(told.ending.wrong, told.ending.kind); caught(found, tt.want) {
				t.Logf("caught without a mishap: %q", found)
				return
			}
			dir, tried := journalDir(t), 0
			states, _ := told.states(0, 1)
			for _, cuts := range states {
				if !slices.Contains(tt.ways, cuts[0].How) {
					continue
				}
				tried++
				if e := s.try(t, dir, false, cuts); caught(e.wrong, tt.want) {
					t.Logf("caught by state %d, %s: %q", tried, formatCuts(cuts), e.wrong)
					return
				}
			}
			t.Errorf("not caught in %d states", tried)
		})
	}
}

func caught(wrong []string, want string) bool {
	return slices.ContainsFunc(wrong, func(w string) bool { return strings.Contains(w, want) })
}

// credulous reads back what is in the cache, not what is on the medium.
type credulous struct{ crashBoard }

func (b credulous) OpenSlot(ctx context.Context, name string) (board.Medium, error) {
	m, err := b.crashBoard.OpenSlot(ctx, name)
	return cached{m}, err
}

type cached struct{ board.Medium }

func (cached) DropCache() error { return nil }

// forgetful leaves out the sync that makes names durable.
type forgetful struct{ durable.FS }

func (forgetful) SyncDir(string) error { return nil }

// hasty confirms whatever comes up.
type hasty struct{ crashBoard }

func (b hasty) Current(ctx context.Context) (board.Boot, error) {
	if err := b.Confirm(ctx); err != nil {
		return board.Boot{}, err
	}
	return b.crashBoard.Current(ctx)
}

// unsynced does not make the boot environment durable.
type unsynced struct{ durable.FS }

func (u unsynced) OpenFile(name string, flag int, perm fs.FileMode) (durable.File, error) {
	f, err := u.FS.OpenFile(name, flag, perm)
	if err != nil || !strings.HasPrefix(path.Base(name), "env.") {
		return f, err
	}
	return floating{f}, nil
}

type floating struct{ durable.File }

func (floating) Sync() error { return nil }

// sinking makes the version that was confirmed the floor, whatever it was.
type sinking struct{ Journal }

func (s sinking) Commit(c journal.Change) error {
	if c.Ended != nil && c.Ended.Result == ota.PhaseConfirmed {
		box := *c.Box
		box.Floor = fmt.Sprint(c.Ended.Offer.VersionCode)
		c.Box = &box
	}
	return s.Journal.Commit(c)
}

// once does not keep the floor a second time, beside the journal.
type once struct{ durable.FS }

func (o once) Rename(from, to string) error {
	if path.Base(to) == floorFile {
		return o.FS.Remove(from)
	}
	return o.FS.Rename(from, to)
}

// withoutFloorFile is a box that runs version 3, before the floor was kept
// beside the journal.
func withoutFloorFile(t *testing.T) snapshot {
	end := stories()[1].tell(t).end
	dir := crashConfig().State.Dir
	end.disk = end.disk.Survive(crashfs.Lost, 0, crashfs.NewPower(0))
	must(t, end.disk.Remove(path.Join(dir, floorFile)))
	must(t, end.disk.SyncDir(dir))
	return end
}
