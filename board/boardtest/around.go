package boardtest

import (
	"bytes"
	"errors"
	"slices"

	"otad/board"
)

// variables is the board's power to set some, and whether it has it.
func (b *box) variables() board.Variables {
	b.Helper()
	v, ok := b.Board.(board.Variables)
	if !ok || b.Variable == nil {
		b.Skip("the board sets no variables")
	}
	return v
}

func (b *box) stage(slot string, pairs ...string) {
	b.Helper()
	var changes []board.Variable
	for i := 0; i < len(pairs); i += 2 {
		changes = append(changes, board.Variable{Name: pairs[i], Value: pairs[i+1]})
	}
	b.do("StageVariables", b.variables().StageVariables(b.Context(), slot, changes))
}

// reads checks what the bootloader reads, names and values in turn.
func (b *box) reads(pairs ...string) {
	b.Helper()
	for i := 0; i < len(pairs); i += 2 {
		got, err := b.Variable(pairs[i])
		b.do("Variable", err)
		if got != pairs[i+1] {
			b.Fatalf("the bootloader reads %s=%q, want %q", pairs[i], got, pairs[i+1])
		}
	}
}

func variablesWithArming(b *box) {
	b.mark(b.idle)
	b.stage(b.idle, "splash", "old", "gone", "1")
	b.stage(b.idle, "splash", "a new = one", "colour", "red")
	b.reads("splash", "", "colour", "", "gone", "")
	b.powerOn()
	b.runs(b.active, false)
	b.reads("splash", "")
	b.arm(b.idle)
	b.reads("splash", "a new = one", "colour", "red", "gone", "")
	b.arm(b.idle)
	b.powerOn()
	b.runs(b.idle, true)
	b.confirm()
	b.reads("splash", "a new = one", "colour", "red")
	b.mark(b.active)
	b.stage(b.active, "splash", "", "colour", "blue")
	b.arm(b.active)
	b.reads("splash", "", "colour", "blue")
}

func variablesDropped(b *box) {
	for name, drop := range map[string]func(){
		"by marking":        func() { b.mark(b.idle) },
		"by an empty list":  func() { b.stage(b.idle) },
		"by another one":    func() { b.stage(b.active, "splash", "other") },
		"after a power cut": func() { b.powerOn(); b.mark(b.idle) },
	} {
		b.stage(b.idle, "splash", "new")
		drop()
		b.arm(b.idle)
		if got, err := b.Variable("splash"); err != nil || got != "" {
			b.Errorf("dropped %s: the bootloader reads %q, %v", name, got, err)
		}
		b.mark(b.idle)
	}
}

// variablesRefused: what the bootloader needs for itself is refused, and an
// unknown slot.
func variablesRefused(b *box) {
	v := b.variables()
	for _, name := range append([]string{"", "a=b"}, b.OwnVariables...) {
		if err := v.CheckVariable(b.idle, board.Variable{Name: name, Value: "9"}); !errors.Is(err, board.ErrVariable) {
			b.Errorf("CheckVariable %q: got %v, want ErrVariable", name, err)
		}
		if err := v.StageVariables(b.Context(), b.idle, []board.Variable{{Name: name, Value: "9"}}); err == nil {
			b.Errorf("StageVariables %q: no error", name)
		}
	}
	b.do("CheckVariable", v.CheckVariable(b.idle, board.Variable{Name: "splash", Value: "9"}))
	err := v.StageVariables(b.Context(), "no-such-slot", []board.Variable{{Name: "splash", Value: "9"}})
	if !errors.Is(err, board.ErrUnknownSlot) {
		b.Errorf("StageVariables for an unknown slot: got %v, want ErrUnknownSlot", err)
	}
	b.arm(b.idle)
	b.reads("splash", "")
	b.powerOn()
	b.runs(b.idle, true)
}

