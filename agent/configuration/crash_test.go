package configuration

import (
	"context"
	"testing"

	"otad/ota"
	"otad/ota/durable/crashfs"
)

const (
	oldContent = `{"channel":"one","n":1}`
	newContent = `{"channel":"two","n":2}`
)

// crashStory is a change of the configuration and what it has to end in.
type crashStory struct {
	name    string
	refuses string // what the hook does not take
	sick    string // what makes the box sick
	want    string
}

var crashStories = []crashStory{
	{name: "taken", want: newContent},
	{name: "refused", refuses: "two", want: oldContent},
	{name: "sick", sick: "two", want: oldContent},
}

// TestCrash cuts the power at every durable call of a change, and lets every
// call fail, in every way that makes a difference. At every start there is the
// old content or the new one, whole; at the end what is in the file is what is
// in use, and the change has ended as it has to, in the history once.
func TestCrash(t *testing.T) {
	t.Parallel()
	for _, s := range crashStories {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			calls := s.live(t)
			if len(calls) < 20 {
				t.Fatalf("only %d durable calls: %v", len(calls), calls)
			}
			states := 0
			for i, call := range calls {
				for _, how := range call.Ways {
					if how == crashfs.Rot {
						continue // a medium that lies is found at the next start, see TestNeverBackByItself
					}
					s.live(t, crashfs.Cut{Call: i + 1, How: how, Seed: uint64(i)})
					states++
				}
			}
			t.Logf("%d durable calls, %d states", len(calls), states)
		})
	}
}

// live plays the story to its end, with cuts, and returns the calls made.
func (s crashStory) live(t *testing.T, cuts ...crashfs.Cut) []crashfs.Call {
	t.Helper()
	before := newBox(t)
	before.server.offer = version(2, oldContent)
	if err := before.start().Round(t.Context()); err != nil {
		t.Fatal(err)
	}
	power := crashfs.NewPower(0, cuts...)
	b := before
	b.calls, b.refuses, b.sick = nil, s.refuses, s.sick
	b.server = &catalogue{look: "exact", offer: version(3, newContent)}
	b.fs = b.fs.(*crashfs.Disk).Survive(crashfs.Lost, 0, power)
	for boot := 0; boot < 8; boot++ {
		whole := b.content(file)
		if whole != oldContent && whole != newContent {
			t.Fatalf("%v, boot %d: the file holds %q", cuts, boot, whole)
		}
		s.round(t, b, power)
		how, seed := crashfs.Lost, uint64(0)
		cut := power.Took()
		if cut != nil {
			how, seed = cut.How, cut.Seed
			power.On()
		} else if boot > 0 && b.book.state.Record.Next == nil && power.Left() == 0 {
			break // a whole life without a mishap, and at rest
		}
		b.fs = b.fs.(*crashfs.Disk).Survive(how, seed, power)
	}
	s.judge(t, b, cuts)
	return power.Calls()
}

// round is one life of otad: a few rounds, unless the power goes.
func (s crashStory) round(t *testing.T, b *box, power *crashfs.Power) {
	c := b.start()
	for range 3 {
		_ = c.Round(t.Context()) // what is left of it is the next one's
		if power.Took() != nil {
			return
		}
	}
}

func (s crashStory) judge(t *testing.T, b *box, cuts []crashfs.Cut) {
	t.Helper()
	want, got, used := s.want, b.content(file), b.content(inUse)
	// A call that fails within the hook is a hook that does not take the content.
	if len(cuts) > 0 && cuts[0].How.Fails() && got == oldContent {
		want = oldContent
	}
	if got != want || used != want {
		t.Errorf("%v: the file holds %q, in use is %q, want %q; hooks %q", cuts, got, used, want, b.calls)
	}
	rec, _ := b.start().State()
	if rec.Next != nil || (want == newContent) != (rec.Running.Code == 3) || (want == oldContent) != (rec.Bad != nil) {
		t.Errorf("%v: record %+v", cuts, rec)
	}
	ended := 0
	for _, o := range b.book.state.History {
		if o.Offer.VersionCode == 3 {
			ended++
		}
	}
	if ended != 1 {
		t.Errorf("%v: %d ends in the history: %+v", cuts, ended, b.book.state.History)
	}
}

// A box whose power goes whenever the content is applied gets its old one back.
func TestContentThatTakesThePower(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	b.server.offer = version(2, oldContent)
	if err := b.start().Round(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.server.offer = version(3, newContent)
	b.calls = nil
	for boot := range 10 {
		b.fs = b.fs.(*crashfs.Disk).Survive(crashfs.Lost, 0, crashfs.NewPower(0))
		c := b.start()
		gone := false
		c.Run = func(ctx context.Context, name string, input []byte) error {
			if name == "apply" && string(input) == newContent {
				gone = true
				panic(gone) // nothing of otad runs after this
			}
			return b.hook(ctx, name, input)
		}
		func() {
			defer func() { _ = recover() }()
			_ = c.Round(t.Context())
		}()
		if !gone && boot < maxAttempts {
			t.Errorf("boot %d: the content was not applied", boot)
		}
	}
	b.holds(oldContent)
	if rec, _ := b.start().State(); rec.Bad == nil || rec.Bad.Failure.Code != ota.CodeAttempts {
		t.Errorf("record %+v", rec)
	}
}
