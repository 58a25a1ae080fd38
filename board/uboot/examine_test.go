package uboot

import (
	"strings"
	"testing"
)

// A board that is only looked at says what is wrong, and mends nothing.
func TestExamine(t *testing.T) {
	t.Parallel()
	m, _ := newBox(t, BootCount)
	o := m.options(BootCount)
	o.Look = true
	verdicts := func() string {
		var words []string
		for _, c := range m.open(o).Examine(t.Context()) {
			switch {
			case c.Err == nil:
				words = append(words, "good")
			case c.Hint == "":
				t.Errorf("%s: no hint", c.What)
			case c.Serious:
				words = append(words, "serious")
			default:
				words = append(words, "bad")
			}
		}
		return strings.Join(words, " ")
	}
	for _, step := range []struct {
		name string
		harm func() error
		want string
	}{
		{"whole", func() error { return nil }, "good good good"},
		{"one copy", func() error { return m.Damage(1) }, "good bad good"},
		{"looked at again", func() error { return nil }, "good bad good"},
		{"both copies", func() error { return m.Damage(0) }, "serious serious"},
	} {
		m.must(step.harm())
		if got := verdicts(); got != step.want {
			t.Errorf("%s: %s, want %s", step.name, got, step.want)
		}
	}
	m, _ = newBox(t, BootOrder)
	o = m.options(BootOrder)
	o.Look, o.Canary = true, true
	if got, want := verdicts(), "good good serious"; got != want {
		t.Errorf("without the canary's proof: %s, want %s", got, want)
	}
}
