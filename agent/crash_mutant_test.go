package agent

import (
	"context"
	"slices"
	"strings"
	"testing"

	"otad/board"
	"otad/ota/durable"
	"otad/ota/durable/crashfs"
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
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := tt.story
			s.from = func(*testing.T) snapshot { return factory() }
			told := s.tell(t)
			if caught(told.ending.wrong, tt.want) {
				t.Logf("caught without a mishap: %q", told.ending.wrong)
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