// variablesRepeatArm: an artifact may say what arming does anyway, for its own
// slot; with the variables that count with the arming it changes nothing else.
func variablesRepeatArm(b *box) {
	v := b.variables()
	if len(b.Armed) == 0 {
		b.Skip("no artifact may set what the board sets itself")
	}
	b.mark(b.idle)
	for _, c := range b.Armed {
		b.do("CheckVariable", v.CheckVariable(b.idle, c))
		for _, value := range []string{"", "9", c.Value + " ", c.Value + "0"} {
			wrong := board.Variable{Name: c.Name, Value: value}
			if err := v.CheckVariable(b.idle, wrong); !errors.Is(err, board.ErrVariable) {
				b.Errorf("CheckVariable %q=%q: got %v, want ErrVariable", c.Name, value, err)
			}
			if err := v.StageVariables(b.Context(), b.idle, []board.Variable{wrong}); err == nil {
				b.Errorf("StageVariables %q=%q: no error", c.Name, value)
			}
		}
	}
	b.do("StageVariables", v.StageVariables(b.Context(), b.idle, append([]board.Variable{{Name: "splash", Value: "new"}}, b.Armed...)))
	b.runs(b.active, false)
	b.arm(b.idle)
	b.reads("splash", "new")
	for range b.Tries {
		b.powerOn()
		b.runs(b.idle, true)
	}
	b.powerOn()
	b.runs(b.active, false)
}

// parts is the board's power over sets, skipped where the box has none.
func (b *box) parts() board.Parts {
	b.Helper()
	p, ok := b.Board.(board.Parts)
	if !ok {
		b.Skip("the board knows no parts")
	}
	list, err := p.Parts(b.Context(), b.idle)
	b.do("Parts", err)
	if len(list) == 0 {
		b.Skip("the slots of this box have no parts")
	}
	return p
}

func partsOfEachSlot(b *box) {
	p := b.parts()
	seen := map[string]bool{}
	var names [2][]string
	for i, slot := range []string{b.active, b.idle} {
		list, err := p.Parts(b.Context(), slot)
		b.do("Parts", err)
		for _, part := range list {
			if part.Name == "" || part.Device == "" || part.SizeBytes <= 0 || seen[part.Device] {
				b.Errorf("slot %q: part lacks a member, or has the device of another: %+v", slot, part)
			}
			seen[part.Device] = true
			names[i] = append(names[i], part.Name)
		}
	}
	if !slices.Equal(names[0], names[1]) {
		b.Errorf("the slots have the parts %q and %q", names[0], names[1])
	}
	if _, err := p.Parts(b.Context(), "no-such-slot"); !errors.Is(err, board.ErrUnknownSlot) {
		b.Errorf("parts of an unknown slot: got %v, want ErrUnknownSlot", err)
	}
	if _, err := p.OpenPart(b.Context(), b.idle, "no-such-part"); !errors.Is(err, board.ErrUnknownSlot) {
		b.Errorf("an unknown part: got %v, want ErrUnknownSlot", err)
	}
}

// partsFollowTheirSlot: those of the active slot are read only, on trial too.
func partsFollowTheirSlot(b *box) {
	check := func(active, idle string) {
		b.Helper()
		p := b.parts()
		list, err := p.Parts(b.Context(), idle)
		b.do("Parts", err)
		for _, part := range list {
			mine, err := p.OpenPart(b.Context(), idle, part.Name)
			b.do("OpenPart", err)
			content := bytes.Repeat([]byte(idle), 100)
			b.write(mine, content, 0)
			b.do("Sync", mine.Sync())
			b.do("DropCache", mine.DropCache())
			b.wantBytes(mine, content, 0)
			b.do("Close", mine.Close())
			other, err := p.OpenPart(b.Context(), active, part.Name)
			b.do("OpenPart", err)
			if _, err := other.WriteAt([]byte("x"), 0); !errors.Is(err, board.ErrActiveSlot) {
				b.Errorf("writing part %q of the active slot: got %v, want ErrActiveSlot", part.Name, err)
			}
			b.do("Close", other.Close())
		}
	}
	check(b.active, b.idle)
	b.arm(b.idle)
	b.powerOn()
	check(b.idle, b.active)
}
